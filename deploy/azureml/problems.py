"""What Azure says where something went wrong, in one plain sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from deploy.errors import DeployFailed

__all__ = ["said", "told"]

SHOWN: Final = 400
"""Characters of what was tried that a sentence shows."""


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Turns what Azure's packages raise into sentences.

    Args:
        doing: What is being done, such as `making the endpoint 'flights'`.

    Raises:
        DeployFailed: Azure refused it, could not be reached, or found no credentials.
    """
    from azure.ai.ml.exceptions import MlException
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
    from marshmallow import ValidationError

    try:
        yield
    except ClientAuthenticationError as error:
        if error.response is not None:
            raise DeployFailed(f"Azure refused the credentials: {said(error)}") from error
        raise DeployFailed(
            "There are no credentials for Azure that work in their usual places; `az login` makes "
            "some, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET. Tried: "
            f"{_tried(str(error.message))}"
        ) from error
    except HttpResponseError as error:
        raise DeployFailed(f"Azure failed in {doing}: {said(error)}") from error
    except AzureError as error:
        raise DeployFailed(f"Azure could not be reached in {doing}: {_short(error)}") from error
    except (MlException, ValidationError) as error:
        raise DeployFailed(f"Azure's package refused {doing}: {_short(error)}") from error


def said(error: Any) -> str:
    """Returns the message and the code that an answer of Azure holds."""
    held: Any = getattr(error, "error", None)
    if held is None or not held.message:
        return _short(error)
    message = held.message
    inner = [each.message for each in held.details or () if each.message]
    text = " ".join([message, *(each for each in inner if each not in message)])
    return f"{' '.join(text.split()).rstrip('.')} ({held.code})."


def _short(error: BaseException) -> str:
    """Returns the first line of what an exception says."""
    text = _first(str(getattr(error, "message", None) or error)).rstrip(". ")
    return f"{text or type(error).__name__}."


def _tried(message: str) -> str:
    """Returns the lines of a message that say which credentials were tried, as one."""
    lines = [" ".join(line.split()) for line in message.splitlines() if line.startswith("\t")]
    text = "; ".join(line.rstrip(".") for line in lines) or _first(message)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."


def _first(message: str) -> str:
    return (message.strip().splitlines() or [""])[0]
