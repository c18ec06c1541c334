"""Names of what is made: from the deployment, the Bento's version and a digest of the contents.

What has the same contents has the same name, so that applying again changes nothing, and an earlier
release finds what it had made.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from deploy.documents import Document

__all__ = ["bodies", "call", "content_name", "operation", "resource", "slug"]

VERSION_CHARS: Final = 12
DIGEST_CHARS: Final = 8


def content_name(name: str, version: str, content: dict[str, Any], generation: int = 1) -> str:
    """Returns the name of something that is never changed, at most 63 characters.

    Args:
        name: Of the deployment, at most 40 characters.
        version: Of the Bento.
        content: What it holds.
        generation: Makes another name of the same contents.
    """
    held = orjson.dumps([content, version, generation], option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(held).hexdigest()[:DIGEST_CHARS]
    return f"{name}-{slug(version)[:VERSION_CHARS].strip('-')}-{digest}"


def slug(text: str) -> str:
    """Returns a text of letters, digits and single '-', as SageMaker takes names."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")


def call(operation: str, name: str, body: dict[str, Any]) -> Document:
    """Returns the document of one call.

    Args:
        operation: Service and operation, such as `sagemaker.create_model`.
        name: What it makes; two of an operation differ in it.
        body: The body of the request.
    """
    return Document(f"{operation}/{name}", body)


def operation(document: Document) -> str:
    """Returns service and operation of a document."""
    return document.name.partition("/")[0]


def bodies(documents: Sequence[Document], wanted: str) -> Iterator[dict[str, Any]]:
    """Yields the bodies of all calls of an operation."""
    for document in documents:
        if operation(document) == wanted:
            assert isinstance(document.content, dict)  # all of ours are
            yield document.content


def resource(document: Document) -> str:
    """Returns the name of what a document makes."""
    return document.name.partition("/")[2]
