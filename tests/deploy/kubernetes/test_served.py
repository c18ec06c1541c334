"""What is rendered, really served: two Deployments as processes of this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from bentos import SERVICES, made, plan
from e2e.plans import DIGITS
from e2e.server import Server, wait_until

from deploy.bento import Service
from deploy.kubernetes.render import objects
from deploy.kubernetes.values import KubernetesValues
from deploy.releases import Deployer

pytestmark = pytest.mark.slow

TWO_WORKERS = f"{DIGITS}router: {{workers: 2}}\n"
ROUTER = Service("Router", None, 2, None, 0, None)
BENTO = made(plan=plan(TWO_WORKERS), services=(ROUTER, *SERVICES[1:3]))
TOKENS = {"SWITCHYARD_HOP_TOKEN": "hop", "SWITCHYARD_ADMIN_TOKEN": "admin"}


def rendered() -> dict[str, Any]:
    values = KubernetesValues.model_validate({"image": "switchyard:1", "mode": "static"})
    return {f"{o['kind']} {o['metadata']['name']}": o for o in objects(BENTO, values)}


def container(found: dict[str, Any], name: str) -> dict[str, Any]:
    spec = found[f"Deployment switchyard-{name}"]["spec"]["template"]["spec"]
    made_: dict[str, Any] = spec["containers"][0]
    return made_


def probes() -> list[str]:
    """What is asked at start, then whether it is ready, then whether it lives."""
    made_ = container(rendered(), "router")
    names = ("startupProbe", "readinessProbe", "livenessProbe")
    return [made_[name]["httpGet"]["path"] for name in names]


@pytest.fixture(scope="module")
def served(make_server: Callable[..., Server]) -> Server:
    """A router and its host, apart, by the rendered plan, arguments and mode."""
    found = rendered()
    text = found["ConfigMap switchyard-plan"]["data"]["switchyard.yaml"]
    variables = {each["name"]: each.get("value") for each in container(found, "router")["env"]}
    environ = {**TOKENS, "SWITCHYARD_MODE": variables["SWITCHYARD_MODE"]}

    host = make_server(plan=text, env=dict(environ))
    command, host.target = container(found, "sklearn")["args"]
    assert command == "serve-service"
    host.target = f"services:{host.target}"
    host.start()

    assert "args" not in container(found, "router")  # all that the plan gives no URL
    here = text.replace("http://switchyard-sklearn:3000", host.url)
    assert here != text
    return make_server(plan=here, env=dict(environ)).start()


def test_router_and_controller_run_together_and_the_host_apart(served: Server) -> None:
    assert len(served.workers("Router")) == 2
    assert len(served.workers("Controller")) == 1
    assert served.workers("SklearnHost") == []
    assert all(served.status(path) == 200 for path in probes())


def test_the_probes_speak_for_all_workers_of_the_router(served: Server) -> None:
    warm = "every variant is loaded and warm"
    wait_until(lambda: served.output.read_text().count(warm) == 2, "both workers are there")
    _, stuck = served.workers("Router")
    stuck.suspend()
    try:
        liveness = probes()[-1]
        wait_until(lambda: served.status(liveness) == 503, "one worker is missed", 60)
    finally:
        stuck.resume()
    wait_until(lambda: all(served.status(each) == 200 for each in probes()), "all is well again")


def test_a_release_is_good_when_the_real_router_has_answered(
    served: Server, deployer: Callable[..., Deployer]
) -> None:
    place = deployer(name="real", address=served.url, mode="static", log_store=None)
    release = place.apply(BENTO)
    assert release.status == "good"
    assert place.status().seen.address == served.url
