"""Clients that keep a server busy while something happens to it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter

import orjson

from services.dataplane.hop import Address, HopClient, HopClosed

LINE = "content-type: application/json\r\n"


class Load:
    """Clients that ask again and again until told to stop; each finishes its last request."""

    def __init__(self, port: int, body: dict[str, object], clients: int = 20) -> None:
        self.port = port
        self.body = orjson.dumps(body)
        self.clients = clients
        self.enough = threading.Event()
        self.statuses: Counter[object] = Counter()
        self.models: Counter[str] = Counter()
        self.slowest = 0.0
        self.request_ids: list[str] = []
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    @property
    def refused(self) -> set[object]:
        """How connections failed that nobody listened to."""
        return {status for status in self.statuses if "cannot be reached" in str(status)}

    def __enter__(self) -> Load:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self) -> None:
        self.enough.set()
        self.thread.join(30)

    async def _run(self) -> None:
        client = HopClient(Address(host="127.0.0.1", port=self.port), connections=self.clients)
        await asyncio.gather(*(self._ask(client) for _ in range(self.clients)))
        client.close()

    async def _ask(self, client: HopClient) -> None:
        while not self.enough.is_set():
            started = time.monotonic()
            try:
                reply = await client.request("POST", "/predict", self.body, LINE, timeout=15)
            except HopClosed as error:
                self.statuses[str(error)] += 1
                return
            self.slowest = max(self.slowest, time.monotonic() - started)
            self.statuses[reply.status] += 1
            if reply.status == 200:
                answer = orjson.loads(reply.body)
                self.request_ids.append(answer["request_id"])
                self.models[answer["model"]] += 1
