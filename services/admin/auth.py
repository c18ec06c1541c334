"""Who may: from the headers of a request to what its caller is allowed (DESIGN section 6).

The admin token allows everything. An API key allows its scopes. Without credentials a caller may
predict and give feedback where the plan says `auth: open`, and nothing where it says `required`;
wrong credentials are refused in both cases, so that a typing error is never taken for a stranger.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, Literal

from switchyard.errors import Forbidden, Unauthorized
from switchyard.state import SCOPES, State

__all__ = ["Gate"]

EVERYTHING: Final = frozenset(SCOPES)
OPEN: Final = frozenset({"predict", "feedback"})
NOTHING: Final[frozenset[str]] = frozenset()

KEY_SECONDS: Final = 1.0
"""How long an answer of the state database is believed: a revoked key works no longer than this."""

KEYS_CACHED: Final = 1024
"""Bound of the cache, which wrong tokens fill as well as keys do."""


class Gate:
    """Decides what a caller may do. Belongs to one event loop.

    Args:
        auth: `auth` of the plan.
        admin_token: The token that allows everything, not empty.
        state: Holds the API keys.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        auth: Literal["open", "required"],
        admin_token: str,
        state: State,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not admin_token:
            raise ValueError("an empty admin token would let everybody in")
        self._anonymous = OPEN if auth == "open" else NOTHING
        self._admin = admin_token.encode()
        self._state = state
        self._clock = clock
        self._keys: OrderedDict[bytes, tuple[float, frozenset[str] | None]] = OrderedDict()

    async def learn(self, headers: Mapping[bytes, bytes]) -> None:
        """Looks up a token that is not known yet, beside the event loop.

        To be awaited before `require` or `scopes` wherever requests are answered: a state database
        that hesitates must hold up nobody but the caller with that token.

        Args:
            headers: Of the request, names in lower case.

        Raises:
            NotReady: The state database does not answer.
        """
        token = _token(headers)
        if token is None or hmac.compare_digest(token, self._admin):
            return
        digest = hashlib.sha256(token).digest()
        known = self._keys.get(digest)
        if known is None or self._clock() >= known[0]:
            scopes = await asyncio.to_thread(self._state.key_scopes, token.decode("latin-1"))
            self._remember(digest, scopes)

    def scopes(self, headers: Mapping[bytes, bytes]) -> frozenset[str]:
        """Returns what the caller may do.

        Args:
            headers: Of the request, names in lower case.

        Raises:
            Unauthorized: The credentials are not a bearer token, or not one that is known.
            NotReady: The token may be an API key, and the state database does not answer.
        """
        if b"authorization" not in headers:
            return self._anonymous
        token = _token(headers)
        if token is None:
            raise Unauthorized("The Authorization header must be 'Bearer' and a token.")
        if hmac.compare_digest(token, self._admin):
            return EVERYTHING
        allowed = self._key_scopes(token)
        if allowed is None:
            raise Unauthorized("The token is neither the admin token nor an API key in use.")
        return allowed | self._anonymous

    def require(self, headers: Mapping[bytes, bytes], scope: str) -> frozenset[str]:
        """Lets a call pass if its caller has a scope, and returns all that the caller has.

        Args:
            headers: Of the request, names in lower case.
            scope: `predict`, `feedback` or `admin`.

        Raises:
            Unauthorized: There are no credentials and the call needs some, or they are wrong.
            Forbidden: They are right, but do not have the scope.
            NotReady: The token may be an API key, and the state database does not answer.
        """
        scopes = self.scopes(headers)
        if scope in scopes:
            return scopes
        if b"authorization" in headers:
            raise Forbidden(
                f"The API key does not have the scope {scope!r}; "
                "`switchyard keys create` makes one that has."
            )
        raise Unauthorized(
            f"This call needs a token with the scope {scope!r} "
            "in the header 'Authorization: Bearer TOKEN'."
        )

    def _key_scopes(self, token: bytes) -> frozenset[str] | None:
        digest = hashlib.sha256(token).digest()
        known = self._keys.get(digest)
        if known is not None and self._clock() < known[0]:
            return known[1]
        scopes = self._state.key_scopes(token.decode("latin-1"))
        self._remember(digest, scopes)
        return scopes

    def _remember(self, digest: bytes, scopes: frozenset[str] | None) -> None:
        self._keys[digest] = (self._clock() + KEY_SECONDS, scopes)
        self._keys.move_to_end(digest)
        if len(self._keys) > KEYS_CACHED:
            self._keys.popitem(last=False)


def _token(headers: Mapping[bytes, bytes]) -> bytes | None:
    """Returns the bearer token of a request, None where there is none that can be read."""
    scheme, _, rest = headers.get(b"authorization", b"").partition(b" ")
    token = rest.strip()
    return token if token and scheme.lower() == b"bearer" else None
