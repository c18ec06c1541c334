"""Releases on a platform in memory: what is recorded, and what is there when something fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bentos import made
from memory_target import ADDRESS, SECRET, Cloud, refusal, statuses

from deploy.errors import DeployFailed, ValuesError
from deploy.releases import Deployer
from deploy.target import Reply
from switchyard.errors import NotFound
from switchyard.state import State

ONE = made()
TWO = made(tag="router:def456")
Make = Callable[..., Deployer]


# What goes well


def test_a_release_is_good_once_it_has_answered(
    deployer: Make, ledger: State, cloud: Cloud, said: list[str]
) -> None:
    release = deployer().apply(ONE)
    assert (release.number, release.status, release.bento) == (1, "good", "router:abc123")
    assert (release.who, release.why) == ("ada", "")
    assert release.facts == {"address": ADDRESS, "bento": "router:abc123"}
    assert cloud.there["server"]["token"] == SECRET
    assert cloud.calls == ["connect", "spare", "apply", "put server", "wait", "call flights"]
    assert said == ["sending", "putting server", "asking 'flights' for a row of its reference data"]
    assert ledger.releases("memory", "switchyard") == [release]


def test_no_secret_is_recorded(deployer: Make, ledger: State, tmp_path: Path) -> None:
    deployer().apply(ONE)
    (release,) = ledger.releases("memory")
    assert release.documents[0]["content"]["token"] == "${TOKEN}"
    held = b"".join(path.read_bytes() for path in tmp_path.glob("state.db*"))
    assert SECRET.encode() not in held


def test_the_endpoint_that_the_values_name_is_asked(deployer: Make, cloud: Cloud) -> None:
    deployer(smoke={"endpoint": "digits", "within": 0.001}).apply(ONE)
    assert cloud.calls[-1] == "call digits"


def test_applied_twice_it_is_two_releases_of_the_same(deployer: Make, ledger: State) -> None:
    first, second = deployer().apply(ONE), deployer().apply(ONE)
    assert (first.number, second.number) == (1, 2)
    assert first.documents == second.documents
    assert statuses(ledger) == ["good", "good"]


def test_what_a_release_no_more_names_goes_away(deployer: Make, cloud: Cloud) -> None:
    deployer(size=2).apply(ONE)
    assert set(cloud.there) == {"server", "size"}
    deployer().apply(ONE)
    assert set(cloud.there) == {"server"}


def test_places_of_a_target_have_releases_of_their_own(deployer: Make, ledger: State) -> None:
    deployer(name="staging").apply(ONE)
    assert deployer(name="production").apply(TWO).number == 1
    assert deployer(name="staging").status().release.bento == "router:abc123"
    assert [each.place for each in ledger.releases("memory")] == ["production", "staging"]


def test_an_address_that_comes_late_is_asked_until_it_answers(deployer: Make, cloud: Cloud) -> None:
    replies = iter([ConnectionRefusedError("refused"), Reply(503, b"starting"), None])

    def next_reply() -> None:
        answer = next(replies)
        cloud.answers = {} if answer is None else {"switchyard:1": answer}

    cloud.on["call flights"] = next_reply
    assert deployer(smoke={"within": 30}).apply(ONE).status == "good"
    assert cloud.calls.count("call flights") == 3


# What fails


def test_the_first_release_that_fails_is_taken_away(
    deployer: Make, ledger: State, cloud: Cloud
) -> None:
    cloud.answers["switchyard:1"] = Reply(500, b'{"error": "no model"}')
    with pytest.raises(DeployFailed) as caught:
        deployer().apply(ONE)
    assert caught.value.message == (
        "Release 1 failed: The smoke test of 'flights' failed: the answer was HTTP 500: "
        '{"error": "no model"}. There was no good release before it, so what it made was taken '
        "away."
    )
    assert cloud.there == {}
    (release,) = ledger.releases("memory")
    assert release.status == "failed"
    assert caught.value.message == f"Release 1 failed: {release.why}"
    standing = deployer().status()
    assert (standing.release.status, standing.seen.state) == ("failed", "absent")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("apply", "AccessDenied: user ada may not create endpoints"),
        ("put server", "pull access denied for switchyard:2"),
        ("put size", "Quota 'CPUs' exceeded. Limit: 8.0"),
        ("wait", "server was not ready within 900 s: CrashLoopBackOff"),
    ],
)
def test_what_the_platform_refuses_makes_way_for_the_last_good_release(
    deployer: Make, ledger: State, cloud: Cloud, call: str, message: str
) -> None:
    deployer().apply(ONE)
    before = dict(cloud.there)
    refuse = refusal(message)
    cloud.on[call] = lambda: refuse() if cloud.calls.count("apply") == 2 else None
    with pytest.raises(DeployFailed) as caught:
        deployer("switchyard:2", size=2).apply(TWO)
    assert caught.value.message == (
        f"Release 2 failed: {message}. Release 1 (router:abc123) is back, and answers."
    )
    assert cloud.there == before
    assert statuses(ledger) == ["good", "failed"]
    standing = deployer().status()
    assert (standing.release.number, standing.seen.state) == (2, "ready")
    assert standing.seen.differences == ()  # from the release that is back


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (Reply(503, b"overloaded"), "the answer was HTTP 503: overloaded"),
        (
            Reply(200, b"<html>a\n portal</html>"),
            "holds no prediction for the row: <html>a portal<",
        ),
        (Reply(200, b'{"predictions": []}'), "holds no prediction for the row"),
        (Reply(200, b'{"predictions": [null]}'), "holds no prediction for the row"),
        (Reply(200, b"[1]"), "holds no prediction for the row"),
        (Reply(200, b"\xff"), "holds no prediction for the row"),
        (ConnectionResetError("reset by peer"), "ConnectionResetError: reset by peer"),
        (DeployFailed("no route to the endpoint"), "no route to the endpoint"),
    ],
)
def test_a_smoke_test_that_fails_makes_way_for_the_last_good_release(
    deployer: Make, cloud: Cloud, answer: Reply | Exception, shown: str
) -> None:
    deployer().apply(ONE)
    cloud.answers["switchyard:2"] = answer
    with pytest.raises(DeployFailed) as caught:
        deployer("switchyard:2").apply(TWO)
    assert shown in caught.value.message
    assert caught.value.message.endswith("Release 1 (router:abc123) is back, and answers.")
    assert cloud.image() == "switchyard:1"


def test_a_network_that_breaks_in_the_middle_is_one_sentence(
    deployer: Make, cloud: Cloud, ledger: State
) -> None:
    def broken() -> None:
        raise ConnectionAbortedError("connection lost")

    deployer().apply(ONE)
    cloud.on["put size"] = broken
    with pytest.raises(DeployFailed) as caught:
        deployer("switchyard:2", size=2).apply(TWO)
    assert "could not be reached: ConnectionAbortedError: connection lost" in caught.value.message
    assert cloud.image() == "switchyard:1"
    assert statuses(ledger) == ["good", "failed"]


def test_when_going_back_fails_too_both_are_said_and_rollback_works_later(
    deployer: Make, cloud: Cloud, ledger: State
) -> None:
    deployer().apply(ONE)
    cloud.on["put server"] = refusal("the platform is down")
    with pytest.raises(DeployFailed) as caught:
        deployer("switchyard:2").apply(TWO)
    assert caught.value.message == (
        "Release 2 failed: the platform is down. Going back failed too: the platform is down. "
        "Look at it by `switchyard deploy memory status`, and try `rollback` again."
    )
    cloud.on.clear()
    release = deployer().rollback()
    assert (release.number, release.status, release.why) == (3, "good", "rollback to release 1")
    assert cloud.image() == "switchyard:1"
    assert statuses(ledger) == ["good", "failed", "good"]


def test_a_missing_secret_is_known_before_anything_is_sent(
    deployer: Make, cloud: Cloud, ledger: State
) -> None:
    with pytest.raises(ValuesError, match="TOKEN is not set"):
        deployer(environ={}).apply(ONE)
    deployer().apply(ONE)
    deployer("switchyard:2").apply(ONE)
    calls = list(cloud.calls)
    with pytest.raises(ValuesError, match="TOKEN is not set"):
        deployer(environ={}).rollback()
    assert cloud.calls == calls
    assert statuses(ledger) == ["good", "good"]


def test_all_secrets_that_are_not_set_are_named_with_those_that_only_the_smoke_test_needs(
    deployer: Make, cloud: Cloud, ledger: State
) -> None:
    with pytest.raises(ValuesError, match="API_KEY, TOKEN are not set"):
        deployer(environ={}, key="API_KEY").apply(ONE)
    with pytest.raises(ValuesError, match="API_KEY is not set"):
        deployer(key="API_KEY").apply(ONE)
    assert cloud.calls == []
    assert ledger.releases("memory") == []


def test_a_secret_that_nothing_needs_is_not_asked_for(deployer: Make) -> None:
    assert deployer(spare_key="UNUSED").apply(ONE).status == "good"


def test_only_the_secrets_that_the_values_declare_are_put_in(deployer: Make, cloud: Cloud) -> None:
    release = deployer(text="see ${HOME} and ${TOKEN}").apply(ONE)
    assert cloud.there["server"]["text"] == f"see ${{HOME}} and {SECRET}"
    assert release.documents[0]["content"]["text"] == "see ${HOME} and ${TOKEN}"


def test_an_endpoint_that_the_plan_has_not_is_known_before_anything_is_sent(
    deployer: Make, cloud: Cloud, ledger: State
) -> None:
    with pytest.raises(NotFound, match="no endpoint 'fligths'"):
        deployer(smoke={"endpoint": "fligths"}).apply(ONE)
    assert cloud.calls == []
    assert ledger.releases("memory") == []


def test_credentials_that_are_not_there_leave_no_release(
    deployer: Make, cloud: Cloud, ledger: State
) -> None:
    cloud.on["connect"] = refusal("there are no credentials")
    with pytest.raises(DeployFailed, match="no credentials"):
        deployer().apply(ONE)
    assert ledger.releases("memory") == []
