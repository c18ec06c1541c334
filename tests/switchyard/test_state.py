import os
import pwd
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from switchyard import settings
from switchyard.errors import Conflict, InvalidInput, NotFound, SwitchyardError
from switchyard.state import ANY, Revision, State, iso

FIRST = Revision(
    endpoint="flights",
    number=1,
    created="2026-01-01T00:00:00.000000+00:00",
    who="ada",
    reason="start",
    shares={"sklearn": 0.5, "torch": 0.5},
    intervals={"sklearn": [[0.0, 0.25], [0.75, 1.0]], "torch": [[0.25, 0.75]]},
    shadow={"torch": 1.0},
    coverage=0.9,
)


class Clock:
    """A clock that goes only when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def run_at_once(url: str, script: str, arguments: list[str], steps: int = 0) -> list[str]:
    """Runs a script in one process per argument, all released together; returns what they print.

    A script may call `step()`, as often as `steps` says, to wait for all the others.
    """
    head = (
        "import sys\nfrom switchyard.state import State\nfrom switchyard.errors import Conflict\n"
        "url, me = sys.argv[1:]\n"
        "def step():\n    print('ready', flush=True)\n    sys.stdin.readline()\n"
        "step()\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", head + script, url, argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=settings.ROOT,
        )
        for argument in arguments
    ]
    for _ in range(steps + 1):
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                pytest.fail(process.communicate(timeout=60)[1])
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
    outputs = []
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        outputs.append(out)
    return outputs


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Callable[[], str]]:
    """A PostgreSQL server of this test run; gives the URL of a fresh database per call."""
    binaries = shutil.which("initdb") or next(
        map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None
    )
    if binaries is None:
        pytest.skip("PostgreSQL's initdb is not installed (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="PostgreSQL's driver: pip install 'psycopg[binary]'")
    folder = Path(tempfile.mkdtemp(prefix="switchyard-pg-"))
    # PostgreSQL refuses to run as root, and pytest's own folders are closed to other users.
    user = None
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody").pw_uid
        os.chown(folder, user, -1)
    bin_folder = Path(binaries).resolve().parent
    data, log = str(folder / "data"), str(folder / "log")

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [str(bin_folder / program), *arguments],
            check=True,
            user=user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )

    run("initdb", "-D", data, "-U", "switchyard", "-A", "trust", "--no-sync")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    run("pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start")
    server = f"postgresql://switchyard@/{{}}?host={folder}"
    admin = sa.create_engine(
        server.format("postgres").replace("postgresql:", "postgresql+psycopg:"),
        isolation_level="AUTOCOMMIT",
    )
    made = 0

    def fresh() -> str:
        nonlocal made
        made += 1
        with admin.connect() as db:
            db.execute(sa.text(f"CREATE DATABASE t{made}"))
        return server.format(f"t{made}")

    try:
        yield fresh
    finally:
        admin.dispose()
        run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    fresh: Callable[[], str] = request.getfixturevalue("postgresql")
    return fresh()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(url: str, clock: Clock) -> Iterator[State]:
    opened = State.open(url, clock=clock)
    yield opened
    opened.close()


# Opening


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nonsense", "cannot be read; it looks like 'sqlite:"),
        ("mysql://host/db", "cannot be 'mysql'; use a sqlite: or postgresql: URL"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:////nowhere/at/all/state.db", "cannot be opened: .*No such file or directory"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_sentence(url: str, sentence: str) -> None:
    with pytest.raises(SwitchyardError, match=sentence):
        State.open(url)


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"something else" * 100)
    with pytest.raises(SwitchyardError, match="cannot be opened: file is not a database"):
        State.open(f"sqlite:///{tmp_path / 'state.db'}")


def test_postgresql_without_its_driver_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SwitchyardError, match=r"pip install 'psycopg\[binary\]'"):
        State.open("postgresql://host/db")


def test_an_unreachable_postgresql_is_reported_without_its_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="PostgreSQL's driver: pip install 'psycopg[binary]'")
    with pytest.raises(SwitchyardError, match="cannot be opened") as caught:
        State.open(f"postgresql://me:hidden@/db?host={tmp_path}")
    assert "hidden" not in caught.value.message


def test_without_a_url_it_is_the_database_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SWITCHYARD_DATABASE_URL", raising=False)
    monkeypatch.setenv("SWITCHYARD_HOME", str(tmp_path))
    State.open().set_alias("m", "production", "1", "ada", "first")
    assert State.open(f"sqlite:///{tmp_path / 'state.db'}").alias("m", "production") == "1"


def test_sqlite_is_in_wal_mode_waits_and_holds_foreign_keys(tmp_path: Path) -> None:
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    with state._reader.begin() as db:
        assert db.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert db.execute(sa.text("PRAGMA busy_timeout")).scalar() == 10_000
        assert db.execute(sa.text("PRAGMA foreign_keys")).scalar() == 1


def test_eight_processes_may_open_a_fresh_database_at_once(url: str) -> None:
    script = "state = State.open(url)\nstate.set_alias('m', me, '1', me, 'open')\nprint(me)"
    names = [f"p{i}" for i in range(8)]
    assert run_at_once(url, script, names) == [f"{name}\n" for name in names]
    assert State.open(url).aliases() == {("m", name): "1" for name in names}


def test_a_fresh_sqlite_file_is_never_locked_for_those_who_open_it_together(
    tmp_path: Path,
) -> None:
    script = "for i in range(30):\n    State.open(url.format(i)).close()\n    step()\nprint('done')"
    url = f"sqlite:///{tmp_path}/{{}}.db"
    assert all(out.endswith("done\n") for out in run_at_once(url, script, ["x"] * 5, steps=30))


def test_readers_go_on_while_a_writer_holds_its_turn(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = State.open(f"sqlite:///{path}")
    state.set_alias("m", "production", "1", "ada", "first")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE aliases SET version = '2'")
    assert state.alias("m", "production") == "1"
    writer.execute("COMMIT")
    writer.close()
    assert state.alias("m", "production") == "2"


# Aliases


def test_an_alias_moves_with_its_history(state: State, clock: Clock) -> None:
    assert state.aliases() == {}
    assert state.alias("m", "production") is None
    state.set_alias("m", "production", "1", "ada", "first")
    clock.forward(60)
    state.set_alias("m", "production", "2", "bob", "better")
    state.set_alias("n", "staging", "7", "bob", "another model")
    assert state.aliases() == {("m", "production"): "2", ("n", "staging"): "7"}
    assert [
        (c.alias, c.from_version, c.to_version, c.who, c.why, c.created)
        for c in state.alias_history("m")
    ] == [
        ("production", None, "1", "ada", "first", "2026-01-01T00:00:00.000000+00:00"),
        ("production", "1", "2", "bob", "better", "2026-01-01T00:01:00.000000+00:00"),
    ]


def test_an_alias_that_is_there_already_is_no_move(state: State) -> None:
    state.set_alias("m", "production", "1", "ada", "first")
    state.set_alias("m", "production", "1", "bob", "again", expected="1")
    assert [change.who for change in state.alias_history("m")] == ["ada"]


@pytest.mark.parametrize("expected", [None, "0", "2"])
def test_an_alias_that_somebody_else_moved_is_a_conflict(
    state: State, expected: str | None
) -> None:
    state.set_alias("m", "production", "1", "ada", "first", expected=None)
    with pytest.raises(Conflict, match="m:production is at 1, not at"):
        state.set_alias("m", "production", "2", "bob", "second", expected=expected)
    assert state.alias("m", "production") == "1"
    assert len(state.alias_history("m")) == 1
    state.set_alias("m", "production", "2", "bob", "second", expected="1")
    state.set_alias("m", "production", "3", "bob", "third", expected=ANY)
    assert state.alias("m", "production") == "3"


def test_an_alias_that_is_not_there_is_not_at_a_version(state: State) -> None:
    with pytest.raises(Conflict, match="m:production is at no version, not at 1"):
        state.set_alias("m", "production", "2", "ada", "first", expected="1")
    assert state.aliases() == {}


def test_a_move_that_is_taken_back_has_never_been(state: State) -> None:
    state.set_alias("m", "production", "v1", "ann", "first")
    state.retract_alias("m", "production", "v1")
    assert state.aliases() == {}
    assert state.alias_history("m") == []
    state.set_alias("m", "production", "v1", "ann", "first")
    before = state.alias_history("m")
    state.set_alias("m", "production", "v2", "bob", "second")
    state.retract_alias("m", "production", "v2")
    assert state.aliases() == {("m", "production"): "v1"}
    assert state.alias_history("m") == before


def test_only_the_last_move_can_be_taken_back(state: State) -> None:
    state.set_alias("m", "production", "v1", "ann", "first")
    state.set_alias("m", "production", "v2", "bob", "second")
    state.record_refusal("m", "production", "v3", "cid", "too slow")
    for model, alias, version in [
        ("m", "production", "v1"),
        ("m", "staging", "v2"),
        ("n", "a", "v"),
    ]:
        state.retract_alias(model, alias, version)
    assert state.aliases() == {("m", "production"): "v2"}
    assert len(state.alias_history("m")) == 3
    state.retract_alias("m", "production", "v2")
    assert state.aliases() == {("m", "production"): "v1"}
    assert [change.to_version for change in state.alias_history("m")] == ["v1", "v3"]


def test_a_check_sees_all_aliases_and_may_prevent_a_move(state: State) -> None:
    state.set_alias("m", "production", "v1", "ann", "first")
    state.set_alias("n", "production", "w", "ann", "first")

    def check(known: Mapping[tuple[str, str], str]) -> None:
        assert known == {("m", "production"): "v1", ("n", "production"): "w"}
        raise NotFound("v2 is gone")

    with pytest.raises(NotFound, match="v2 is gone"):
        state.set_alias("m", "production", "v2", "ann", "second", check=check)
    assert state.alias("m", "production") == "v1"
    assert len(state.alias_history("m")) == 1


def test_aliases_are_adopted_all_at_once_and_only_by_an_empty_database(state: State) -> None:
    known = {("m", "production"): "v1", ("n", "production"): "w"}
    state.adopt(known, "lock", "taken over")
    assert state.aliases() == known
    (change,) = state.alias_history("m")
    assert (change.from_version, change.to_version, change.who) == (None, "v1", "lock")
    state.adopt({("m", "production"): "v2", ("o", "production"): "x"}, "lock", "taken over")
    assert state.aliases() == known


def test_nobody_writes_during_a_turn(url: str) -> None:
    state, other = State.open(url), State.open(url)
    with ThreadPoolExecutor(1) as pool:
        with state.turn() as observed:
            assert observed.aliases == {}
            writing = pool.submit(other.set_alias, "m", "production", "v1", "ann", "first")
            with pytest.raises(TimeoutError):
                writing.result(timeout=0.5)
            assert other.aliases() == {}
        writing.result(timeout=20)
    assert state.aliases() == {("m", "production"): "v1"}


def test_two_processes_that_move_one_alias_lose_no_move(url: str) -> None:
    State.open(url)
    script = """
state = State.open(url)
moved = 0
for i in range(40):
    seen = state.alias("m", "production")
    try:
        state.set_alias("m", "production", f"{me}-{i}", me, "race", expected=seen)
        moved += 1
    except Conflict:
        pass
print(moved)
"""
    moved = run_at_once(url, script, ["a", "b"])
    state = State.open(url)
    history = state.alias_history("m")
    assert [str(sum(c.who == who for c in history)) + "\n" for who in ("a", "b")] == moved
    assert [c.from_version for c in history] == [None, *(c.to_version for c in history[:-1])]
    assert state.alias("m", "production") == history[-1].to_version


# Revisions


def test_an_endpoint_without_revisions_has_none(state: State) -> None:
    assert state.latest_revision("flights") is None
    assert state.revisions("flights") == []


def test_revisions_come_back_as_they_were(state: State) -> None:
    second = replace(FIRST, number=2, reason="more", coverage=1.0, shadow={})
    ten = replace(FIRST, number=10)
    for revision in (ten, FIRST, second, replace(FIRST, endpoint="digits")):
        state.add_revision(revision)
    assert state.revisions("flights") == [FIRST, second, ten]
    assert state.latest_revision("flights") == ten


def test_a_number_that_is_taken_is_a_conflict(state: State) -> None:
    state.add_revision(FIRST)
    with pytest.raises(Conflict, match="'flights' has a revision 1 already"):
        state.add_revision(replace(FIRST, who="bob"))
    assert state.revisions("flights") == [FIRST]


def test_of_two_processes_that_take_one_number_one_wins(url: str) -> None:
    State.open(url)
    script = """
from switchyard.state import Revision
state = State.open(url)
won = []
for number in range(20):
    try:
        state.add_revision(Revision("e", number, "now", me, "race", {}, {}, {}))
        won.append(number)
    except Conflict:
        pass
print(*won)
"""
    won = run_at_once(url, script, ["a", "b"])
    by_holder = {who: [*map(int, out.split())] for who, out in zip("ab", won, strict=True)}
    revisions = State.open(url).revisions("e")
    assert [revision.number for revision in revisions] == list(range(20))
    for who, numbers in by_holder.items():
        assert [r.number for r in revisions if r.who == who] == numbers


# API keys


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


def test_a_lease_has_one_holder_until_it_ends(state: State, clock: Clock) -> None:
    assert state.acquire_lease("controller", "a", 10)
    assert not state.acquire_lease("controller", "b", 10)
    clock.forward(9.9)
    assert not state.acquire_lease("controller", "b", 10)
    assert state.acquire_lease("controller", "a", 10)  # prolonged
    clock.forward(9.9)
    assert not state.acquire_lease("controller", "b", 10)
    clock.forward(0.1)
    assert state.acquire_lease("controller", "b", 10)
    assert not state.acquire_lease("controller", "a", 10)
    assert state.acquire_lease("another", "a", 10)


def test_a_lease_can_be_given_back(state: State) -> None:
    assert state.acquire_lease("controller", "a", 60)
    assert state.acquire_lease("controller", "a", 0)
    assert state.acquire_lease("controller", "b", 60)


def test_of_many_processes_one_gets_the_lease(url: str) -> None:
    State.open(url)
    script = "print(State.open(url).acquire_lease('controller', me, 3600))"
    answers = run_at_once(url, script, [f"p{i}" for i in range(4)])
    assert sorted(answers) == ["False\n"] * 3 + ["True\n"]


# Threads and time


def test_threads_may_share_a_state(state: State) -> None:
    def write(i: int) -> str | None:
        state.set_alias("m", f"alias-{i}", str(i), "thread", "race")
        return state.alias("m", f"alias-{i}")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write, range(32))) == [str(i) for i in range(32)]
    assert len(state.alias_history("m")) == 32


moments = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.timezones())


@given(moments, moments)
def test_times_sort_as_text_as_they_do_as_times(one: datetime, other: datetime) -> None:
    utc_one, utc_other = one.astimezone(UTC), other.astimezone(UTC)
    assert (iso(one) < iso(other)) == (utc_one < utc_other)
    assert datetime.fromisoformat(iso(one)) == utc_one
