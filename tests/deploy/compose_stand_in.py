"""A server as light as can be instead of Switchyard's; the tag of its image says what it does.

good, better   answers predictions
wrong          is ready, and answers every prediction with 500
never          listens, and never becomes ready
dead           ends at once
"""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KIND = sys.argv[1]
ALERTS: list[object] = []
"""What Alertmanager has posted here."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/environment":
            self.answer(200, {key: os.environ[key] for key in os.environ if "SWITCH" in key})
        elif self.path == "/alerts":
            self.answer(200, ALERTS)
        elif self.path == "/metrics":
            self.answer(200, None)
        else:
            self.answer(503 if KIND == "never" else 200, {"kind": KIND})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/alerts":
            ALERTS.append(body)
            self.answer(200, {})
        else:
            self.predict(body["inputs"])

    def predict(self, rows: list[object]) -> None:
        token = os.environ.get("SWITCHYARD_ADMIN_TOKEN")
        if token and self.headers["authorization"] != f"Bearer {token}":
            self.answer(401, {"error": "This call needs a token."})
        elif KIND == "wrong":
            self.answer(500, {"error": "The model cannot be loaded."})
        else:
            self.answer(200, {"predictions": [0] * len(rows), "kind": KIND, "uid": os.getuid()})

    def answer(self, status: int, body: object) -> None:
        content = b"up_and_about 1\n" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "text/plain" if body is None else "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


if KIND == "dead":
    sys.exit("switchyard: the folder /home/bentoml/switchyard cannot be made.")
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
ThreadingHTTPServer(("", 3000), Handler).serve_forever()
