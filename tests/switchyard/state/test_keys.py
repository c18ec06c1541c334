from __future__ import annotations

from pathlib import Path

import pytest
from databases import Clock

from switchyard.errors import InvalidInput, NotFound
from switchyard.state import State, iso


@pytest.mark.parametrize(
    ("name", "scopes", "sentence"),
    [
        ("", ["predict"], "needs a name"),
        ("  ", ["predict"], "needs a name"),
        ("app", [], "needs a scope; take one or more of predict, feedback, admin"),
        ("app", ["predict", "root"], "'root' is no scope; take one or more of predict"),
    ],
)
def test_a_key_needs_a_name_and_known_scopes(
    state: State, name: str, scopes: list[str], sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        state.create_key(name, scopes)
    assert state.keys() == []


def test_a_secret_opens_what_its_scopes_say_until_it_is_revoked(state: State, clock: Clock) -> None:
    app = state.create_key("app", ["feedback", "predict"])
    clock.forward(1)
    ops = state.create_key(" ops ", ["admin"])
    assert state.key_scopes(app) == {"predict", "feedback"}
    assert state.key_scopes(ops) == {"admin"}
    first, second = state.keys()
    assert (first.name, first.scopes, first.revoked) == ("app", ("predict", "feedback"), None)
    assert second.name == "ops"
    state.revoke_key(first.id)
    revoked = iso(clock.now)
    clock.forward(1)
    state.revoke_key(first.id)
    assert state.key_scopes(app) is None
    assert state.key_scopes(ops) == {"admin"}
    assert state.keys()[0].revoked == revoked


def test_an_unknown_key_is_not_found(state: State) -> None:
    state.create_key("app", ["predict"])
    assert state.key_scopes("sy_unknown") is None
    assert state.key_scopes("") is None
    with pytest.raises(NotFound, match="No API key has the id 'nope'"):
        state.revoke_key("nope")


def test_no_secret_is_stored(tmp_path: Path) -> None:
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    secret = state.create_key("app", ["predict"])
    state.close()
    for path in tmp_path.iterdir():
        assert secret.encode() not in path.read_bytes()
        assert secret.removeprefix("sy_").encode() not in path.read_bytes()


# Leases
