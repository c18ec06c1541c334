"""The routes that the router answers itself, the managed platforms' among them.

| platform  | routes                                                                  |
|-----------|-------------------------------------------------------------------------|
| ours      | `POST /predict`, `POST /feedback`, `GET /health` and the probes         |
| SageMaker | `GET /ping`, `POST /invocations`                                        |
| MLflow    | `GET /ping`, `POST /invocations`                                        |
| Azure ML  | `GET /`, `POST /score`, `GET /swagger.json`                             |
| Vertex AI | `GET $AIP_HEALTH_ROUTE`, `POST $AIP_PREDICT_ROUTE`, where it sets these |
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

import orjson

from services.dataplane.front import Front
from services.dataplane.lean import JSON, Handler, Receive, Scope, Send, respond, respond_error
from services.health import Health
from services.wire import swagger
from services.wire.contract import INVOCATIONS, SCORE, vertex_ai
from switchyard import settings
from switchyard.errors import InvalidInput, MethodNotAllowed, SwitchyardError

__all__ = ["Routes"]

PROBE: Final = "AIP_HEALTH_ROUTE"
"""What metrics call Vertex AI's probe: its path holds the ids of resources."""

OTHERS: Final = ("/metrics", "/feedback", "/admin/v1")
"""Paths, and beginnings of them, that others ask for even where Vertex AI calls."""


class Routes:
    """Which handler answers which path and method.

    Args:
        front: Answers requests for predictions, and feedback.
        health: Answers probes.
        default: The endpoint of requests that name none.
    """

    def __init__(self, front: Front, health: Health, default: str | None) -> None:
        self._front = front
        self._default = default
        self._methods: dict[str, dict[str, Handler]] = {
            "/predict": {"POST": front.predict},
            "/feedback": {"POST": front.feedback},
            "/invocations": {"POST": front.handler(INVOCATIONS)},
            "/score": {"POST": front.handler(SCORE)},
            "/swagger.json": {"GET": self._swagger},
            "/health": {"GET": health.health},
            "/ping": {"GET": health.readyz},
            "/readyz": {"GET": health.readyz},
            "/livez": {"GET": health.livez},
            "/healthz": {"GET": health.livez},
            "/": {"GET": health.livez},
        }
        self._names = {path: path for path in self._methods}
        predict, probe = settings.vertex_routes()
        if predict is not None:
            contract = vertex_ai(settings.vertex_megabytes())
            self._add(predict, "POST", contract.route, front.handler(contract))
        if probe is not None:
            self._add(probe, "GET", PROBE, health.readyz)

    def _add(self, path: str, method: str, name: str, handler: Handler) -> None:
        """Adds one of Vertex AI's routes.

        Where the path means something already, that gives way: Vertex AI is the only caller then.

        Raises:
            SwitchyardError: Others would ask for that path too.
        """
        if any(f"{path}/".startswith(f"{other}/") for other in OTHERS):
            variable = "AIP_PREDICT_ROUTE" if method == "POST" else PROBE
            raise SwitchyardError(
                f"{variable} is {path!r}, which is a route of Switchyard's own that would be lost; "
                "take another path."
            )
        self._methods.setdefault(path, {})[method] = handler
        self._names.setdefault(path, name)

    def find(self, scope: Scope) -> Handler | None:
        """Returns the handler of a request, None if there is nothing of ours at its path."""
        methods = self._methods.get(scope["path"])
        if methods is None or _wants_page(scope):
            return None
        method = scope["method"]
        return methods.get("GET" if method == "HEAD" else method) or self._wrong_method

    def name(self, path: str) -> str | None:
        """Returns what metrics call the route of a path, None if it is none of ours."""
        return self._names.get(path)

    async def _wrong_method(self, scope: Scope, receive: Receive, send: Send) -> int:
        path = scope["path"]
        error = MethodNotAllowed(path, scope["method"], self._methods[path])
        return await respond_error(send, error, None)

    async def _swagger(self, scope: Scope, receive: Receive, send: Send) -> int:
        """ASGI handler of `GET /swagger.json`."""
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("version")
        version = asked[0] if asked else swagger.VERSIONS[0]
        if version not in swagger.VERSIONS:
            known = " or ".join(swagger.VERSIONS)
            error = InvalidInput(f"'version' must be {known}, not {version[:40]!r}.")
            return await respond_error(send, error, None)
        schemas = {name: each.spec.schema for name, each in self._front.endpoints.items()}
        document = swagger.describe(schemas, self._default, version)
        return await respond(send, 200, [JSON], orjson.dumps(document))


def _wants_page(scope: Scope) -> bool:
    """Tells a person at `/`, who is shown the documentation, from a platform's probe."""
    return (
        scope["path"] == "/"
        and scope["method"] in ("GET", "HEAD")
        and any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])
    )
