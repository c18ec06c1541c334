"""A loopback BentoCloud: what BentoML's client asks for to push and to deploy, and its refusals."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "api-key"
TIME = "2026-01-01 00:00:00.000000"
USER = {"name": "ann", "email": "ann@example.com", "first_name": "Ann", "last_name": "A"}
CLUSTER = "first"

STORE = re.compile(
    r"/api/v1/(?P<kind>bento|model)_repositories(/(?P<name>[^/]+)"
    r"(/(bentos|models)(/(?P<version>[^/]+)(/(?P<step>\w+))?)?)?)?"
)
PUSHED = {
    "bentoml_version": "1.4.39",
    "size_bytes": 1,
    "service": "services:Router",
    "entry_service": "Router",
}


def resource(name: str, kind: str, **more: Any) -> dict[str, Any]:
    times = {"created_at": TIME, "updated_at": TIME, "deleted_at": None}
    return {"uid": name, "name": name, "resource_type": kind, "labels": [], **times, **more}


@dataclass
class Refusal(Exception):
    """An answer that is no success."""

    status: int
    message: str


@dataclass
class Stub:
    """What is there, and how it is to misbehave.

    Attributes:
        base: Its address.
        stored: Uploaded Bentos and models: kind, name and version to the manifest.
        uploads: Bytes of each.
        deployments: What was sent, by name.
        status: Of each deployment.
        secrets: Variables by secret.
        calls: What was asked.
        becomes: States that a deployment goes through after it was sent, by Bento; the last stays.
        refuse: Answer to a method and a path's beginning.
        cut: Methods and paths whose connection breaks off.
        answers: Answer of a Bento to a prediction.
        meanwhile: Is called once after each change of a deployment.
    """

    base: str = ""
    stored: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    uploads: dict[tuple[str, str, str], int] = field(default_factory=dict)
    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)
    status: dict[str, list[str]] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    becomes: dict[str, list[str]] = field(default_factory=dict)
    refuse: dict[tuple[str, str], Refusal] = field(default_factory=dict)
    cut: set[tuple[str, str]] = field(default_factory=set)
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    meanwhile: Any = None

    def has(self, tag: str) -> None:
        """Holds a Bento as if it had been pushed."""
        name, _, version = tag.partition(":")
        self.stored["bento", name, version] = {**PUSHED, "name": name, "version": version}
        self.uploads["bento", name, version] = 1

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        """Returns status and body of an answer."""
        parts = urlsplit(path)
        self.calls.append((method, parts.path))
        for (verb, start), refusal in self.refuse.items():
            if method == verb and parts.path.startswith(start):
                raise refusal
        if any(method == verb and parts.path.startswith(start) for verb, start in self.cut):
            raise ConnectionError
        if parts.path.startswith("/run/"):
            return self._predict(parts.path.split("/")[2], headers, json.loads(body))
        if headers.get("X-YATAI-API-TOKEN") != KEY:
            raise Refusal(401, "the token is not valid")
        if found := STORE.fullmatch(parts.path):
            return 200, self._store(method, found, body)
        rest = parts.path.split("/")[2:]
        cluster = parse_qs(parts.query).get("cluster", [CLUSTER])[0]
        match [method, *rest]:
            case [_, "v1", "org_secrets", *name]:
                return 200, self._secret(method, name, body)
            case [_, "v2", "deployments", *name]:
                if cluster not in ("", CLUSTER):
                    raise Refusal(404, f"cluster {cluster} not found")
                return 200, self._deployment(method, name, body)
        raise Refusal(404, f"nothing is known of {method} {path}")

    def _store(self, method: str, found: re.Match[str], body: bytes) -> Any:
        kind, name, version, step = (found[key] for key in ("kind", "name", "version", "step"))
        if name is None:
            return self._repository(kind, json.loads(body)["name"])
        if step == "upload":
            self.uploads[kind, name, version] = len(body)
        elif method == "POST":
            asked = json.loads(body)
            version = asked["version"]
            self.stored[kind, name, version] = asked["manifest"]
        elif version is None:
            if not any(key[:2] == (kind, name) for key in self.stored):
                raise Refusal(404, "record not found")
            if found.group(0).endswith("s") and not found.group(0).endswith(name):
                every = [key for key in self.stored if key[:2] == (kind, name)]
                items = [self._thing(*key) for key in reversed(every)]
                return {"start": 0, "count": len(items), "total": len(items), "items": items}
            return self._repository(kind, name)
        if (kind, name, version) not in self.stored:
            raise Refusal(404, "record not found")
        return self._thing(kind, name, version)

    def _repository(self, kind: str, name: str) -> dict[str, Any]:
        return resource(name, f"{kind}_repository", description="", **{f"latest_{kind}": None})

    def _thing(self, kind: str, name: str, version: str) -> dict[str, Any]:
        done = (kind, name, version) in self.uploads
        return resource(
            version,
            kind,
            description="",
            version=version,
            image_build_status="pending",
            upload_status="success" if done else "pending",
            upload_finished_reason="",
            presigned_upload_url="",
            presigned_download_url="",
            manifest=self.stored[kind, name, version],
            transmission_strategy="proxy",
            build_at=TIME,
            repository=self._repository(kind, name),
        )

    def _secret(self, method: str, name: list[str], body: bytes) -> Any:
        if method in ("POST", "PATCH"):
            asked = json.loads(body)
            key = name[0] if name else asked["name"]
            items = asked["content"]["items"]
            self.secrets[key] = {each["key"]: each["value"] for each in items}
        else:
            key = name[0]
            if key not in self.secrets:
                raise Refusal(404, "record not found")
        content = {"type": "env", "items": [{"key": each} for each in self.secrets[key]]}
        if method == "DELETE":
            del self.secrets[key]
        more = {"description": "", "creator": USER, "content": content, "cluster": self._cluster()}
        return resource(key, "secret", **more)

    def _deployment(self, method: str, rest: list[str], body: bytes) -> Any:
        name = rest[0] if rest else json.loads(body)["name"]
        if method == "POST" and not rest:
            self._sent(name, json.loads(body))
        elif name not in self.deployments:
            raise Refusal(404, f"deployment {name}: record not found")
        elif method == "PUT":
            self._sent(name, self.deployments[name] | json.loads(body))
        elif method == "POST":
            self.status[name] = ["terminated"]
        elif method == "DELETE":
            if self.status[name][0] != "terminated":
                raise Refusal(400, "a running deployment cannot be deleted")
            found = self._shown(name)
            del self.deployments[name]
            return found
        return self._shown(name)

    def _sent(self, name: str, content: dict[str, Any]) -> None:
        bento, _, version = content["bento"].partition(":")
        if ("bento", bento, version) not in self.uploads:
            raise Refusal(400, f"bento {content['bento']} is not pushed")
        for secret in content.get("secrets") or ():
            if secret not in self.secrets:
                raise Refusal(400, f"secret {secret} not found")
        self.deployments[name] = content
        self.status[name] = list(self.becomes.get(content["bento"], ["deploying", "running"]))
        if self.meanwhile is not None:
            self.meanwhile(self)

    def _shown(self, name: str) -> dict[str, Any]:
        content, states = self.deployments[name], self.status[name]
        status = states.pop(0) if len(states) > 1 else states[0]
        config = {
            key: content.get(key)
            for key in ("access_authorization", "envs", "labels", "secrets", "services")
        }
        bento = self._thing("bento", *content["bento"].split(":"))
        target = resource("main", "target", creator=USER, config=config, bento=bento)
        revision = resource("1", "revision", creator=USER, status="active", targets=[target])
        return resource(
            name,
            "deployment",
            status=status,
            kube_namespace="yatai",
            creator=USER,
            cluster=self._cluster(),
            latest_revision=revision,
            urls=[f"{self.base}/run/{name}"],
        ) | {"labels": content.get("labels") or []}

    def _cluster(self) -> dict[str, Any]:
        more = {"description": "", "organization_name": "org", "creator": USER, "is_first": True}
        return resource(CLUSTER, "cluster", **more)

    def _predict(self, name: str, headers: Any, body: Any) -> tuple[int, Any]:
        content = self.deployments[name]
        if content["access_authorization"] and headers.get("Authorization") != f"Bearer {KEY}":
            raise Refusal(401, "a token is needed")
        rows = len(body["inputs"])
        return self.answers.get(content["bento"], (200, {"predictions": [0] * rows}))


def serve(stub: Stub) -> ThreadingHTTPServer:
    """Starts the stub on a free port of loopback; `shutdown` of what is returned ends it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        def _any(self) -> None:
            body = self._body()
            try:
                status, answer = stub.answer(self.command, self.path, self.headers, body)
            except Refusal as refusal:
                status, answer = refusal.status, {"message": refusal.message}
            except ConnectionError:
                self.close_connection = True
                self.connection.close()
                return
            out = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(out)))
            self.end_headers()
            self.wfile.write(out)

        do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = _any

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.base = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
