from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.admin import auth
from services.admin.auth import Gate
from switchyard.errors import Forbidden, NotReady, Unauthorized
from switchyard.state import SCOPES, State

ADMIN = "the-admin-token"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class CountingState(State):
    """The real state database, which counts how often it is asked."""

    asked = 0

    def key_scopes(self, secret: str) -> frozenset[str] | None:
        self.asked += 1
        return super().key_scopes(secret)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[CountingState]:
    opened = CountingState.open(f"sqlite:///{tmp_path / 'state.db'}")
    assert isinstance(opened, CountingState)
    yield opened
    opened.close()


@pytest.fixture
def open_gate(state: CountingState, clock: Clock) -> Gate:
    return Gate("open", ADMIN, state, clock=clock)


@pytest.fixture
def closed_gate(state: CountingState, clock: Clock) -> Gate:
    return Gate("required", ADMIN, state, clock=clock)


def bearer(token: str) -> dict[bytes, bytes]:
    return {b"accept": b"*/*", b"authorization": b"Bearer " + token.encode()}


@pytest.mark.parametrize(
    "credentials",
    [
        b"",
        b" ",
        b"Bearer",
        b"Bearer ",
        b"bearer   ",
        b"Basic dXNlcjpwYXNz",
        ADMIN.encode(),
        b"Bearer nonsense",
        b"Bearer the-admin-tokem",
        b"Bearer the-admin-token-and-more",
        b"Bearer the-admin-toke",
        b"Bearer \xff\xfe",
        b"Bearer sy_unknown",
    ],
)
@pytest.mark.parametrize("scope", SCOPES)
def test_wrong_credentials_are_refused_even_where_none_are_needed(
    open_gate: Gate, closed_gate: Gate, credentials: bytes, scope: str
) -> None:
    for gate in (open_gate, closed_gate):
        with pytest.raises(Unauthorized):
            gate.require({b"authorization": credentials}, scope)


def test_without_credentials_an_open_plan_lets_predict_and_feedback_pass(open_gate: Gate) -> None:
    assert open_gate.require({}, "predict") == {"predict", "feedback"}
    assert open_gate.require({}, "feedback") == {"predict", "feedback"}
    with pytest.raises(Unauthorized, match=r"scope 'admin' in the header 'Authorization: Bearer"):
        open_gate.require({}, "admin")


@pytest.mark.parametrize("scope", SCOPES)
def test_without_credentials_a_closed_plan_lets_nothing_pass(closed_gate: Gate, scope: str) -> None:
    assert closed_gate.scopes({}) == frozenset()
    with pytest.raises(Unauthorized):
        closed_gate.require({}, scope)


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER  "])
def test_the_admin_token_allows_everything(
    open_gate: Gate, closed_gate: Gate, state: CountingState, scheme: bytes
) -> None:
    headers = {b"authorization": scheme + ADMIN.encode()}
    for gate in (open_gate, closed_gate):
        assert gate.scopes(headers) == set(SCOPES)
        for scope in SCOPES:
            gate.require(headers, scope)
    assert state.asked == 0


def test_an_empty_admin_token_makes_no_gate(state: CountingState) -> None:
    with pytest.raises(ValueError, match="empty admin token"):
        Gate("open", "", state)


def test_a_key_allows_its_scopes(closed_gate: Gate, state: CountingState) -> None:
    headers = bearer(state.create_key("app", ["feedback"]))
    assert closed_gate.require(headers, "feedback") == {"feedback"}
    for scope in ("predict", "admin"):
        with pytest.raises(Forbidden, match=f"does not have the scope '{scope}'"):
            closed_gate.require(headers, scope)


def test_a_key_never_allows_less_than_no_key(open_gate: Gate, state: CountingState) -> None:
    headers = bearer(state.create_key("ops", ["admin"]))
    assert open_gate.scopes(headers) == {"predict", "feedback", "admin"}


def test_a_revoked_key_works_no_longer_than_a_second(
    closed_gate: Gate, state: CountingState, clock: Clock
) -> None:
    headers = bearer(state.create_key("app", ["predict"]))
    closed_gate.require(headers, "predict")
    state.revoke_key(state.keys()[0].id)
    clock.now += 0.99
    closed_gate.require(headers, "predict")
    clock.now += 0.01
    with pytest.raises(Unauthorized):
        closed_gate.require(headers, "predict")


def test_a_new_key_works_at_once(closed_gate: Gate, state: CountingState) -> None:
    closed_gate.require(bearer(state.create_key("one", ["predict"])), "predict")
    closed_gate.require(bearer(state.create_key("two", ["predict"])), "predict")


def test_the_database_is_asked_once_a_second_for_a_key_and_for_a_wrong_token(
    closed_gate: Gate, state: CountingState, clock: Clock
) -> None:
    right, wrong = bearer(state.create_key("app", ["predict"])), bearer("sy_wrong")
    for _ in range(100):
        closed_gate.require(right, "predict")
        with pytest.raises(Unauthorized):
            closed_gate.require(wrong, "predict")
    assert state.asked == 2
    clock.now += 1
    closed_gate.require(right, "predict")
    assert state.asked == 3


def test_wrong_tokens_do_not_fill_the_memory(
    closed_gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "KEYS_CACHED", 16)
    for i in range(100):
        with pytest.raises(Unauthorized):
            closed_gate.scopes(bearer(f"wrong-{i}"))
    assert len(closed_gate._keys) == 16


def test_a_database_that_is_gone_is_not_a_wrong_token(
    closed_gate: Gate, state: CountingState, tmp_path: Path
) -> None:
    headers = bearer(state.create_key("app", ["predict"]))
    state.close()
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / "state.db").mkdir()
    with pytest.raises(NotReady, match="The state database does not answer"):
        closed_gate.require(headers, "predict")
    assert closed_gate.scopes(bearer(ADMIN)) == set(SCOPES)


@pytest.fixture(scope="module")
def gate_of_all_examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    state = State.open(f"sqlite:///{tmp_path_factory.mktemp('auth') / 'state.db'}")
    yield Gate("open", ADMIN, state)
    state.close()


@given(token=st.binary(max_size=64) | st.just(ADMIN.encode()))
def test_no_other_bytes_are_the_admin_token(gate_of_all_examples: Gate, token: bytes) -> None:
    headers = {b"authorization": b"Bearer " + token}
    if token.strip() == ADMIN.encode():
        assert gate_of_all_examples.scopes(headers) == set(SCOPES)
    else:
        with pytest.raises(Unauthorized):
            gate_of_all_examples.scopes(headers)
