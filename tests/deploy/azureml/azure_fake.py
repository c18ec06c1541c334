"""A loopback Azure, as far as endpoints need it: TLS, tokens, long operations, and its refusals.

It keeps the rules that Azure is known for: no traffic to what is not there, none taken away that
has traffic, mirrored at most half, no environment that was not made, no field it does not know.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import re
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

KEY = "primary-key"
TOKEN = "token-of-azure"
WORKSPACE_TOKEN = "token-of-the-workspace"
DNS = "127.0.0.1"

RESOURCE = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)/providers/"
    r"Microsoft\.(?P<provider>MachineLearningServices/workspaces/(?P<workspace>[^/]+)|Insights)"
    r"(?P<rest>/.*)?",
    re.IGNORECASE,
)


def certificate(folder: Path) -> Path:
    """Writes a key and a certificate for loopback that signs itself, into one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, DNS)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(DNS))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "loopback.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(pem))
    return path


@dataclass
class Refusal(Exception):
    """An answer that is no success."""

    status: int
    code: str
    message: str

    @property
    def body(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message}}


@dataclass
class FakeAzure:
    """What is there, and how it is to misbehave.

    Attributes:
        base: Its address.
        workspace: The only one there is: subscription, group, name.
        endpoints: Bodies by name.
        deployments: Bodies by endpoint and name.
        autoscale: Bodies by name.
        calls: What was asked: method and kind of the resource.
        moves: Every traffic that an endpoint was sent.
        refuse: Answer to a method and a kind, instead of doing it.
        fail: Error that a deployment of this image ends in.
        slow: Images whose deployment never ends.
        cut: Methods and kinds whose connection breaks off, as often as it says.
        answers: Answer of an image to a scoring request: status and body.
        logs: What the log of every deployment holds.
        meanwhile: Is called once after each change of traffic.
    """

    base: str = ""
    workspace: tuple[str, str, str] = ("00000000-0000-0000-0000-000000000000", "serving", "models")
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    deployments: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    autoscale: dict[str, dict[str, Any]] = field(default_factory=dict)
    assets: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    moves: list[tuple[dict[str, int], dict[str, int]]] = field(default_factory=list)
    refuse: dict[tuple[str, str], Refusal] = field(default_factory=dict)
    fail: dict[str, Refusal] = field(default_factory=dict)
    slow: set[str] = field(default_factory=set)
    cut: dict[tuple[str, str], int] = field(default_factory=dict)
    answers: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    scored: list[tuple[str | None, str]] = field(default_factory=list)
    logs: str = ""
    meanwhile: Any = None

    def image(self, endpoint: str, deployment: str) -> str:
        """Returns the image that a deployment runs."""
        environment = self.deployments[endpoint, deployment]["properties"]["environmentId"]
        properties = self.assets[environment.partition("/workspaces/models")[2]]["properties"]
        assert properties["inferenceConfig"]["scoringRoute"] == {"path": "/score", "port": 3000}
        return str(properties["image"])

    def answer(self, method: str, path: str, headers: Any, body: Any) -> tuple[int, Any, dict]:
        """Returns status, body and headers of an answer."""
        parts = urlsplit(path)
        if parts.path.startswith("/metadata"):
            return 200, [self._cloud()], {}
        if parts.path == "/token":
            expires = int(datetime.datetime.now().timestamp()) + 3600
            token = {"access_token": TOKEN, "expires_on": str(expires), "resource": "x"}
            return 200, token | {"token_type": "Bearer"}, {}
        if parts.path.startswith("/scoring/"):
            return self._score(parts.path.split("/")[2], headers, body)
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refusal(401, "AuthenticationFailed", "Authentication failed.")
        if parts.path.startswith("/operations/"):
            return self._operation(*parts.path.split("/")[2:])
        found = RESOURCE.fullmatch(parts.path)
        if found is None:
            raise Refusal(404, "InvalidPath", f"Nothing is known of {path}.")
        rest = (found["rest"] or "").strip("/")
        if found["provider"] == "Insights":
            return self._monitor(method, rest.split("/")[1], body)
        if (found["subscription"], found["group"], found["workspace"]) != self.workspace:
            raise Refusal(
                404,
                "ResourceNotFound",
                f"The Resource 'Microsoft.MachineLearningServices/workspaces/{found['workspace']}' "
                f"under resource group '{found['group']}' was not found.",
            )
        return self._resource(method, parts.path, rest.split("/") if rest else [], body)

    def _resource(
        self, method: str, path: str, rest: list[str], body: Any
    ) -> tuple[int, Any, dict]:
        match [method, *rest]:
            case ["GET"]:
                return 200, {"id": path, "name": "models", "location": "westeurope"}, {}
            case [_, "environments" | "data" | "datastores", *_]:
                return self._asset(method, "/" + "/".join(rest), path, body)
            case [_, "onlineEndpoints", name]:
                self._told(method, "endpoint")
                return self._endpoint(method, name, path, body)
            case ["POST", "onlineEndpoints", name, "listKeys"]:
                return 200, {"primaryKey": KEY, "secondaryKey": "other"}, {}
            case ["POST", "onlineEndpoints", name, "token"]:
                return 200, {"accessToken": WORKSPACE_TOKEN}, {}
            case ["GET", "onlineEndpoints", name, "deployments"]:
                held = [each for (owner, _), each in self.deployments.items() if owner == name]
                return 200, {"value": held}, {}
            case [_, "onlineEndpoints", name, "deployments", deployment]:
                self._told(method, "deployment")
                return self._deployment(method, name, deployment, path, body)
            case ["POST", "onlineEndpoints", _, "deployments", _, "getLogs"]:
                return 200, {"content": self.logs}, {}
        raise Refusal(404, "InvalidPath", f"Nothing is known of {method} {path}.")

    def _told(self, method: str, kind: str) -> None:
        self.calls.append((method, kind))
        if self.cut.get((method, kind), 0) > 0:
            self.cut[method, kind] -= 1
            raise ConnectionError
        if (method, kind) in self.refuse:
            raise self.refuse[method, kind]

    def _asset(self, method: str, key: str, path: str, body: Any) -> tuple[int, Any, dict]:
        if method == "PUT":
            self.assets[key] = body | {"id": path, "name": path.rsplit("/", 1)[1]}
            return 201, self.assets[key], {}
        if key not in self.assets:
            raise Refusal(404, "NotFound", f"{key} is not there.")
        return 200, self.assets[key], {}

    def _endpoint(self, method: str, name: str, path: str, body: Any) -> tuple[int, Any, dict]:
        there = self.endpoints.get(name)
        if method == "PUT":
            self._check_endpoint(name, body["properties"])
            properties = body["properties"] | {
                "provisioningState": "Succeeded",
                "scoringUri": f"{self.base}/scoring/{name}/score",
            }
            self.endpoints[name] = body | {"id": path, "name": name, "properties": properties}
            split = (properties.get("traffic") or {}, properties.get("mirrorTraffic") or {})
            if split != (self.moves[-1] if self.moves else ({}, {})):
                self.moves.append(split)
                if self.meanwhile is not None:
                    self.meanwhile(self)
            return 200, self.endpoints[name], {}
        if there is None:
            raise Refusal(
                404, "NotFound", f"Resource {name} of type onlineEndpoints was not found."
            )
        if method == "DELETE":
            del self.endpoints[name]
            for key in [each for each in self.deployments if each[0] == name]:
                del self.deployments[key]
            return 204, None, {}
        return 200, there, {}

    def _check_endpoint(self, name: str, properties: dict[str, Any]) -> None:
        known = {
            "authMode", "description", "properties", "traffic", "mirrorTraffic", "keys", "compute",
            "publicNetworkAccess", "provisioningState", "scoringUri", "swaggerUri",
        }  # fmt: skip
        if set(properties) - known:
            raise Refusal(400, "BadArgument", f"Unknown: {sorted(set(properties) - known)}")
        traffic = properties.get("traffic") or {}
        mirror = properties.get("mirrorTraffic") or {}
        for deployment in (*traffic, *mirror):
            if (name, deployment) not in self.deployments:
                raise Refusal(400, "BadArgument", f"The deployment {deployment} does not exist.")
        if sum(traffic.values()) not in (0, 100) or any(each > 50 for each in mirror.values()):
            raise Refusal(400, "BadArgument", "The traffic is not valid.")

    def _deployment(
        self, method: str, endpoint: str, name: str, path: str, body: Any
    ) -> tuple[int, Any, dict]:
        key = (endpoint, name)
        there = self.deployments.get(key)
        if method == "PUT":
            if endpoint not in self.endpoints:
                raise Refusal(404, "ParentResourceNotFound", f"There is no endpoint {endpoint}.")
            if there and there["properties"]["provisioningState"] == "Failed":
                raise Refusal(409, "Conflict", "A failed deployment cannot be updated.")
            self._check_deployment(name, body)
            held = body | {"id": path, "name": name}
            held["properties"] |= {
                "provisioningState": "Creating",
                "scaleSettings": {"scaleType": "Default"},
            }
            self.deployments[key] = held
            operation = f"{self.base}/operations/{endpoint}/{name}"
            return 201, held, {"Azure-AsyncOperation": operation, "Retry-After": "0.05"}
        if there is None:
            raise Refusal(404, "NotFound", f"Resource {name} of type deployments was not found.")
        if method == "DELETE":
            if (self.endpoints[endpoint]["properties"].get("traffic") or {}).get(name):
                raise Refusal(409, "Conflict", f"{name} has traffic and cannot be deleted.")
            del self.deployments[key]
            return 204, None, {}
        return 200, there, {}

    def _check_deployment(self, name: str, body: dict[str, Any]) -> None:
        assert re.fullmatch(r"[a-z][-a-z0-9]{1,30}[a-z0-9]", name)
        assert not [each for each in str(body["properties"]) if each == "$"], "a secret by name"
        environment = body["properties"]["environmentId"].partition("/workspaces/models")[2]
        if environment not in self.assets:
            raise Refusal(400, "BadArgument", "The environment does not exist.")

    def _operation(self, endpoint: str, name: str) -> tuple[int, Any, dict]:
        self._told("GET", "operation")
        image = self.image(endpoint, name)
        properties = self.deployments[endpoint, name]["properties"]
        if image in self.slow:
            return 200, {"status": "InProgress"}, {"Retry-After": "0.05"}
        if image in self.fail:
            properties["provisioningState"] = "Failed"
            return 200, {"status": "Failed"} | self.fail[image].body, {}
        properties["provisioningState"] = "Succeeded"
        return 200, {"status": "Succeeded"}, {}

    def _monitor(self, method: str, name: str, body: Any) -> tuple[int, Any, dict]:
        self._told(method, "autoscale")
        if method == "PUT":
            self.autoscale[name] = body
            return 201, body, {}
        if name not in self.autoscale:
            raise Refusal(404, "ResourceNotFound", f"The setting '{name}' was not found.")
        if method == "DELETE":
            del self.autoscale[name]
            return 200, None, {}
        return 200, self.autoscale[name], {}

    def _score(self, endpoint: str, headers: Any, body: Any) -> tuple[int, Any, dict]:
        shows = {"Key": KEY, "AMLToken": WORKSPACE_TOKEN, "AADToken": TOKEN}
        mode = self.endpoints[endpoint]["properties"]["authMode"]
        if headers.get("Authorization") != f"Bearer {shows[mode]}":
            raise Refusal(401, "Unauthorized", "The key is wrong.")
        asked = headers.get("azureml-model-deployment")
        traffic = self.endpoints[endpoint]["properties"].get("traffic") or {}
        name = asked or max(traffic, key=lambda each: traffic[each], default="")
        self.scored.append((asked, name))
        if (endpoint, name) not in self.deployments:
            raise Refusal(404, "NotFound", "No deployment answers.")
        rows = len(body["inputs"])
        answer = self.answers.get(self.image(endpoint, name), (200, {"predictions": [0] * rows}))
        return *answer, {}

    def _cloud(self) -> dict[str, Any]:
        return {
            "name": "Loopback",
            "portal": "https://portal.azure.com",
            "resourceManager": f"{self.base}/",
            "authentication": {"loginEndpoint": f"{self.base}/login"},
            "suffixes": {"storage": "core.windows.net"},
        }


def serve(fake: FakeAzure, pem: Path) -> ThreadingHTTPServer:
    """Starts the fake on a free port of loopback; `shutdown` of what is returned ends it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _any(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            text = self.rfile.read(size) if size else b""
            body = json.loads(text) if text else None
            try:
                status, answer, headers = fake.answer(self.command, self.path, self.headers, body)
            except Refusal as refusal:
                status, answer, headers = refusal.status, refusal.body, {}
            except ConnectionError:
                self.close_connection = True
                self.connection.close()
                return
            out = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(out)))
            self.end_headers()
            self.wfile.write(out)

        do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = _any

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer((DNS, 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    fake.base = f"https://{DNS}:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
