"""The public address: as the values say, as Ingress or Gateway say, else a tunnel by kubectl."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from queue import Empty, Queue
from typing import Any, Final

import httpx

from deploy.errors import DeployFailed
from deploy.kubernetes.kubectl import Kubectl
from deploy.kubernetes.objects import PORT, ROUTER
from deploy.kubernetes.values import KubernetesValues
from deploy.target import Reply

__all__ = ["Door"]

CALL_SECONDS: Final = 15.0
TUNNEL_SECONDS: Final = 15.0
_TUNNEL: Final = re.compile(r"Forwarding from (127\.0\.0\.1:\d+)")


class Door:
    """Where callers come in.

    Args:
        values: Of the deployment.
        kubectl: Reaches the cluster.
    """

    def __init__(self, values: KubernetesValues, kubectl: Kubectl) -> None:
        self._values = values
        self._kubectl = kubectl

    @property
    def is_public(self) -> bool:
        """Whether there is to be a public address."""
        values = self._values
        return bool(values.address or values.ingress or values.gateway)

    def address(self) -> str | None:
        """Returns the public address; None where there is none, or none yet."""
        values = self._values
        if values.address is not None:
            return values.address
        if values.ingress is not None:
            scheme = "http" if values.ingress.tls is None else "https"
            host = values.ingress.host or self._balancer()
            return None if host is None else f"{scheme}://{host}"
        if values.gateway is not None:
            scheme = "https" if values.gateway.tls else "http"
            host = values.gateway.host or self._gateway()
            return None if host is None else f"{scheme}://{host}"
        return None

    def call(self, rows: list[dict[str, Any]], endpoint: str, key: str | None) -> Reply:
        """Asks for a prediction.

        Args:
            rows: As JSON takes them.
            endpoint: Name of the endpoint.
            key: API key, where the plan requires one.

        Raises:
            DeployFailed: There is no address yet, or it does not answer.
        """
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        body = {"inputs": rows, "endpoint": endpoint}
        with self._way_in() as address:
            try:
                answer = httpx.post(
                    f"{address}/predict", json=body, headers=headers, timeout=CALL_SECONDS
                )
            except httpx.HTTPError as error:
                raise DeployFailed(f"{address} does not answer ({error}).") from error
        return Reply(answer.status_code, answer.content)

    @contextlib.contextmanager
    def _way_in(self) -> Iterator[str]:
        if self.is_public:
            address = self.address()
            if address is None:
                raise DeployFailed(
                    "No address has been given to the Ingress or the Gateway yet; say the value "
                    "'address' if callers use another one."
                )
            yield address
        else:
            with self._tunnel() as address:
                yield address

    @contextlib.contextmanager
    def _tunnel(self) -> Iterator[str]:
        """Yields an address of this machine that leads to the router's Service."""
        service = f"service/{self._values.name}-{ROUTER}"
        process = self._kubectl.start("port-forward", service, f":{PORT}")
        try:
            yield f"http://{_forwarded(process)}"
        finally:
            process.terminate()
            process.wait()

    def _balancer(self) -> str | None:
        """Returns what the Ingress' status says."""
        name = f"{self._values.name}-{ROUTER}"
        path = "{.status.loadBalancer.ingress[0]['hostname','ip']}"
        return _first(self._kubectl.run("get", "ingress", name, f"--output=jsonpath={path}"))

    def _gateway(self) -> str | None:
        """Returns what the Gateway's status says."""
        said = self._values.gateway
        assert said is not None
        where = () if said.namespace is None else (f"--namespace={said.namespace}",)
        path = "--output=jsonpath={.status.addresses[*].value}"
        kind = "gateways.gateway.networking.k8s.io"
        return _first(self._kubectl.run("get", kind, said.name, *where, path))


def _first(said: str) -> str | None:
    words: Sequence[str] = said.split()
    return words[0] if words else None


def _forwarded(process: subprocess.Popen[str]) -> str:
    """Returns the address that a tunnel has opened here."""
    lines: Queue[str] = Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    said = ""
    while True:
        try:
            line = lines.get(timeout=TUNNEL_SECONDS)
        except Empty:
            line = ""
        found = _TUNNEL.match(line)
        if found:
            return found[1]
        said += line
        if not line:
            raise DeployFailed(f"kubectl opens no way to the router's Service ({said.strip()}).")
