"""What is sent: goldens of every overlay, and what follows from the Bento and the values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bentos import SERVICES, golden, made, plan
from ruamel.yaml import YAML

from deploy.bento import Service
from deploy.documents import names_of, text
from deploy.errors import ValuesError
from deploy.kubernetes.kustomize import FOLDER, OVERLAYS
from deploy.kubernetes.render import objects
from deploy.kubernetes.target import TARGET
from deploy.kubernetes.values import KubernetesValues
from deploy.values import read_values
from switchyard.plan import Plan

GOLDEN = Path(__file__).parent / "golden"
EXAMPLE = FOLDER / "values.example.yaml"
GIVEN: dict[str, Any] = {"image": "switchyard:1", "log_store": "s3://bucket/log"}


def values(*changes: str, overlay: str | None = None) -> KubernetesValues:
    files = [EXAMPLE, *([FOLDER / "overlays" / overlay / "values.yaml"] if overlay else [])]
    return read_values(KubernetesValues, files, changes, None)


def found(given: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The objects of small values, by kind and name."""
    said = KubernetesValues.model_validate({**GIVEN, **given})
    return {f"{o['kind']} {o['metadata']['name']}": o for o in objects(made(**changes), said)}


def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_renders_as_before(overlay: str) -> None:
    golden(GOLDEN / f"{overlay}.yaml", text(TARGET.render(made(), values(overlay=overlay))))


def test_gateway_keda_and_stores_render_as_before() -> None:
    changes = (
        "ingress=null",
        "gateway={name: public, namespace: gateways, host: models.example.com}",
        "keda={prometheus: 'http://prometheus.monitoring:9090', query: 'sum(rate(asked[1m]))'}",
        "logs=null",
        "log_store=s3://bucket/log",
        "models=null",
        "secrets={existing: vaulted}",
        "pull_secrets=[registry]",
        "admin=true",
        "api_key=KEY",
    )
    bento = made(plan=plan().model_copy(update={"auth": "required"}))
    golden(GOLDEN / "options.yaml", text(TARGET.render(bento, values(*changes))))


def test_secrets_are_named_and_never_there() -> None:
    documents = TARGET.render(made(), values())
    assert names_of(documents) == (
        "SWITCHYARD_ADMIN_TOKEN",
        "SWITCHYARD_DATABASE_URL",
        "SWITCHYARD_HOP_TOKEN",
        "SWITCHYARD_LOG_SALT",
    )
    assert names_of(TARGET.render(made(), values("secrets.existing=there"))) == ()


def test_a_host_knows_no_token_of_the_admin_routes() -> None:
    sent = found({})
    known = {
        name: [
            each["name"]
            for each in pod(sent[f"Deployment switchyard-{name}"])["containers"][0]["env"]
        ]
        for name in ("router", "torch")
    }
    assert "SWITCHYARD_ADMIN_TOKEN" in known["router"]
    assert "SWITCHYARD_ADMIN_TOKEN" not in known["torch"]
    assert "SWITCHYARD_HOP_TOKEN" in known["torch"]


def test_the_plan_names_the_service_of_every_host_and_can_be_read() -> None:
    body = found({"name": "air"})["ConfigMap air-plan"]["data"]["switchyard.yaml"]
    read = Plan.model_validate(YAML(typ="safe", pure=True).load(body))
    assert {name: host.url for name, host in read.hosts.items()} == {
        "sklearn": "http://air-sklearn:3000",
        "torch": "http://air-torch:3000",
        "tensorflow": "http://air-tensorflow:3000",
    }
    assert read.endpoints == plan().endpoints


def test_pods_are_made_anew_when_their_plan_changes() -> None:
    def digest(**changes: Any) -> str:
        template = found({"api_key": "KEY"}, **changes)["Deployment switchyard-router"]["spec"][
            "template"
        ]
        said: str = template["metadata"]["annotations"]["switchyard/plan"]
        return said

    assert digest() == digest()
    assert digest() != digest(plan=plan().model_copy(update={"auth": "required"}))


def test_a_gpu_of_the_bento_asks_for_one_and_for_its_nodes() -> None:
    torch = Service("TorchHost", "torch", 1, 2.0, 1, "NVIDIA-L4")
    sent = found({}, services=(*SERVICES[:4], torch))
    spec = pod(sent["Deployment switchyard-torch"])
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert spec["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L4"}
    assert spec["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert "nodeSelector" not in pod(sent["Deployment switchyard-sklearn"])


def test_the_pause_before_the_end_fits_into_the_time_until_the_kill() -> None:
    for name, each in found({}).items():
        if name.startswith("Deployment"):
            stop = pod(each)["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
            assert int(stop[1]) + 30 < pod(each)["terminationGracePeriodSeconds"]


def test_feedback_and_admin_are_closed_to_the_outside_unless_they_ask_for_a_key() -> None:
    def paths(given: dict[str, Any], **changes: Any) -> set[str]:
        door = found({"ingress": {}, **given}, **changes)["Ingress switchyard-router"]
        return {each["path"] for each in door["spec"]["rules"][0]["http"]["paths"]}

    assert not {"/feedback", "/admin", "/metrics", "/"} & paths({})
    closed = plan().model_copy(update={"auth": "required"})
    assert "/feedback" in paths({"api_key": "KEY"}, plan=closed)
    with pytest.raises(ValuesError, match="let 'api_key' name the environment variable"):
        paths({}, plan=closed)
    assert "/admin" in paths({"admin": True})


def test_each_worker_of_a_host_has_memory_of_its_own() -> None:
    four = Service("SklearnHost", "sklearn", 4, 1.0, 0, None)
    sent = found({}, services=(SERVICES[0], four))
    limits = pod(sent["Deployment switchyard-sklearn"])["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "2", "memory": "4096Mi"}


def test_each_worker_of_the_router_has_a_core_and_memory() -> None:
    three = Service("Router", None, 3, None, 0, None)
    sent = found({}, services=(three, *SERVICES[1:]))
    asked = pod(sent["Deployment switchyard-router"])["containers"][0]["resources"]["requests"]
    assert asked == {"cpu": "3", "memory": "2048Mi"}


def test_only_routers_reach_hosts() -> None:
    sent = found({"monitoring": {}})
    for name in ("sklearn", "torch", "tensorflow"):
        (rule,) = sent[f"NetworkPolicy switchyard-{name}"]["spec"]["ingress"]
        assert rule["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == "router"
        assert len(rule["from"]) == 2  # and Prometheus
    assert "ingress" not in sent["NetworkPolicy switchyard-pods"]["spec"]


def test_who_is_scaled_says_no_number_of_pods() -> None:
    sent = found({"router": {"replicas": 2, "maximum": 5}})
    assert "replicas" not in sent["Deployment switchyard-router"]["spec"]
    assert sent["HorizontalPodAutoscaler switchyard-router"]["spec"]["minReplicas"] == 2
    assert sent["Deployment switchyard-torch"]["spec"]["replicas"] == 1
    assert "PodDisruptionBudget switchyard-torch" not in sent


def test_the_rules_are_those_of_the_repository() -> None:
    sent = found({"monitoring": {}})
    for name, alerts in (("rules", False), ("alerts", True)):
        groups = sent[f"PrometheusRule switchyard-{name}"]["spec"]["groups"]
        names = [group["name"] for group in groups]
        assert len(names) == len(set(names))
        assert all(("alert" in rule) is alerts for group in groups for rule in group["rules"])


def test_a_host_that_the_bento_lacks_is_refused() -> None:
    with pytest.raises(ValuesError, match=r"hosts\.onnx.*needs sklearn, tensorflow, torch"):
        found({"hosts": {"onnx": {}}})


def test_a_name_may_be_as_long_as_its_objects_allow() -> None:
    assert max(map(len, (each.split()[1] for each in found({"name": "n" * 52})))) == 63
    with pytest.raises(
        ValuesError, match=r"too long: .* has 64 characters, and Kubernetes takes 63"
    ):
        found({"name": "n" * 53})
    jobs = {"retention": "7 4 * * *"}
    assert found({"name": "n" * 42, "jobs": jobs})
    with pytest.raises(ValuesError, match=r"the CronJob would .* has 53 char.* takes 52"):
        found({"name": "n" * 43, "jobs": jobs})


def test_keda_needs_to_know_the_most() -> None:
    keda = {"prometheus": "http://prometheus:9090", "query": "x"}
    with pytest.raises(ValuesError, match=r"router\.maximum"):
        found({"keda": keda})


def test_places_that_differ_have_different_names() -> None:
    here = KubernetesValues.model_validate(GIVEN)
    there = here.model_copy(update={"context": "other"})
    assert TARGET.place(here) == "switchyard/switchyard"
    assert TARGET.place(there) == "other/switchyard/switchyard"
