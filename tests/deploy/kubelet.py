"""What a cluster needs beside its API server for tests: a kubelet that runs nothing, and a wire.

The kubelet binds pods to a node and says of each what its image's name asks for; no container runs.
The wire stands between kubectl and the API server and can be cut.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

LOOK_SECONDS = 0.2
BEAT_SECONDS = 5.0
"""How often a node says that it lives; the pods of one that is silent, or unknown, are deleted."""


class Kubelet:
    """Says of the pods of a namespace that they run.

    Of a pod whose image's name holds `missing` it says that the image cannot be pulled, with
    `crash` that it ends again and again, and with `unready` that it never becomes ready.
    """

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._node = f"node-of-{namespace}"
        self._beaten = 0.0
        environ = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        command = ["kubectl", "proxy", "--port=0", "--reject-methods=^$"]
        self._proxy = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
        assert self._proxy.stdout is not None
        address = self._proxy.stdout.readline().split()[-1]
        self._client = httpx.Client(base_url=f"http://{address}", timeout=10)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Kubelet:
        taint = {"key": "only-for-tests", "effect": "NoSchedule"}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self._node}}
        self._client.post("/api/v1/nodes", json={**node, "spec": {"taints": [taint]}})
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        self._client.delete(f"/api/v1/nodes/{self._node}")
        self._client.close()
        self._proxy.terminate()
        self._proxy.wait()

    def _run(self) -> None:
        while not self._done.wait(LOOK_SECONDS):
            with contextlib.suppress(httpx.HTTPError, ValueError):  # the API server is away
                self._beat()
                for pod in self._client.get(self._path).json().get("items", []):
                    self._see_to(pod)

    def _beat(self) -> None:
        if time.monotonic() - self._beaten < BEAT_SECONDS:
            return
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        self._patch(
            f"/api/v1/nodes/{self._node}/status",
            {"conditions": [{**ready, "lastHeartbeatTime": now, "lastTransitionTime": now}]},
        )
        self._beaten = time.monotonic()

    def _patch(self, path: str, status: dict[str, Any]) -> None:
        kind = {"content-type": "application/strategic-merge-patch+json"}
        self._client.patch(path, content=json.dumps({"status": status}), headers=kind)

    def _see_to(self, pod: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        path = f"{self._path}/{name}"
        if "deletionTimestamp" in pod["metadata"]:
            self._client.request("DELETE", path, json={"gracePeriodSeconds": 0})
            return
        if "nodeName" not in pod["spec"]:
            target = {"apiVersion": "v1", "kind": "Node", "name": self._node}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}}
            self._client.post(f"{path}/binding", json={**binding, "target": target})
        wanted = status_of(pod)
        if pod["status"].get("containerStatuses") != wanted["containerStatuses"]:
            self._patch(f"{path}/status", wanted)
            if wanted["phase"] == "Running" and not wanted["containerStatuses"][0]["ready"]:
                self._tell(pod, "Unhealthy", "Readiness probe failed: HTTP 503")

    def _tell(self, pod: dict[str, Any], reason: str, message: str) -> None:
        metadata = pod["metadata"]
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": metadata["name"]},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": metadata["name"],
                "namespace": metadata["namespace"],
            },
            "type": "Warning",
            "reason": reason,
            "message": message,
        }
        self._client.post(self._path.replace("/pods", "/events"), json=event)


def status_of(pod: dict[str, Any]) -> dict[str, Any]:
    """What is said of a pod, by its image's name."""
    container = pod["spec"]["containers"][0]
    image = container["image"]
    state: dict[str, Any] = {"running": {"startedAt": pod["metadata"]["creationTimestamp"]}}
    restarts = 0
    if "missing" in image:
        message = f'Back-off pulling image "{image}"'
        state = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
    elif "crash" in image:
        restarts = 5
        state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting"}}
    ready = not any(word in image for word in ("missing", "crash", "unready"))
    said = {
        "name": container["name"],
        "image": image,
        "imageID": "",
        "ready": ready,
        "started": ready,
        "restartCount": restarts,
        "state": state,
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}} if restarts else {},
    }
    conditions = [{"type": kind, "status": str(ready)} for kind in ("Ready", "ContainersReady")]
    phase = "Running" if "running" in state else "Pending"
    return {"phase": phase, "conditions": conditions, "containerStatuses": [said]}


class Wire:
    """Passes bytes between kubectl and the API server until it is cut."""

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        self._goal = (parts.hostname or "", parts.port or 443)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends all connections and refuses new ones."""
        self.is_cut = True
        for one in self._pairs:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self.is_cut = False

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self.is_cut:
                    raise ConnectionRefusedError
                far = socket.create_connection(self._goal)
            except OSError:
                near.close()
                continue
            self._pairs += [near, far]
            threading.Thread(target=_pass_on, args=(near, far), daemon=True).start()


def _pass_on(near: socket.socket, far: socket.socket) -> None:
    with near, far:
        while True:
            try:
                for one in select.select([near, far], [], [])[0]:
                    data = one.recv(65536)
                    if not data:
                        return
                    (far if one is near else near).sendall(data)
            except (OSError, ValueError):
                return


def kubectl(kubeconfig: Path, *words: str, stdin: str | None = None) -> str:
    """What a command of kubectl prints."""
    environ = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    done = subprocess.run(
        ["kubectl", *words], env=environ, input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def namespace_of(kubeconfig: Path, name: str) -> Iterator[str]:
    """Makes a namespace, with a kubelet for its pods, and takes it away."""
    kubectl(kubeconfig, "create", "namespace", name)
    try:
        with Kubelet(kubeconfig, name):
            yield name
    finally:
        kubectl(kubeconfig, "delete", "namespace", name, "--wait=false")
