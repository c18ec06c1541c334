"""Steps that are not taken any more where somebody else has taken over the place."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.errors import LeaseLost
from deploy.vertex import actions
from deploy.vertex.client import Client


def test_what_is_under_way_is_not_stopped_where_the_place_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service: Any = object()
    stopped: list[str] = []
    monkeypatch.setattr(actions, "pending", lambda *_: ["operations/1"])
    monkeypatch.setattr(actions, "cancel", lambda _, name: stopped.append(name))

    def say(_: str) -> None:
        raise LeaseLost("Somebody else has taken over.")

    act = actions.Actions(Client(service, service, service, service), 1.0, say)
    with pytest.raises(LeaseLost):
        act.settle_model("models/switchyard", stop=True)
    assert stopped == []
