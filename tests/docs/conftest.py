"""A reader who follows the pages, with one server for all of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from docs.reader import Reader
from e2e.server import ROOT, Server


@pytest.fixture(scope="session")
def reader(
    make_server: Callable[..., Server], store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Reader:
    """A reader with the example plan and a model store of their own to add to."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(store / "models", folder / "bentoml" / "models")
    (folder / "bentoml" / "bentos").mkdir()
    plan = (ROOT / "switchyard.yaml").read_text()
    # An empty variable counts as not set: the pages read the token that the server makes.
    server = make_server(folder=folder, plan=plan, env={"SWITCHYARD_ADMIN_TOKEN": ""})
    return Reader(server)
