"""What is sent is valid: for Kubernetes' own schemas, for those of CRDs, and for checkov."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from bentos import made
from kubernetes_tools import checkov_program, crd_models

from deploy.documents import text
from deploy.kubernetes.kustomize import FOLDER, OVERLAYS
from deploy.kubernetes.render import objects, render
from deploy.kubernetes.values import KubernetesValues
from deploy.values import read_values

NEWEST = "1.37"
VERSIONS = tuple(f"1.{minor}" for minor in range(30, 38))
CUSTOM = ("HTTPRoute", "PrometheusRule", "ScaledObject", "ServiceMonitor")

EXCUSED = {
    "CKV_K8S_35": "settings are environment variables; a Secret's values reach the pod only",
    "CKV_K8S_40": "the image's user is 1034, BentoML's; no host path is mounted",
    "CKV_K8S_43": "which digest an image has is said by the values",
}
"""Checks that fail, and why that is meant."""

OPTIONS = (
    "gateway={name: public, namespace: gateways, host: models.example.com}",
    "keda={prometheus: 'http://prometheus.monitoring:9090', query: 'sum(rate(asked[1m]))'}",
    "monitoring={labels: {release: prometheus}}",
)


def values(overlay: str, *changes: str) -> KubernetesValues:
    over = FOLDER / "overlays" / overlay / "values.yaml"
    return read_values(KubernetesValues, [FOLDER / "values.example.yaml", over], changes, None)


def check(overlay: str, version: str) -> None:
    for each in objects(made(), values(overlay)):
        if each["kind"] not in CUSTOM:
            kubernetes_validate.validate(each, version, strict=True)


def test_the_largest_overlay_is_strictly_valid_for_the_newest_version() -> None:
    check("production", NEWEST)


def test_the_schemas_refuse_what_nobody_knows() -> None:
    found = objects(made(), values("dev"))
    deployment: Any = next(each for each in found if each["kind"] == "Deployment")
    deployment["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, NEWEST, strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_is_strictly_valid(overlay: str, version: str) -> None:
    check(overlay, version)


SCRIPT = """
import {readFileSync} from "fs";
import {HTTPRoute} from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/HTTPRoute";
import {ScaledObject} from "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject";
import {PrometheusRule} from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule";
import {ServiceMonitor} from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor";
const kinds = {HTTPRoute, PrometheusRule, ScaledObject, ServiceMonitor};
const said = JSON.parse(readFileSync(0)).map((each) => {
  try { new kinds[each.kind](each).validate(); return null; } catch (error) { return error.message; }
});
console.log(JSON.stringify(said));
"""  # noqa: E501


def validated(found: list[dict[str, Any]]) -> list[str | None]:
    """What the validators of the CRDs' published schemas say of objects, None if all is well."""
    folder = crd_models()
    (folder / "check.mjs").write_text(SCRIPT)
    done = subprocess.run(
        ["node", "check.mjs"],
        cwd=folder,
        input=json.dumps(found),
        capture_output=True,
        text=True,
        check=True,
    )
    said: list[str | None] = json.loads(done.stdout)
    return said


@pytest.mark.slow
def test_custom_objects_are_valid_for_the_schemas_of_their_definitions() -> None:
    found = [
        each for each in objects(made(), values("production", *OPTIONS)) if each["kind"] in CUSTOM
    ]
    assert {each["kind"] for each in found} == set(CUSTOM)
    assert validated(found) == [None] * len(found)

    wrong = json.loads(json.dumps(found))
    for each in wrong:
        each["spec"] = {
            "HTTPRoute": {"rules": [{"matches": [{"path": {"type": "Glob", "value": "/"}}]}]},
            "PrometheusRule": {"groups": [{"rules": []}]},
            "ScaledObject": {"triggers": []},
            "ServiceMonitor": {"endpoints": [{"port": 3000}], "selector": {}},
        }[each["kind"]]
    assert None not in validated(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_checkov_finds_nothing_but_what_is_excused(overlay: str, tmp_path: Path) -> None:
    path = tmp_path / "rendered.yaml"
    path.write_text(text(render(made(), values(overlay))), encoding="utf-8")
    command = [checkov_program(), "--file", path, "--framework", "kubernetes", "--skip-download"]
    done = subprocess.run(
        [*command, "--output", "json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LOG_LEVEL": "ERROR"},
    )
    said = json.loads(done.stdout)
    failed = {each["check_id"]: each["check_name"] for each in said["results"]["failed_checks"]}
    assert said["summary"]["parsing_errors"] == 0
    assert said["summary"]["passed"] > 100
    assert {key: name for key, name in failed.items() if key not in EXCUSED} == {}
