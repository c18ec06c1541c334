"""Who needs a version, and the deletion of what nobody needs."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lifecycle import Registry, open_registry, plan_of

from models import lock, store
from models.lifecycle import catalog
from models.lifecycle.catalog import Uses
from models.registry import Tag
from switchyard.errors import Conflict, NotFound
from switchyard.state import Worker

PLAN = plan_of("m:production", "n:production")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    with open_registry(tmp_path, monkeypatch) as opened:
        yield opened


@pytest.fixture
def refused(registry: Registry):
    def run(version: str, plan=PLAN) -> str:
        with pytest.raises(Conflict) as caught:
            catalog.delete(Tag("m", version), plan, registry.state)
        assert store.has("m", version)
        return caught.value.message

    return run


def test_a_version_that_is_not_there(registry: Registry) -> None:
    with pytest.raises(NotFound):
        catalog.delete(Tag("m", "nothing"), PLAN, registry.state)


def test_an_alias_needs_its_version(registry: Registry, refused) -> None:
    version = registry.bare()
    registry.state.set_alias("m", "old", version, "test", "")
    assert "the alias 'old' stands for it" in refused(version)
    assert "the alias 'old' stands for it" in refused(version, None)


def test_an_alias_that_only_the_lock_knows_needs_it_too(registry, refused, monkeypatch) -> None:
    version = registry.bare()
    monkeypatch.setattr("models.lock.settings.ROOT", registry.folder)
    aliases = {"m": {"production": version}}
    (registry.folder / lock.LOCK_FILE).write_text(json.dumps({"aliases": aliases}))
    assert "the alias 'production' stands for it" in refused(version)


def test_a_candidate_is_needed_until_its_time_is_up(registry: Registry, refused) -> None:
    version = registry.bare()
    candidate = registry.state.propose("m", "production", version, "ada", 60)
    assert "the alias 'production' is about to move to it" in refused(version)
    registry.state.renew(candidate, 0)
    catalog.delete(Tag("m", version), PLAN, registry.state)
    assert not store.has("m", version)


def test_a_version_that_the_plan_names_is_needed(registry: Registry, refused) -> None:
    version = registry.bare()
    assert "the plan names it in e/v1" in refused(version, plan_of("n:x", f"m:{version}"))


def test_a_version_that_a_worker_holds_is_needed(registry: Registry, refused) -> None:
    version = registry.bare()
    registry.state.report(Worker("h", "torch", "there:7", (), (f"m:{version}",)))
    assert "torch there:7 still has it loaded" in refused(version)
    registry.state.retire("h")
    catalog.delete(Tag("m", version), PLAN, registry.state)


def test_nobody_writes_while_a_version_is_deleted(registry: Registry, monkeypatch) -> None:
    """An alias that another process wants to move to it meanwhile is late."""
    version, withdraw = registry.bare(), store.staging.withdraw
    script = (
        "import sys; from models import store; from switchyard.state import State\n"
        "def check(known):\n    sys.exit(0 if not store.has('m', sys.argv[1]) else 1)\n"
        "state = State.open(); print('ready', flush=True)\n"
        "state.set_alias('m', 'production', sys.argv[1], 'ada', '', check=check)"
    )
    others = []

    def slowly(*arguments) -> None:
        other = registry.python(script, version)
        others.append(other)
        assert other.stdout is not None
        with pytest.raises(Exception, match="timed out"):
            other.communicate(timeout=2)  # it waits for its turn
        withdraw(*arguments)

    monkeypatch.setattr(store.staging, "withdraw", slowly)
    catalog.delete(Tag("m", version), PLAN, registry.state)
    assert others[0].wait(20) == 0
    assert registry.state.aliases() == {}


def test_others_write_while_files_are_removed(registry: Registry, monkeypatch) -> None:
    first, version = registry.bare(), registry.bare()
    discard = store.staging.discard

    def slowly(*arguments) -> None:
        registry.state.set_alias("m", "production", first, "ada", "")
        discard(*arguments)

    monkeypatch.setattr(store.staging, "discard", slowly)
    catalog.delete(Tag("m", version), PLAN, registry.state)
    assert registry.state.alias("m", "production") == first


def test_a_version_that_is_deleted_meanwhile_is_left_out(registry: Registry) -> None:
    kept, gone = registry.bare(), registry.bare()
    found, observed = store.versions("m"), registry.state.observe()
    store.delete("m", gone)
    summaries = catalog.listed(found, lambda version: catalog.summary(version, {}))
    details = catalog.listed(found, lambda version: catalog.details(version, PLAN, observed))
    for listed in (summaries, details):
        assert [(version.version, about["version"]) for version, about in listed] == [(kept, kept)]
    with pytest.raises(NotFound, match=f"m:{gone} was deleted|no version '{gone}'"):
        catalog.summary(found[1], {})


def test_uses(registry: Registry) -> None:
    version = registry.bare()
    tag = Tag("m", version)
    registry.state.set_alias("m", "production", version, "test", "")
    registry.state.propose("m", "staging", version, "ada", 60)
    registry.state.report(Worker("h", "onnx", "there:7", (), (str(tag),)))
    plan = plan_of("m:production", f"m:{version}", "m:staging")
    assert catalog.uses(tag, plan, registry.state.observe()) == Uses(
        aliases=("production",),
        variants=("e/v0", "e/v1"),
        pinned=("e/v1",),
        candidates=("staging",),
        workers=("onnx there:7",),
    )


def test_details_and_summary(registry: Registry) -> None:
    version = registry.first(metrics={"auc": 0.7})
    found = catalog.version(Tag("m", version))
    observed = registry.state.observe()
    row = catalog.summary(found, observed.aliases)
    assert (row["aliases"], row["metrics"]) == (["production"], {"auc": 0.7})
    about = catalog.details(found, PLAN, observed)
    assert about["serves"] == {"variants": ["e/v0"], "workers": []}
    assert about["manifest"]["metrics"] == {"auc": 0.7}
    other = catalog.details(catalog.version(Tag("m", registry.store())), PLAN, observed)
    assert len(about["digest"]) == 64
    assert about["digest"] != other["digest"]
