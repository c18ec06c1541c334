"""What BentoCloud is sent, compared with reviewable files, and held against BentoML's schema."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bentos import PLAN as BENTO_PLAN
from bentos import SERVICES, golden, made, plan
from ruamel.yaml import YAML

from deploy.bentocloud import strict
from deploy.bentocloud.compare import differences
from deploy.bentocloud.documents import DEPLOYMENT, SECRET
from deploy.bentocloud.target import TARGET
from deploy.bentocloud.values import BentoCloudValues
from deploy.documents import Document, names_of, text
from deploy.errors import ValuesError
from deploy.targets import example_values
from deploy.values import read_values

GOLDEN = Path(__file__).parent / "golden"
FILE = example_values("bentocloud").with_name("deployment.yaml")

ALL = {
    "name": "flights",
    "cluster": "moon",
    "protected": False,
    "services": {
        "Router": {"minimum": 0, "maximum": 3, "scale_up": "fast", "scale_down": "slow"},
        "TorchHost": {"instance_type": "gpu.t4.1", "strategy": "Recreate"},
    },
    "shared": {"mode": "live", "database": "DATABASE_URL", "log_store": "s3://bucket/log"},
    "hop_token": "HOP_TOKEN",
    "admin_token": "ADMIN_TOKEN",
    "log_salt": "LOG_SALT",
    "secrets": ["bucket-access"],
}
GPU = tuple(
    replace(each, gpu=1, gpu_type="nvidia-tesla-t4") if each.name == "TorchHost" else each
    for each in SERVICES
)


CLOSED = made(plan=plan(BENTO_PLAN + "auth: required\n"), services=GPU)


def example(*changes: str) -> BentoCloudValues:
    return read_values(BentoCloudValues, [example_values("bentocloud")], changes, None)


def rendered(bento: Any = None, values: Any = None) -> dict[str, Any]:
    found = TARGET.render(bento or made(), values or example())
    return {each.name: each.content for each in found}


def test_golden_example() -> None:
    golden(GOLDEN / "example.yaml", text(TARGET.render(made(), example())))


def test_golden_everything() -> None:
    values = BentoCloudValues.model_validate(ALL)
    documents = TARGET.render(CLOSED, values)
    golden(GOLDEN / "everything.yaml", text(documents))
    assert names_of(documents) == ("ADMIN_TOKEN", "DATABASE_URL", "HOP_TOKEN", "LOG_SALT")
    strict.check(rendered(CLOSED, values)[DEPLOYMENT], DEPLOYMENT)


def test_file_for_bentoml_deploy_is_what_render_gives_for_the_example() -> None:
    latest = rendered(made(tag="router:latest"))[DEPLOYMENT]
    held = FILE.read_text(encoding="utf-8")
    assert YAML(typ="safe", pure=True).load(held) == latest
    assert held.endswith(text([Document("x", latest)]).partition("# x\n")[2])
    strict.check(YAML(typ="safe", pure=True).load(held), FILE.name)


def test_no_secret_stands_in_the_deployment() -> None:
    found = rendered(CLOSED, BentoCloudValues.model_validate(ALL))
    assert names_of([Document(DEPLOYMENT, found[DEPLOYMENT])]) == ()
    assert {each["key"] for each in found[SECRET]["items"]} == {
        "SWITCHYARD_HOP_TOKEN",
        "SWITCHYARD_ADMIN_TOKEN",
        "SWITCHYARD_LOG_SALT",
        "SWITCHYARD_DATABASE_URL",
    }


def test_feedback_is_open_to_nobody() -> None:
    with pytest.raises(ValuesError, match=r"anyone could send feedback\. Build it with"):
        TARGET.render(made(), example("protected=false"))
    with pytest.raises(ValuesError, match=r"let 'admin_token' name a variable"):
        TARGET.render(CLOSED, BentoCloudValues.model_validate(ALL | {"admin_token": None}))


# A deployment file that BentoML would read without a word.


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda held: held.update(acces_authorization=True),
            "acces_authorization is an unknown key; perhaps 'access_authorization' is meant",
        ),
        (
            lambda held: held["services"]["Router"]["scaling"].update(max_replica=3),
            "services.Router.scaling.max_replica is an unknown key; perhaps 'max_replicas'",
        ),
        (
            lambda held: held["services"]["Router"].update(instance="cpu.1"),
            "services.Router.instance is an unknown key; perhaps 'instance_type'",
        ),
        (
            lambda held: held["services"]["Router"]["scaling"]["policy"].update(x=1),
            "services.Router.scaling.policy.x is an unknown key",
        ),
        (lambda held: held["envs"][0].update(valu="1"), "envs.0.valu is an unknown key"),
        (lambda held: held["envs"][0].pop("value"), "envs.0 needs the key 'value'"),
        (lambda held: held.pop("bento"), "the deployment needs the key 'bento'"),
        (
            lambda held: held["services"]["Router"]["scaling"].update(max_replicas="3"),
            "services.Router.scaling.max_replicas is '3', but must be int",
        ),
        (
            lambda held: held["services"]["Router"]["scaling"].update(max_replicas=True),
            "services.Router.scaling.max_replicas is True, but must be int",
        ),
        (lambda held: held.update(services=[]), "services must be a mapping of keys"),
        (lambda held: held.update(secrets="one"), "secrets must be a list"),
        (lambda held: held["services"].update(Router=3), "services.Router must be a mapping"),
    ],
)
def test_deployment_file_is_strict(change: Callable[[Any], Any], sentence: str) -> None:
    held = copy.deepcopy(rendered()[DEPLOYMENT])
    change(held)
    with pytest.raises(ValuesError) as caught:
        strict.check(held, "deployment.yaml")
    assert sentence in caught.value.message


def test_bentoml_itself_drops_an_unknown_key() -> None:
    """Which is why we look ourselves; where this fails, `strict` has had its day."""
    from bentoml._internal.cloud.schemas.schemasv2 import CreateDeploymentSchema
    from bentoml._internal.utils.cattr import bentoml_cattr

    held = rendered()[DEPLOYMENT] | {"unheard_of": 1}
    assert not hasattr(bentoml_cattr.structure(held, CreateDeploymentSchema), "unheard_of")


# What does not go together.


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("services.Router.minimum=5", "services.Router.minimum is 5, but 'maximum' is 4"),
        ("services.Router.minimum=-1", "services.Router.minimum"),
        ("services.Router.maximm=5", "services.Router.maximm is an unknown key"),
        ("services.Router.strategy=Big", "services.Router.strategy is 'Big', but must be"),
        ("services.Router.instance_type='a b'", "services.Router.instance_type"),
        ("hop_token=sesame", "hop_token must be the name of an environment variable"),
        ("shared.mode=live", "shared.mode is 'live', which needs 'database'"),
        ("image=x", "image is an unknown key"),
    ],
)
def test_values_that_do_not_fit(change: str, sentence: str) -> None:
    with pytest.raises(ValuesError) as caught:
        example(change)
    assert sentence in caught.value.message


def test_service_that_the_bento_has_not() -> None:
    with pytest.raises(ValuesError, match="has no service 'TorchHst'; perhaps 'TorchHost'"):
        rendered(values=example("services.TorchHst={}"))


@pytest.mark.parametrize(
    ("instance_type", "sentence"),
    [
        ("cpu.4", r"TorchHost needs a GPU, but its instance_type 'cpu.4' has none"),
        ("gpu.a100.1", r"of type 'nvidia-tesla-t4', but its instance_type is 'gpu.a100.1'"),
    ],
)
def test_machines_without_the_gpus_of_the_bento(instance_type: str, sentence: str) -> None:
    with pytest.raises(ValuesError, match=sentence):
        rendered(made(services=GPU), example(f"services.TorchHost.instance_type={instance_type}"))


def test_fewer_gpus_than_the_service_needs() -> None:
    services = tuple(replace(each, gpu=2) if each.gpu else each for each in GPU)
    with pytest.raises(ValuesError, match=r"TorchHost needs 2 GPUs, but .*'gpu.t4.1' has 1"):
        rendered(made(services=services), example("services.TorchHost.instance_type=gpu.t4.1"))


# Differences.


def test_nothing_differs_from_itself() -> None:
    held = rendered()[DEPLOYMENT]
    assert differences(held, copy.deepcopy(held)) == []


def test_secret_that_was_added_or_taken_away_by_hand() -> None:
    held = rendered()[DEPLOYMENT]
    there = held | {"secrets": ["other"]}
    assert differences(held, there) == [
        "secrets.switchyard-env is None, but was sent as 'switchyard-env'.",
        "secrets.other was added by hand.",
    ]


def test_place_is_the_deployment_of_a_cluster() -> None:
    assert TARGET.place(example()) == "default/switchyard"
    assert TARGET.place(example("cluster=moon")) == "moon/switchyard"
