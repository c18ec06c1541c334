"""Two processes do as they please with one registry; its history and aliases stay consistent."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lifecycle import Registry, open_registry

from models import store
from models.lifecycle.rollback import stack

pytestmark = pytest.mark.slow

WORKER = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
from models.lifecycle import catalog, promote, rollback
from models import store
from models.registry import Tag
from models.lifecycle.verify import Report
from switchyard.errors import SwitchyardError
from switchyard.plan import Plan
from switchyard.state import State
import lifecycle

def quickly(name, version):  # the rest of a promotion is real; the models here are empty
    return Report(f"{name}:{version}", None, latency_seconds=0.001, loads=True)

promote.verify = quickly
plan = lifecycle.plan_of("m:production", "m:staging")
state = State.open()
registry = lifecycle.Registry(Path(sys.argv[1]), state)

def one(model, action, alias, place):
    settings = {"plan": plan, "state": state, "who": sys.argv[2], "why": "", "alias": alias}
    stored = store.versions(model)
    version = stored[-1 - place % len(stored)].version if stored else "nothing"
    if action == "add":
        registry.bare(model)
    elif action == "promote":
        promote.promote(model, version, **settings)
    elif action == "rollback":
        rollback.rollback(model, **settings)
    else:
        catalog.delete(Tag(model, version), plan, state)

for line in sys.stdin:
    ends = []
    for model, *operation in json.loads(line):
        try:
            one(model, *operation)
            ends.append("done")
        except SwitchyardError as error:
            ends.append(error.code)
    print(json.dumps(ends), flush=True)
"""

OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "promote", "promote", "promote", "rollback", "rollback", "delete"]),
        st.sampled_from(["production", "production", "staging"]),
        st.integers(0, 2),
    ),
    min_size=3,
    max_size=15,
)
TOLD = {"done", "conflict", "not_found", "promotion_refused"}
"""How an operation may end."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with (
        pytest.MonkeyPatch.context() as patch,
        open_registry(tmp_path_factory.mktemp("registry"), patch) as opened,
    ):
        patch.setenv("PYTHONPATH", "")
        yield opened


@pytest.fixture(scope="module")
def workers(registry: Registry) -> Iterator[list[subprocess.Popen[str]]]:
    path = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
    started = [registry.python(path + WORKER, str(registry.folder), name) for name in ("a", "b")]
    yield started
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=20)


number = iter(range(10_000))


@given(first=OPERATIONS, second=OPERATIONS)
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_history_and_aliases_stay_consistent(registry, workers, first, second) -> None:
    model = f"m{next(number)}"
    for process, operations in zip(workers, (first, second), strict=True):
        process.stdin.write(json.dumps([(model, *operation) for operation in operations]) + "\n")
        process.stdin.flush()
    for process in workers:
        line = process.stdout.readline()
        assert line, process.communicate(timeout=20)[1]
        assert set(json.loads(line)) <= TOLD
    check(registry, model)


def check(registry: Registry, model: str) -> None:
    aliases = {alias: v for (name, alias), v in registry.state.aliases().items() if name == model}
    history = registry.state.alias_history(model)
    replayed: dict[str, str] = {}
    for change in history:
        assert change.from_version == replayed.get(change.alias)
        if change.action != "refused":
            assert change.to_version != change.from_version
            replayed[change.alias] = change.to_version
    assert replayed == aliases
    for alias, version in aliases.items():
        assert store.has(model, version)
        assert stack(history, alias)[-1].to_version == version
    assert registry.state.observe().candidates == ()
