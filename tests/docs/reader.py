"""Somebody who does what the pages say, in a folder that looks like a checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from docs.pages import Block
from e2e.plans import DIGITS
from e2e.server import ROOT, Server

from switchyard import plan

MAKE = re.compile(r"^make (\w+)", re.MULTILINE)
LIMIT_SECONDS = 150  # a drift report computes for 10 s, beside a server and other tests
VARYING = {"request_id", "variant", "model", "predictions"}
"""Keys whose strings differ from run to run."""


class Reader:
    """Runs blocks one after the other, as their reader would.

    Args:
        server: Server that serves the reader's plan, not started yet.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.plan = server.folder / "switchyard.yaml"
        self.folder = server.folder / "checkout"
        self.folder.mkdir()
        (self.folder / "models").symlink_to(ROOT / "models")
        (self.folder / ".switchyard").symlink_to(server.home)
        self._served: str | None = None
        tools = self.folder / "tools"
        tools.mkdir()
        self.path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        if shutil.which("curl") is None:
            stand_in = tools / "curl"
            stand_in.write_text(
                f"#!{sys.executable}\n{Path(__file__).with_name('curl.py').read_text()}"
            )
            stand_in.chmod(0o755)
            self.path = f"{tools}:{self.path}"

    def follow(self, block: Block) -> None:
        """Does what a block says; an AssertionError names the place of one that does not work."""
        match block.language:
            case "bash" if targets := MAKE.findall(block.text):
                for target in targets:
                    self.make(target)
                if "serve" in targets:
                    self.serve()
            case "bash":
                printed = self.bash(block)
                if block.answer is not None:
                    check_alike(json.loads(block.answer), json.loads(printed), block.place)
            case "python":
                self.run([sys.executable, "-c", self.aimed(block.text)], block.place)
            case "yaml":
                self.load(block)
            case "text":
                for line in block.text.splitlines():
                    assert (ROOT / line.split()[0]).exists(), f"{block.place}: {line}"
            case _:
                raise AssertionError(f"{block.place}: what is {block.language!r}?")

    def make(self, target: str) -> str:
        """Returns what `make` would do for a target, without doing it."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        return self.run(["make", "-n", target], f"make {target}", cwd=ROOT, env=ours)

    def serve(self) -> None:
        """Serves the plan as it is now."""
        text = self.plan.read_text()
        if text != self._served:
            if self._served is not None:
                assert self.server.stop() == 0
            self.server.start()
            self._served = text

    def bash(self, block: Block) -> str:
        """Runs commands and returns what they print; an answer with an error is one where shown."""
        if "localhost:3000" in block.text:
            self.serve()
        refused = block.answer is not None and "error" in json.loads(block.answer)
        fail = "" if refused else "fail-with-body\n"
        (self.folder / ".curlrc").write_text(f"silent\nshow-error\n{fail}")
        cwd = ROOT if block.text.startswith("bentoml build") else self.folder
        command = ["bash", "-euo", "pipefail", "-c", self.aimed(block.text)]
        return self.run(command, block.place, cwd=cwd)

    def aimed(self, text: str) -> str:
        """Returns a block's text with the address of the reader's own server."""
        if "localhost:3000" in text:
            self.serve()
        return text.replace("localhost:3000", f"127.0.0.1:{self.server.port}")

    def load(self, block: Block) -> None:
        """Loads a plan; one that shows only a part gets endpoints to go with it."""
        whole = block.text if "endpoints:" in block.text else block.text + DIGITS
        path = self.folder / "shown.yaml"
        path.write_text(whole)
        plan.load(path)

    def run(
        self,
        command: list[str],
        place: str,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
    ) -> str:
        """Runs a command and returns what it prints."""
        ours = {"PATH": self.path, "CURL_HOME": str(self.folder)}
        done = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=env or {**self.server.environ, **ours},
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )
        assert done.returncode == 0, f"{place} fails:\n{done.stdout}{done.stderr}"
        return done.stdout


def check_alike(shown: Any, real: Any, place: str, key: str = "") -> None:
    """Compares an answer with the one shown: the same keys, types and sentences."""
    where = f"{place}, {key!r}: shown {shown!r}, answered {real!r}"
    if isinstance(shown, dict):
        assert isinstance(real, dict), where
        assert list(shown) == list(real), where
        for name in shown:
            check_alike(shown[name], real[name], place, name)
    elif isinstance(shown, list):
        assert isinstance(real, list), where
        assert len(shown) == len(real), where
        for one, other in zip(shown, real, strict=True):
            check_alike(one, other, place, key)
    elif isinstance(shown, str):
        assert isinstance(real, str), where
        assert shown == real or key in VARYING, where
    elif isinstance(shown, int | float):
        assert isinstance(real, int | float), where
    else:
        assert shown == real, where
