from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import Field as Setting

from deploy.errors import ValuesError
from deploy.targets import NAMES, example_values, target
from deploy.values import ImageValues, Secret, Shared, Values, read_values, secrets_of
from switchyard.formats import Duration
from switchyard.section import Section


class Database(Section):
    url: Secret
    salt: Secret = "SALT"
    pool: int = 5


class Replicas(Section):
    least: int = 1
    wait: Duration = 30.0


class Example(ImageValues):
    database: Database | None = None
    token: Secret = "TOKEN"
    more: dict[str, Secret] = Setting(default_factory=dict)
    replicas: list[Replicas] = Setting(default_factory=list)
    labels: dict[str, str] = Setting(default_factory=dict)
    shared: Shared = Setting(default_factory=Shared)


IMAGE = "registry.example.com/team/switchyard:1.0"


@pytest.fixture
def values(tmp_path: Path):
    """Reads values from files of these texts and from the command line."""

    def read(*texts: str, changes: tuple[str, ...] = (), image: str | None = None) -> Example:
        paths = []
        for number, text in enumerate(texts, 1):
            paths.append(tmp_path / f"{number}.yaml")
            paths[-1].write_text(text)
        return read_values(Example, paths, changes, image)

    return read


def test_a_later_file_counts_over_an_earlier_one_and_the_command_line_over_both(values) -> None:
    found = values(
        f"image: {IMAGE}\nname: one\nsmoke: {{endpoint: flights, within: 5}}\n",
        "name: two\nsmoke: {within: 2m}\n",
        changes=("smoke.endpoint=digits", "labels.team=a", "labels.tier=b"),
    )
    assert (found.name, found.smoke.endpoint, found.smoke.within) == ("two", "digits", 120)
    assert found.labels == {"team": "a", "tier": "b"}
    assert values(f"image: {IMAGE}\n", image="other:2").image == "other:2"
    assert values("", changes=("image=a:1", "image=b:2")).image == "b:2"


def test_values_of_the_command_line_have_the_types_of_yaml(values) -> None:
    found = values(
        f"image: {IMAGE}\n",
        changes=("replicas=[{least: 2}]", "ready_within=90", "labels={a: 'x=y'}", "name=flights"),
    )
    assert found.replicas == [Replicas(least=2)]
    assert (found.ready_within, found.labels) == (90.0, {"a": "x=y"})


@pytest.mark.parametrize(
    ("texts", "changes", "said"),
    [
        (
            ("",),
            (),
            "The values need the key 'image'; write it into a file (-f), or say it by --set",
        ),
        (
            (f"image: {IMAGE}\n", "nmae: x\n"),
            (),
            "{folder}/2.yaml, line 1: nmae is an unknown key; perhaps 'name' is meant.",
        ),
        (
            (f"image: {IMAGE}\nsmoke:\n  endpoint: a\n  wihtin: 2\n",),
            (),
            "{folder}/1.yaml, line 4: smoke.wihtin is an unknown key; perhaps 'within' is meant.",
        ),
        (
            (f"image: {IMAGE}\ndatabase:\n  pool: 3\n", "name: a\n"),
            (),
            "{folder}/1.yaml, line 2: database needs the key 'url'.",
        ),
        (
            (f"image: {IMAGE}\nready_within: soon\n",),
            (),
            "{folder}/1.yaml, line 2: ready_within 'soon' is no duration",
        ),
        (
            (f"image: {IMAGE}\nreplicas:\n  - least: 1\n  - least: '2'\n",),
            (),
            "{folder}/1.yaml, line 4: replicas.1.least is '2', but must be a whole number.",
        ),
        (
            (f"image: {IMAGE}\ndatabase: {{url: postgresql://me:secret@db/x}}\n",),
            (),
            "{folder}/1.yaml, line 2: database.url must be the name of an environment variable",
        ),
        (
            ("image: Registry/UPPER\n",),
            (),
            "{folder}/1.yaml, line 1: image is 'Registry/UPPER', but must look like",
        ),
        (
            (f"image: {IMAGE}\nname: Nothing_like_it\n",),
            (),
            "{folder}/1.yaml, line 2: name is 'Nothing_like_it'; take lower-case letters",
        ),
        (
            (f"image: {IMAGE}\nshared: {{mode: live}}\n",),
            (),
            "{folder}/1.yaml, line 2: shared.mode is 'live', which needs 'database' and",
        ),
        (
            (f"image: {IMAGE}\nname: good\n",),
            ("name=BAD",),
            "On the command line: name is 'BAD'; take lower-case letters",
        ),
        (
            (f"image: {IMAGE}\n",),
            ("smoke.wihtin=2",),
            "On the command line: smoke.wihtin is an unknown key; perhaps 'within' is meant.",
        ),
        ((f"image: {IMAGE}\n",), ("name",), "--set takes key=value"),
        ((f"image: {IMAGE}\n",), ("=x",), "--set takes key=value"),
        ((f"image: {IMAGE}\n",), ("a..b=x",), "--set takes key=value"),
        ((f"image: {IMAGE}\n",), ("labels={a",), "The value of --set labels is no YAML"),
        (("- a\n",), (), "{folder}/1.yaml, line 1: values must be a mapping of keys."),
        (("a: [\n",), (), "{folder}/1.yaml, line 2: this is not YAML"),
        (
            ("name: a\nname: b\n",),
            (),
            "{folder}/1.yaml, line 2: the key 'name' stands here a second",
        ),
        ((f"image: {IMAGE}\nsmoke:\n",), (), "{folder}/1.yaml, line 2: smoke has no value"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    values, tmp_path: Path, texts: tuple[str, ...], changes: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ValuesError) as caught:
        values(*texts, changes=changes)
    assert caught.value.message.startswith(said.replace("{folder}", str(tmp_path)))
    assert "secret@" not in caught.value.message
    assert "\n" not in caught.value.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValuesError, match=r"none\.yaml cannot be read: No such file"):
        read_values(Example, [tmp_path / "none.yaml"], (), None)


def test_a_shared_section_tells_a_container_how_to_run() -> None:
    assert Shared().environ() == {"SWITCHYARD_MODE": "static"}
    live = Shared(mode="live", database="DB_URL", log_store="s3://bucket/log")
    assert live.environ() == {
        "SWITCHYARD_MODE": "live",
        "SWITCHYARD_DATABASE_URL": "${DB_URL}",
        "SWITCHYARD_LOG_STORE": "s3://bucket/log",
    }


def test_recorded_values_are_values_again(values) -> None:
    found = values(f"image: {IMAGE}\ndatabase: {{url: DB}}\nreplicas: [{{wait: 5m}}]\n")
    held = json.loads(json.dumps(found.model_dump(mode="json")))
    assert Example.model_validate(held) == found


@pytest.mark.parametrize("name", NAMES)
def test_the_example_values_of_every_target_are_recorded_and_read_again(name: str) -> None:
    kind: type[Values] = target(name).values
    found = read_values(kind, [example_values(name)], (), None)
    held = json.loads(json.dumps(found.model_dump(mode="json")))
    assert kind.model_validate(held) == found


def test_secrets_are_known_by_their_type(values) -> None:
    plain = values(changes=("labels.by=SALT", "labels.of=OTHER"), image=IMAGE)
    assert secrets_of(plain) == {"TOKEN"}
    found = values("database: {url: DB_URL}\nmore: {KEY: MINE}", image=IMAGE)
    assert secrets_of(found) == {"TOKEN", "DB_URL", "SALT", "MINE"}
    again = Example.model_validate(found.model_dump(mode="json"))  # as a release is recorded
    assert secrets_of(again) == {"TOKEN", "DB_URL", "SALT", "MINE"}
