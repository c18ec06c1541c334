"""Sticky assignment on real servers: over workers, restarts and a change of shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import orjson
import pytest
from e2e.calls import FLIGHT, send_all
from e2e.plans import two_variants
from e2e.server import Server

from services.traffic.hashing import variation_point

KEYS = [f"traveller-{n}" for n in range(20_000)]


def variants_of(server: Server, keys: list[str]) -> dict[str, str]:
    replies = send_all(server.port, ({"inputs": [FLIGHT], "key": key} for key in keys), at_once=48)
    answers = [orjson.loads(reply.body) for reply in replies]
    return {key: answer["variant"] for key, answer in zip(keys, answers, strict=True)}


@pytest.mark.slow
def test_keys_stay_with_their_variant(make_server: Callable[..., Server]) -> None:
    server = make_server(plan=two_variants(0.7, 0.3, workers=2)).start()
    assert len(server.workers("Router")) == 2
    before = variants_of(server, KEYS)
    expected = {
        key: "sklearn" if variation_point("flights", key) < 0.7 else "torch" for key in KEYS
    }
    assert before == expected
    counts = Counter(before.values())
    deviation = (20_000 * 0.7 * 0.3) ** 0.5
    assert abs(counts["sklearn"] - 14_000) < 4 * deviation

    sample = KEYS[:3000]
    assert variants_of(server, sample) == {key: before[key] for key in sample}
    assert server.stop() == 0
    (server.folder / "switchyard.yaml").write_text(two_variants(0.6, 0.4))
    server.start()
    after = variants_of(server, sample)
    moved = {key for key in sample if after[key] != before[key]}
    assert {(before[key], after[key]) for key in moved} == {("sklearn", "torch")}
    assert abs(len(moved) - 300) < 4 * (3000 * 0.1 * 0.9) ** 0.5
    server.stop()
