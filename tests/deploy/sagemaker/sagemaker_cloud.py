"""AWS for tests: moto's server behind a proxy that mends what moto gets wrong.

Moto cannot update endpoints, drops shadow variants, and routes no traffic; and it never misbehaves.
The proxy does the first three in its place, and the fourth when told.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from moto_server import MotoServer

Answer = tuple[int, dict[str, str], bytes]
"""HTTP status, headers and body."""

AWS_JSON = {"Content-Type": "application/x-amz-json-1.1"}
AS_S3 = {"Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request"}
"""By this, moto knows which of its services is asked."""

PREDICTED = b'{"predictions": [0]}'


class Cloud:
    """AWS.

    Attributes:
        refusals: Operation to error code and message.
        cuts: Operations whose connection breaks before they are answered; how often.
        blackout: Questions about the next endpoint that are cut off once it is in motion.
        stuck: Whether endpoints stay in motion.
        fails: Why the next endpoint fails, as SageMaker says it.
        takes_back: Why SageMaker takes the next update back by itself.
        container: Answers invocations: status and body.
        sent: Operations and bodies, in order.
    """

    def __init__(self, moto: MotoServer) -> None:
        self._moto = moto
        self.refusals: dict[str, tuple[str, str]] = {}
        self.cuts: dict[str, int] = {}
        self.blackout = 0
        self.stuck = False
        self.fails = ""
        self.takes_back = ""
        self.container: Callable[[bytes], tuple[int, bytes]] = lambda _: (200, PREDICTED)
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self._shadows: dict[str, list[dict[str, Any]]] = {}
        self._moving: list[str] = []
        self._reason = ""
        self._failed = False
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                found = cloud._answer(self.command, self.path, dict(self.headers), body)
                if found is None:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                status, kept, content = found
                self.send_response(status)
                for name, value in kept.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer

            def log_message(self, *_: object) -> None:
                pass  # the test says what matters

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def environ(self) -> dict[str, str]:
        """What makes a client find it."""
        url = f"http://127.0.0.1:{self._server.server_port}"
        return {**self._moto.environ, "AWS_ENDPOINT_URL": url}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def operations(self) -> list[str]:
        """The names of what was sent, without what only asks."""
        asking = ("Describe", "List", "Get")
        return [name for name, _ in self.sent if not name.startswith(asking)]

    def last(self, operation: str) -> dict[str, Any]:
        """The body of the last request of an operation."""
        return next(body for name, body in reversed(self.sent) if name == operation)

    def _answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> Answer | None:
        operation = _operation(path, headers, body)
        asked = _parsed(body)
        self.sent.append((operation, asked))
        if self._is_cut(operation):
            return None
        if operation in self.refusals and body.startswith(b"Action="):
            code, message = self.refusals[operation]
            said = f"<Code>{code}</Code><Message>{message}</Message>"
            xml = f"<ErrorResponse><Error>{said}</Error></ErrorResponse>"
            return 403, {"Content-Type": "text/xml"}, xml.encode()
        if operation in self.refusals:
            return _error(*self.refusals[operation])
        if operation == "InvokeEndpoint":
            return self._invoke(body)
        if operation == "InvokeEndpointAsync":
            return self._invoke_async(path, headers)
        if operation == "UpdateEndpoint":
            return self._update(asked, headers)
        status, kept, content = self._forward(method, path, headers, body)
        if status == 200 and operation in ("CreateEndpoint", "DescribeEndpoint"):
            content = self._endpoint(operation, content)
        if status == 200 and operation == "DeleteEndpoint":
            self._moving, self._failed = [], False
        if operation == "CreateEndpointConfig":
            shadows = asked.get("ShadowProductionVariants")
            self._shadows[asked["EndpointConfigName"]] = shadows or []
        if status == 200 and operation == "DescribeEndpointConfig":
            content = self._with_shadows(content)
        return status, kept, content

    def _is_cut(self, operation: str) -> bool:
        if self.cuts.get(operation, 0) > 0:
            self.cuts[operation] -= 1
            return True
        if operation == "DescribeEndpoint" and len(self._moving) == 1 and self.blackout > 0:
            self.blackout -= 1
            return True
        return False

    def _forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        kept = {key: value for key, value in headers.items() if key.lower() != "accept-encoding"}
        answer = httpx.request(
            method, self._moto.url + path, headers=kept, content=body, timeout=30
        )
        given = {
            key: value
            for key, value in answer.headers.items()
            if key.startswith(("content-type", "etag", "x-am", "smithy"))
        }
        return answer.status_code, given, answer.content

    def _endpoint(self, operation: str, content: bytes) -> bytes:
        if operation == "CreateEndpoint":
            self._moving, self._reason = ["Creating", "Creating"], self.fails
            self._failed = bool(self.fails)
            self.fails = ""
            return content
        found = json.loads(content)
        if self._moving:
            found["EndpointStatus"] = self._moving[0] if self.stuck else self._moving.pop(0)
        elif self._failed:
            found |= {"EndpointStatus": "Failed", "FailureReason": self._reason}
        elif self._reason:
            found["FailureReason"] = self._reason
        return json.dumps(found).encode()

    def _update(self, asked: dict[str, Any], headers: dict[str, str]) -> Answer:
        """Puts another endpoint of the name in the place of the old one: moto cannot change one."""
        if self._moving:
            return _error("ValidationException", "Cannot update in-progress endpoint.")
        if self.takes_back:
            self._moving, self._reason = ["Updating", "RollingBack"], self.takes_back
            self.takes_back = ""
            return 200, AWS_JSON, b'{"EndpointArn": "arn:aws:x"}'
        names = {key: asked[key] for key in ("EndpointName", "EndpointConfigName")}
        self._call("DeleteEndpoint", {"EndpointName": names["EndpointName"]}, headers)
        answer = self._call("CreateEndpoint", names, headers)
        self._moving, self._reason = ["Updating"], ""
        return answer

    def _call(self, operation: str, body: dict[str, Any], headers: dict[str, str]) -> Answer:
        other = {**headers, "X-Amz-Target": f"SageMaker.{operation}"}
        other.pop("Content-Length", None)
        return self._forward("POST", "/", other, json.dumps(body).encode())

    def _with_shadows(self, content: bytes) -> bytes:
        found = json.loads(content)
        if shadows := self._shadows.get(found["EndpointConfigName"]):
            found["ShadowProductionVariants"] = shadows
        return json.dumps(found).encode()

    def _invoke(self, body: bytes) -> Answer:
        status, answer = self.container(body)
        if status == 200:
            return status, {"Content-Type": "application/json"}, answer
        said = {
            "Message": f"Received server error ({status}) from router",
            "OriginalStatusCode": status,
            "OriginalMessage": answer.decode(),
        }
        return _error("ModelError", **said, status=424)

    def _invoke_async(self, path: str, headers: dict[str, str]) -> Answer:
        lower = {key.lower(): value for key, value in headers.items()}
        place = lower["x-amzn-sagemaker-inputlocation"].removeprefix("s3://")
        asked = httpx.get(f"{self._moto.url}/{place}", headers=AS_S3).content
        status, answer = self.container(asked)
        out, failed = f"{place}.out", f"{place}.failed"
        written = out if status == 200 else failed
        httpx.put(f"{self._moto.url}/{written}", content=answer, headers=AS_S3)
        kept = {
            "Content-Type": "application/json",
            "x-amzn-sagemaker-outputlocation": f"s3://{out}",
            "x-amzn-sagemaker-failurelocation": f"s3://{failed}",
        }
        return 202, kept, b'{"InferenceId": "1"}'


def _operation(path: str, headers: dict[str, str], body: bytes) -> str:
    lower = {key.lower(): value for key, value in headers.items()}
    if path.endswith("/invocations"):
        return "InvokeEndpoint"
    if path.endswith("/async-invocations"):
        return "InvokeEndpointAsync"
    if "x-amz-target" in lower:
        return lower["x-amz-target"].rpartition(".")[2]
    if body.startswith(b"Action="):
        return body[7:].partition(b"&")[0].decode()
    return path.rpartition("/operation/")[2] if "/operation/" in path else "another"


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _error(code: str, message: str = "", status: int = 400, **said: Any) -> Answer:
    body = {"__type": code, "message": message, "code": code, **said}
    return status, AWS_JSON, json.dumps(body).encode()
