"""What names, model references and URLs look like in the plan."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator

from switchyard.plan_problems import wrong

__all__ = ["NAME", "REFERENCE", "BaseUrl", "Name", "Reference"]

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""Endpoints and variants: they become metric labels and names of folders."""

REFERENCE: Final = re.compile(
    r"[a-z0-9]([-._a-z0-9]*[a-z0-9])?:[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?"
)
"""A BentoML tag, where an alias may stand in place of the version."""


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise wrong(
            "is not a usable name; take letters, digits, '-' and '_', at most 64, "
            "and begin with a letter or digit"
        )
    return text


def _reference(text: str) -> str:
    if not REFERENCE.fullmatch(text):
        raise wrong(
            f"is {text!r}, but must be 'name:alias' or 'name:version', "
            "like 'flights-torch:production'"
        )
    return text


def _base_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme == "http" and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is never closed
        usable = False
    if not usable or parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise wrong(f"is {text!r}, but must look like 'http://torch-host:3000'")
    return text.rstrip("/")


Name = Annotated[str, AfterValidator(_name)]
Reference = Annotated[str, AfterValidator(_reference)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
