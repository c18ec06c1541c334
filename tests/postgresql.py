"""A real PostgreSQL server for tests, which they may also stop and start again."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa


@dataclass
class Postgresql:
    """A server in a folder of its own, reached by a socket in it."""

    folder: Path
    programs: Path
    user: int | None
    made: int = field(default=0, init=False)

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off"
        self._run("pg_ctl", "-l", str(self.folder / "log"), "-o", options, "-w", "start")

    def stop(self) -> None:
        """Ends it at once, with all connections."""
        self._run("pg_ctl", "-m", "immediate", "-w", "stop")

    def fresh(self) -> str:
        """Makes an empty database and returns its URL."""
        self.made += 1
        url = f"postgresql+psycopg://switchyard@/postgres?host={self.folder}"
        admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with admin.connect() as db:
            db.execute(sa.text(f"CREATE DATABASE t{self.made}"))
        admin.dispose()
        return f"postgresql://switchyard@/t{self.made}?host={self.folder}"

    def init(self) -> None:
        self._run("initdb", "-U", "switchyard", "-A", "trust", "--no-sync")

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self.programs / program), "-D", str(self.folder / "data"), *arguments],
            check=True,
            user=self.user,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
        )


def programs() -> Path | None:
    """The folder of PostgreSQL's programs; None where it is not installed."""
    initdb = shutil.which("initdb") or next(
        map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None
    )
    return None if initdb is None else Path(initdb).resolve().parent


@contextmanager
def serving() -> Iterator[Postgresql]:
    """Runs a server; skips the test where PostgreSQL is not installed."""
    installed = programs()
    if installed is None:
        pytest.skip("PostgreSQL's initdb is not installed (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="PostgreSQL's driver: pip install 'psycopg[binary]'")
    folder = Path(tempfile.mkdtemp(prefix="switchyard-pg-"))
    # PostgreSQL refuses to run as root, and pytest's own folders are closed to other users.
    user = None
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody").pw_uid
        os.chown(folder, user, -1)
    server = Postgresql(folder, installed, user)
    server.init()
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
