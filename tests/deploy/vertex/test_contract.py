"""A real server of ours behind the fake: started as Vertex AI starts the container, and asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import pytest
from bentos import made
from e2e.server import Server

from deploy.errors import DeployFailed
from deploy.releases import Deployer
from deploy.vertex.requests import PREDICT_ROUTE
from deploy.vertex.target import TARGET
from deploy.vertex.values import VertexValues

if TYPE_CHECKING:
    from vertex.vertex_fake import Vertex

pytestmark = pytest.mark.slow

IMAGE = "europe-west4-docker.pkg.dev/my-project-1/models/switchyard:1.0"


@pytest.fixture(scope="module")
def container(make_server: Callable[..., Server]) -> Server:
    """A server with the variables of the rendered container, and those that Vertex AI adds."""
    values = VertexValues.model_validate(
        {"project": "my-project-1", "region": "europe-west4", "image": IMAGE}
    )
    upload = next(each.content for each in TARGET.render(made(), values) if "Upload" in each.name)
    assert isinstance(upload, dict)
    spec = upload["model"]["containerSpec"]
    added = {"AIP_PREDICT_ROUTE": spec["predictRoute"], "AIP_HEALTH_ROUTE": spec["healthRoute"]}
    given = {each["name"]: each["value"] for each in spec["env"]}
    return make_server(env=given | added).start()


def test_release_is_answered_by_our_server(
    container: Server, vertex: Vertex, deployer: Callable[..., Deployer]
) -> None:
    vertex.server = container.url
    assert deployer(smoke={"within": 20}).apply(made()).status == "good"
    digits = deployer(smoke={"endpoint": "digits", "within": 20})
    assert digits.apply(made(tag="router:def456")).status == "good"


def test_error_of_our_server_is_told(
    container: Server, vertex: Vertex, deployer: Callable[..., Deployer]
) -> None:
    vertex.server = container.url
    plan = made().plan
    nameless = plan.model_copy(update={"endpoints": {"trains": plan.endpoints["digits"]}})
    with pytest.raises(DeployFailed, match="There is no endpoint 'trains'"):
        deployer().apply(made(plan=nameless))
    assert vertex.is_empty


def test_routes_that_vertex_ai_asks(container: Server) -> None:
    assert httpx.get(f"{container.url}/readyz").status_code == 200
    assert httpx.get(f"{container.url}/livez").status_code == 200
    answer = httpx.post(f"{container.url}{PREDICT_ROUTE}", json={"instances": "none"})
    assert answer.status_code == 400
