"""Which hosts are started, and what a host answers to whom."""

from __future__ import annotations

from collections.abc import Callable
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


def socket_of_host(server: Server) -> httpx.HTTPTransport:
    (host,) = server.workers("SklearnHost")
    paths = {c.laddr for c in host.net_connections("unix") if str(c.laddr).endswith(".sock")}
    for path in paths:  # workers inherit the sockets of the others, too
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            if client.get("http://host/switchyard/host").status_code == 200:
                return transport
    raise LookupError("the host has no socket")


def test_a_host_refuses_pickles_on_its_socket(small: Server) -> None:
    with httpx.Client(transport=socket_of_host(small), base_url="http://host") as client:
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
    with httpx.Client(transport=socket_of_host(small), base_url="http://host") as client:
        for inputs in ([{"pixel_0_0": "a dark one"}], ["a dark one"]):
            bad = client.post("/digits-sklearn", json={"inputs": inputs})
            assert bad.status_code == 400, bad.text
    told = "Exception on /digits-sklearn"
    wait_until(lambda: small.output.read_text().count(told) == 2, "both stand in the log")
    assert "a dark one" not in small.output.read_text()


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
    assert host.status("/switchyard/host") == 403
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
