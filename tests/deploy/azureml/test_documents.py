"""What Azure ML is sent, compared with reviewable files, and read by Azure's own loaders."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from bentos import SERVICES, golden, made

from deploy.azureml.documents import AUTOSCALE, DEPLOYMENT, ENDPOINT, TRAFFIC
from deploy.azureml.target import TARGET
from deploy.azureml.values import AzureMLValues
from deploy.documents import names_of, text
from deploy.errors import ValuesError
from deploy.targets import example_values
from deploy.values import read_values

GOLDEN = Path(__file__).parent / "golden"

NEEDED = {
    "subscription": "00000000-0000-0000-0000-000000000000",
    "resource_group": "serving",
    "workspace": "models",
    "location": "westeurope",
    "image": "example.azurecr.io/switchyard:1",
    "instance_type": "Standard_DS3_v2",
}
ALL = NEEDED | {
    "name": "flights",
    "auth": "aad_token",
    "public": False,
    "identity": "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity"
    "/userAssignedIdentities/puller",
    "instance_type": "Standard_NC4as_T4_v3",
    "instances": 2,
    "autoscale": {"minimum": 1, "maximum": 4, "latency_ms": 500},
    "collect": {"headers": ["x-request-id"]},
    "shared": {"mode": "live", "database": "DATABASE_URL", "log_store": "abfs://log@a/p"},
    "admin_token": "ADMIN_TOKEN",
    "log_salt": "LOG_SALT",
}
GPU = tuple(
    replace(each, gpu=1, gpu_type="nvidia-tesla-t4") if each.name == "TorchHost" else each
    for each in SERVICES
)

deprecated = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def values(**changes: Any) -> AzureMLValues:
    return AzureMLValues.model_validate(NEEDED | changes)


def rendered(bento: Any = None, **changes: Any) -> dict[str, Any]:
    found = TARGET.render(bento or made(), values(**changes))
    return {each.name: each.content for each in found}


def test_golden_example() -> None:
    example = read_values(AzureMLValues, [example_values("azureml")], [], None)
    golden(GOLDEN / "example.yaml", text(TARGET.render(made(), example)))


def test_golden_smallest() -> None:
    golden(GOLDEN / "smallest.yaml", text(TARGET.render(made(), values())))


def test_golden_everything() -> None:
    documents = TARGET.render(made(services=GPU), AzureMLValues.model_validate(ALL))
    golden(GOLDEN / "everything.yaml", text(documents))
    assert names_of(documents) == ("ADMIN_TOKEN", "DATABASE_URL", "LOG_SALT")


def test_same_release_is_the_same_deployment_however_many_instances_it_has() -> None:
    names = [
        rendered(**changes)[DEPLOYMENT]["name"]
        for changes in ({}, {}, {"instances": 3}, {"concurrency": 65})
    ]
    assert names[0] == names[1] == names[2] != names[3]
    assert rendered(made(tag="router:other"))[DEPLOYMENT]["name"] != names[0]


def test_traffic_names_the_deployment() -> None:
    found = rendered()
    assert found[TRAFFIC]["traffic"] == {found[DEPLOYMENT]["name"]: 100}
    assert set(found[TRAFFIC]) - set(found[ENDPOINT]) == {"traffic"}


def test_longest_deadline_of_azure_bounds_the_plans() -> None:
    bento = made()
    flights = bento.plan.endpoints["flights"]
    limits = flights.limits.model_copy(update={"timeout_ms": 900_000})
    long = flights.model_copy(update={"limits": limits})
    plan = bento.plan.model_copy(update={"endpoints": {"flights": long}})
    found = rendered(made(plan=plan))
    assert found[DEPLOYMENT]["request_settings"]["request_timeout_ms"] == 180_000


# Azure's own loaders.


@pytest.fixture
def load() -> Callable[[str, Any], Any]:
    from azure.ai.ml import load_online_deployment, load_online_endpoint

    loaders = {DEPLOYMENT: load_online_deployment}

    def read(name: str, content: Any) -> Any:
        return loaders.get(name, load_online_endpoint)(StringIO(json.dumps(content)))

    return read


@deprecated
@pytest.mark.parametrize("given", [{}, ALL], ids=["smallest", "everything"])
def test_azures_loaders_take_every_file(given: Any, load: Callable[[str, Any], Any]) -> None:
    found = rendered(made(services=GPU) if given else None, **given)
    endpoint = load(ENDPOINT, found[ENDPOINT])
    deployment = load(DEPLOYMENT, found[DEPLOYMENT])
    traffic = load(TRAFFIC, found[TRAFFIC])
    assert endpoint.traffic == {}
    assert traffic.traffic == {deployment.name: 100}
    assert deployment.environment.inference_config["scoringRoute"] == {
        "port": 3000,
        "path": "/score",
    }
    assert bool(deployment.data_collector) is bool(given)


@deprecated
@pytest.mark.parametrize(
    ("name", "place"),
    [
        (ENDPOINT, ()),
        (ENDPOINT, ("identity",)),
        (DEPLOYMENT, ()),
        (DEPLOYMENT, ("environment",)),
        (DEPLOYMENT, ("environment", "inference_config")),
        (DEPLOYMENT, ("environment", "inference_config", "scoring_route")),
        (DEPLOYMENT, ("request_settings",)),
        (DEPLOYMENT, ("liveness_probe",)),
        (DEPLOYMENT, ("data_collector",)),
        (DEPLOYMENT, ("data_collector", "collections", "request")),
    ],
    ids=lambda each: each if isinstance(each, str) else ".".join(each) or "top",
)
def test_azures_loaders_refuse_an_unknown_key_wherever_it_stands(
    name: str, place: tuple[str, ...], load: Callable[[str, Any], Any]
) -> None:
    """Which makes the test before worth something."""
    found = json.loads(json.dumps(rendered(made(services=GPU), **ALL)[name]))
    at = found
    for key in place:
        at = at[key]
    at["unheard_of"] = 1
    with pytest.raises(Exception, match=r"Unknown field|Not a valid"):
        load(name, found)


def test_autoscale_has_no_unknown_key_and_points_at_the_deployment() -> None:
    found = rendered(made(services=GPU), **ALL)
    setting = found[AUTOSCALE]
    assert set(setting) == {"name", "location", "tags", "properties"}
    (profile,) = setting["properties"]["profiles"]
    assert set(profile["capacity"]) == {"minimum", "maximum", "default"}
    for rule in profile["rules"]:
        trigger, action = rule["metricTrigger"], rule["scaleAction"]
        assert trigger["operator"] in ("GreaterThan", "LessThan")
        assert action["direction"] in ("Increase", "Decrease")
    metrics = [rule["metricTrigger"]["metricName"] for rule in profile["rules"]]
    assert metrics == ["GpuUtilizationPercentage"] * 2 + ["RequestLatency"]
    assert setting["properties"]["targetResourceUri"].endswith(found[DEPLOYMENT]["name"])


# What does not go together.


@pytest.mark.parametrize(
    ("instance_type", "services", "sentence"),
    [
        ("Standard_DS3_v2", GPU, r"needs 1 GPU, but Standard_DS3_v2 has none"),
        (
            "Standard_NC4as_T4_v3",
            tuple(replace(each, gpu=1) for each in SERVICES[2:4]),
            r"needs 2 GPUs, but Standard_NC4as_T4_v3 has 1",
        ),
        (
            "Standard_NC24ads_A100_v4",
            GPU,
            r"TorchHost .* type 'nvidia-tesla-t4', but Standard_NC24ads_A100_v4 has A100",
        ),
    ],
)
def test_machines_without_the_gpus_of_the_bento(
    instance_type: str, services: Any, sentence: str
) -> None:
    with pytest.raises(ValuesError, match=sentence):
        rendered(made(services=services), instance_type=instance_type)


def test_machines_with_gpus_that_are_new_to_us_pass() -> None:
    assert rendered(made(services=GPU), instance_type="Standard_NC9new_X1_v7")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("name=ab", "name is 'ab'; Azure takes 3 to 32 characters"),
        (f"name={'a' * 33}", "Azure takes 3 to 32 characters"),
        ("subscription=mine", "subscription is 'mine', but must be the id of a subscription"),
        ("workspace=a/b", "workspace is 'a/b'; Azure takes letters"),
        ("instance_type=large", "instance_type is 'large', but must be a size"),
        ("identity=me", "identity is 'me', but must be the resource id"),
        ("auth=none", "auth is 'none', but must be"),
        ("instances=0", "instances"),
        ("instances=9", "instances is 9, but 'autoscale' goes from 2 to 6"),
        ("autoscale.maximum=1", "autoscale.maximum is 1, but 'minimum' is 2"),
        ("autoscale.below=70", "autoscale.below is 70, but must be less than 'above'"),
        ("traffic.mirror=51", "traffic.mirror"),
        ("traffic.share=0", "traffic.share"),
        ("traffic.shre=10", "traffic.shre is an unknown key; perhaps 'share' is meant"),
        ("shared.mode=live", "shared.mode is 'live', which needs 'database'"),
        ("admin_token=sesame", "admin_token must be the name of an environment variable"),
    ],
)
def test_values_that_do_not_fit(change: str, sentence: str) -> None:
    with pytest.raises(ValuesError) as caught:
        read_values(AzureMLValues, [example_values("azureml")], [change], None)
    assert sentence in caught.value.message


def test_missing_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("workspace: models\n", encoding="utf-8")
    with pytest.raises(ValuesError, match="need the key 'image'"):
        read_values(AzureMLValues, [path], [], None)


def test_place_is_the_endpoint_of_a_workspace() -> None:
    assert TARGET.place(values()).endswith("/serving/models/switchyard")


def test_packages_that_are_not_installed_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "azure.ai.ml", None)
    with pytest.raises(Exception, match=r"Azure ML needs packages .*\.\[azureml\]"):
        TARGET.connect(values(), {})
