"""API keys."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable

import sqlalchemy as sa

from switchyard.database import api_keys
from switchyard.errors import InvalidInput, NotFound
from switchyard.records import SCOPES, ApiKey, iso
from switchyard.state.part import Part, transaction

__all__ = ["Keys"]


class Keys(Part):
    """What callers may do, by the digest of their secret."""

    def create_key(self, name: str, scopes: Iterable[str]) -> str:
        """Makes an API key and returns its secret, which is stored nowhere and shown once.

        Raises:
            InvalidInput: The name is empty, or there is no scope or an unknown one.
        """
        asked = set(scopes)
        if not name.strip():
            raise InvalidInput("An API key needs a name that says what it is for.")
        if not asked or not asked <= set(SCOPES):
            wrong = sorted(asked - set(SCOPES))
            what = f"{wrong[0]!r} is no scope" if wrong else "An API key needs a scope"
            raise InvalidInput(f"{what}; take one or more of {', '.join(SCOPES)}.")
        secret = f"sy_{secrets.token_urlsafe(32)}"
        key = {
            "id": secrets.token_hex(4),
            "name": name.strip(),
            "digest": _digest(secret),
            "scopes": [scope for scope in SCOPES if scope in asked],
            "created": iso(self._clock()),
        }
        with transaction(self._writer) as db:
            db.execute(api_keys.insert().values(**key))
        return secret

    def keys(self) -> list[ApiKey]:
        """Returns all API keys, revoked ones too, the oldest first."""
        query = sa.select(api_keys).order_by(api_keys.c.created, api_keys.c.id)
        with transaction(self._reader) as db:
            return [
                ApiKey(row.id, row.name, tuple(row.scopes), row.created, row.revoked)
                for row in db.execute(query)
            ]

    def revoke_key(self, key: str) -> None:
        """Takes an API key out of use, for good; a repeat changes nothing.

        Args:
            key: Its id.

        Raises:
            NotFound: No key has this id.
        """
        change = api_keys.update().filter_by(id=key)
        revoked = sa.func.coalesce(api_keys.c.revoked, iso(self._clock()))
        with transaction(self._writer) as db:
            if not db.execute(change.values(revoked=revoked)).rowcount:
                raise NotFound(f"No API key has the id {key!r}; `switchyard keys list` shows all.")

    def key_scopes(self, secret: str) -> frozenset[str] | None:
        """Returns what a secret allows, None for an unknown or revoked one."""
        query = sa.select(api_keys.c.scopes).filter_by(digest=_digest(secret), revoked=None)
        with transaction(self._reader) as db:
            scopes = db.execute(query).scalar()
        return None if scopes is None else frozenset(scopes)


def _digest(secret: str) -> str:
    """Returns what is stored of a secret; 256 random bits need neither salt nor a slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()
