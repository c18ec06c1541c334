"""kubectl: what is asked of the cluster, and its refusals as sentences.

It brings the credentials of whoever deploys from the usual places: `KUBECONFIG`, `~/.kube/config`,
or the pod's own account.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from deploy.errors import DeployFailed
from deploy.target import Say

__all__ = ["Kubectl", "Unreachable", "current_context", "insist"]

T = TypeVar("T")

COMMAND_SECONDS: Final = 120
"""How long one command may take."""

PATIENCE_SECONDS: Final = 60.0
"""How long a cluster is asked again that does not answer."""

RETRY_SECONDS: Final = 1.0
SHOWN: Final = 3
"""Errors of one command that a sentence quotes."""

_AWAY: Final = (
    "connection refused",
    "was refused - did you specify the right host",
    "connection reset",
    "i/o timeout",
    "TLS handshake timeout",
    "no such host",
    "no route to host",
    "network is unreachable",
    "EOF",
    "context deadline exceeded",
    "Client.Timeout exceeded",
    "the server is currently unable to handle the request",
    "etcdserver: ",
    "apiserver is shutting down",
)
_LOG: Final = re.compile(r"[EWI]\d{4} \d\d:")
"""How a line of kubectl's own log begins: with a letter, month, day and time."""

_PREFIX: Final = re.compile(r"^(Error from server( \(\w+\))?: |error: |Error: )+")


class Unreachable(DeployFailed):
    """The cluster does not answer now."""


class Kubectl:
    """The cluster, as kubectl reaches it.

    Args:
        context: Of the kubeconfig; None for the one in use.
        namespace: Of what is asked for.
    """

    def __init__(self, context: str | None, namespace: str) -> None:
        self.namespace = namespace
        self._own = [*(["--context", context] if context else []), "--namespace", namespace]

    def run(self, *words: str, stdin: str | None = None) -> str:
        """Returns what a command prints.

        Raises:
            Unreachable: The cluster does not answer.
            DeployFailed: It refused; the sentence holds its own words.
        """
        done = self._run(words, stdin)
        if done.returncode == 0:
            return done.stdout
        raise problem(done.stderr)

    def _run(
        self, words: Sequence[str], stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [program(), *self._own, *words],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unreachable(
                f"The cluster did not answer `kubectl {words[0]}` within {COMMAND_SECONDS} seconds."
            ) from None

    def patiently(self, *words: str, stdin: str | None = None, say: Say) -> str:
        """As `run`, but a cluster that does not answer is asked again for a while."""
        return insist(lambda: self.run(*words, stdin=stdin), say)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Starts a command that goes on; what it says comes by its standard output."""
        return subprocess.Popen(
            [program(), *self._own, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def objects(self, kinds: Sequence[str], selector: str | None = None) -> list[dict[str, Any]]:
        """Returns the objects of some kinds that bear some labels."""
        chosen = [] if selector is None else ["--selector", selector]
        found: dict[str, Any] = json.loads(
            self.run("get", ",".join(kinds), *chosen, "--output", "json")
        )
        items: list[dict[str, Any]] = found["items"]
        return items

    def kinds(self) -> set[tuple[str, str]]:
        """Returns the kinds that namespaces hold: their groups with versions, and names.

        A group whose own server is down is left out; the others are known all the same.
        """
        words = ("api-resources", "--namespaced=true", "--no-headers")
        done = self._run(words)
        if done.returncode != 0 and not done.stdout:
            raise problem(done.stderr)
        lines = (line.split() for line in done.stdout.splitlines() if line.strip())
        return {(line[-3], line[-1]) for line in lines}


def insist(ask: Callable[[], T], say: Say) -> T:
    """Returns what is asked of a cluster; one that does not answer is asked again for a while."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return ask()
        except Unreachable as error:
            if time.monotonic() >= end:
                raise
            time.sleep(RETRY_SECONDS)
            say(f"waiting for the cluster: {error.message}")


def program() -> str:
    """Returns the path of kubectl.

    Raises:
        DeployFailed: It is not installed.
    """
    found = shutil.which("kubectl")
    if found is None:
        raise DeployFailed(
            "kubectl is not installed here, and Kubernetes is deployed to by it; "
            "https://kubernetes.io/docs/tasks/tools/ says how to get it."
        )
    return found


def current_context() -> str | None:
    """Returns the context of the kubeconfig that is in use; None inside a pod, which needs none.

    Raises:
        DeployFailed: There is none.
    """
    command = [program(), "config", "current-context"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout.strip()
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return None
    raise DeployFailed(
        f"kubectl knows no cluster: {_said(done.stderr)}. Set KUBECONFIG, or the value 'context'."
    )


def problem(stderr: str) -> DeployFailed:
    """Returns what kubectl says on its standard error, as an error of ours."""
    said = _said(stderr)
    if any(words in stderr for words in _AWAY):
        return Unreachable(f"The cluster does not answer: {said}.")
    if "(Forbidden)" in stderr or " is forbidden: " in stderr:
        return DeployFailed(f"The cluster does not allow it: {said}.")
    if "(Unauthorized)" in stderr or "must be logged in" in stderr:
        return DeployFailed(f"The cluster does not accept the credentials: {said}.")
    if 'namespaces "' in stderr and "not found" in stderr:
        return DeployFailed(f"{said}; `kubectl create namespace` makes it.")
    if "no matches for kind" in stderr:
        return DeployFailed(
            f"The cluster lacks a kind of object: {said}. Install what brings it, or leave it out "
            "of the values."
        )
    return DeployFailed(f"The cluster refused: {said}.")


def _said(stderr: str) -> str:
    """Returns the errors of a command, each once."""
    lines = dict.fromkeys(
        _PREFIX.sub("", line.strip())
        for line in stderr.splitlines()
        if line.strip() and not line.startswith("Warning: ") and not _LOG.match(line)
    )
    shown = list(lines)[:SHOWN]
    more = len(lines) - len(shown)
    return "; ".join(shown).rstrip(".") + (f"; and {more} more" if more else "")
