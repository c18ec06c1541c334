"""Which hosts are started, and what a host answers to whom."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from pathlib import Path

import httpx
import psutil
import pytest
from e2e.calls import digits
from e2e.plans import DIGITS
from e2e.server import Server, wait_until

HEAVY = ("libtorch", "tensorflow")


@pytest.fixture(scope="module")
def small(make_server: Callable[..., Server]) -> Server:
    return make_server(plan=DIGITS).start()


def test_a_plan_of_one_framework_starts_and_imports_no_other(small: Server) -> None:
    assert small.workers("TorchHost") == small.workers("TensorFlowHost") == []
    assert small.process is not None
    for process in [psutil.Process(small.process.pid), *small.workers("Router"),
                    *small.workers("SklearnHost"), *small.workers("Controller")]:  # fmt: skip
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert not [word for word in HEAVY if word in maps], process.cmdline()


def test_the_router_imports_no_framework(small: Server) -> None:
    (router,) = small.workers("Router")
    assert "sklearn" not in Path(f"/proc/{router.pid}/maps").read_text()


def socket_of(server: Server, service: str) -> httpx.HTTPTransport:
    """The Unix socket of a service; workers inherit those of the others, too."""
    (worker,) = server.workers(service)
    paths = {c.laddr for c in worker.net_connections("unix") if str(c.laddr).endswith(".sock")}
    is_host = service != "Controller"
    for path in map(str, paths):
        with httpx.Client(transport=httpx.HTTPTransport(uds=path)) as client:
            if (client.get("http://host/switchyard/host").status_code == 200) == is_host:
                return httpx.HTTPTransport(uds=path)
    raise LookupError(f"{service} has no socket")


def test_a_host_refuses_pickles_on_its_socket(small: Server) -> None:
    with httpx.Client(transport=socket_of(small, "SklearnHost"), base_url="http://host") as client:
        for kind in ("application/vnd.bentoml+pickle", "APPLICATION/VND.BENTOML+PICKLE", ""):
            refused = client.post(
                "/digits-sklearn", content=b"\x80\x04.", headers={"content-type": kind}
            )
            assert refused.status_code == 415, refused.text
        pickled, plain = "application/vnd.bentoml+pickle", "application/json"
        for kinds in ((pickled, plain), (plain, pickled)):
            headers = [("content-type", kind) for kind in kinds]
            refused = client.post("/digits-sklearn", content=b"\x80\x04.", headers=headers)
            assert refused.status_code == 415, refused.text
        rows = digits(3)
        records = [{f"pixel_{n // 8}_{n % 8}": float(v) for n, v in enumerate(row)} for row in rows]
        answer = client.post("/digits-sklearn", json={"inputs": records})
        assert answer.status_code == 200, answer.text
        expected = httpx.post(f"{small.url}/predict", json={"inputs": rows.tolist()}).json()
        assert [row["prediction"] for row in answer.json()] == expected["predictions"]


def test_bentoml_tells_of_a_refused_call_without_its_values(small: Server) -> None:
    """It logs the traceback of every refusal, whose message quotes what was refused."""
    with httpx.Client(transport=socket_of(small, "SklearnHost"), base_url="http://host") as client:
        for inputs in ([{"pixel_0_0": "a dark one"}], ["a dark one"]):
            bad = client.post("/digits-sklearn", json={"inputs": inputs})
            assert bad.status_code == 400, bad.text
    told = "Exception on /digits-sklearn"
    wait_until(lambda: small.output.read_text().count(told) == 2, "both stand in the log")
    assert "a dark one" not in small.output.read_text()


PICKLED = "application/vnd.bentoml+pickle"
TOKEN = "shared"


class Bomb:
    """Whoever loads its pickle makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.path), "w")


def plant(client: httpx.Client, paths: Iterable[str], folder: Path) -> list[int]:
    """Sends a pickle to every path, with and without token; none may be loaded."""
    mark = folder / "loaded"
    body = pickle.dumps(Bomb(mark))
    pickle.loads(body).close()
    assert mark.exists()  # it works
    mark.unlink()
    lengths = str(len(body))
    statuses = []
    for path in paths:
        for method in ("POST", "GET", "PUT"):
            for token in ({}, {"authorization": f"Bearer {TOKEN}"}):
                headers = {"content-type": PICKLED, "buffer-lengths": lengths, **token}
                reply = client.request(method, path, content=body, headers=headers)
                statuses.append(reply.status_code)
                assert not mark.exists(), (method, path, reply.status_code)
    return statuses


OPEN = ("/livez", "/readyz", "/healthz", "/metrics")
CLOSED = (
    "/digits-sklearn", "/docs.json", "/schema.json", "/", "/predict", "/health", "/nowhere",
    "/digits-sklearn/submit", "/static_content/index.html",
)  # fmt: skip
HOP = "/v2/models/digits-sklearn/versions/x/infer"


def test_no_pickle_is_loaded_by_router_host_or_controller(small: Server, tmp_path: Path) -> None:
    """BentoML itself would load one on a service that is not the entry."""
    everywhere = (*OPEN, *CLOSED, HOP, "/switchyard/host", "/feedback", "/admin/v1/endpoints")
    with httpx.Client(base_url=small.url) as router:
        assert 200 not in plant(router, ("/predict", "/feedback"), tmp_path)
        plant(router, everywhere, tmp_path)
    for service in ("SklearnHost", "Controller"):
        transport = socket_of(small, service)
        with httpx.Client(transport=transport, base_url="http://host") as client:
            plant(client, everywhere, tmp_path)


@pytest.mark.slow
def test_a_host_alone_on_tcp_opens_nothing_without_its_token(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    host = make_server(plan=DIGITS, env={"SWITCHYARD_HOP_TOKEN": TOKEN})
    host.target = "services:SklearnHost"
    host.start()
    hop, about = HOP, "/switchyard/host"
    with httpx.Client(base_url=host.url) as client:
        for path in OPEN:
            assert client.get(path).status_code == 200, path
        assert "bentoml_service_request_total" in client.get("/metrics").text
        for path in CLOSED:
            for answer in (client.get(path), client.post(path, json={"inputs": []})):
                assert answer.status_code == 404, path
        for token in ("", "Bearer wrong", "Bearer", f"Basic {TOKEN}", TOKEN):
            headers = {"authorization": token} if token else {}
            assert client.get(about, headers=headers).status_code == 401
            refused = client.post(hop, content=b"", headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
        with_token = {"authorization": f"Bearer {TOKEN}"}
        status = client.get(about, headers=with_token).json()
        (tag,) = status["models"]
        assert (status["framework"], status["models"][tag]) == ("sklearn", None)
        assert client.post(hop, content=b"", headers=with_token).status_code == 404  # no version x
        plant(client, (*OPEN, *CLOSED, hop, about), tmp_path)
    assert host.stop() == 0


@pytest.mark.slow
def test_a_controller_alone_opens_health_and_metrics_only(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    controller = make_server(plan=DIGITS)
    controller.target = "services:Controller"
    controller.start()
    with httpx.Client(base_url=controller.url) as client:
        for path in OPEN:
            assert client.get(path).status_code == 200, path
        for path in (*CLOSED, HOP, "/switchyard/host"):
            assert client.get(path).status_code == 404, path
        plant(client, (*OPEN, *CLOSED), tmp_path)
    assert controller.stop() == 0


def test_a_host_on_tcp_answers_its_router_only(make_server: Callable[..., Server]) -> None:
    """Router and host apart, as on Kubernetes: the plan names the host's URL."""
    host = make_server(plan=DIGITS, env={"SWITCHYARD_HOP_TOKEN": "shared"})
    host.target = "services:SklearnHost"
    host.start()
    plan = f"{DIGITS}\nhosts: {{sklearn: {{url: 'http://127.0.0.1:{host.port}'}}}}\n"
    router = make_server(plan=plan, env={"SWITCHYARD_HOP_TOKEN": "shared"}).start()
    assert router.workers("SklearnHost") == []
    body = {"inputs": digits(2).tolist()}
    assert httpx.post(f"{router.url}/predict", json=body).status_code == 200

    assert host.status("/metrics") == 200
    assert host.status("/switchyard/host") == 401
    for path, content in (("/digits-sklearn", b"{}"), ("/digits-sklearn", b"\x80\x04.")):
        kind = "application/json" if content == b"{}" else "application/vnd.bentoml+pickle"
        reply = httpx.post(host.url + path, content=content, headers={"content-type": kind})
        assert reply.status_code == 404

    host.kill()
    host.launch()
    wait_until(
        lambda: httpx.post(f"{router.url}/predict", json=body).status_code == 503, "it is missed"
    )
    wait_until(
        lambda: httpx.post(f"{router.url}/predict", json=body).status_code == 200,
        "the router finds the host again",
        60,
    )
