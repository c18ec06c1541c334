"""Podman with podman-compose for tests, in a store of its own, and stand-ins for the images.

The stand-ins are Debian's Prometheus, Alertmanager, PostgreSQL and Redis, and a server as light as
can be: no registry of images is to be had where tests run. All is made once, in
`.cache/compose-engine` below the project's root; it takes some minutes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.server import ROOT
from mlflow_server import UNREACHABLE

FOLDER = ROOT / ".cache" / "compose-engine"
VERSION = "1.6.0"
MADE = "5"
"""Raised with every change of the stand-ins."""

PROGRAMS = ("podman", "buildah", "runc", "mmdebstrap", "apt-get", "dpkg")
PACKAGES = "python3,prometheus,prometheus-alertmanager,postgresql,redis-server,wget"
KINDS = ("good", "better", "wrong", "never", "dead")
BASE = "localhost/debian-parts:1"

POSTGRESQL = """\
set -e
[ -s "$PGDATA/PG_VERSION" ] || {
  printf %s "$POSTGRES_PASSWORD" > /tmp/password
  initdb -U "$POSTGRES_USER" -A scram-sha-256 --pwfile=/tmp/password --no-sync > /dev/null
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
  postgres --single -D "$PGDATA" postgres > /dev/null <<< "CREATE DATABASE $POSTGRES_USER"
}
exec postgres -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql
"""

PARTS = {
    "prometheus": """\
RUN install -d -o 65534 -g 65534 /prometheus
USER 65534:65534
ENTRYPOINT ["prometheus"]
""",
    "alertmanager": """\
RUN install -d -o 65534 -g 65534 /alertmanager
USER 65534:65534
ENTRYPOINT ["prometheus-alertmanager"]
""",
    "postgresql": """\
COPY postgresql.sh /start.sh
RUN usermod -u 70 postgres && groupmod -g 70 postgres && \\
    install -d -o 70 -g 70 -m 0700 /var/lib/postgresql/data && \\
    mkdir -p /run/postgresql && chown 70:70 /run/postgresql && chmod 1777 /run/postgresql && \\
    ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/
ENV PGDATA=/var/lib/postgresql/data
ENTRYPOINT ["bash", "/start.sh"]
""",
    "redis": "CMD []\n",
}

SERVER = """\
COPY compose_stand_in.py /stand_in.py
RUN groupadd -g 1034 bentoml && useradd -u 1034 -g 1034 bentoml && \\
    install -d -o bentoml -g bentoml /home/bentoml/switchyard
USER 1034:1034
ENTRYPOINT ["python", "-B", "/stand_in.py", "{kind}"]
"""


def environment() -> dict[str, str]:
    """Returns variables with which podman and podman-compose use the store; it is made first."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        pytest.skip(f"not installed here: {', '.join(absent)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    environ = {
        **os.environ,
        "CONTAINERS_STORAGE_CONF": str(FOLDER / "storage.conf"),
        "CONTAINERS_CONF": str(FOLDER / "containers.conf"),
        "BUILDAH_ISOLATION": "chroot",
        "PATH": f"{FOLDER / 'compose' / 'bin'}:{os.environ['PATH']}",
    }
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (FOLDER / f"ready-{MADE}").exists():
            _make(environ)
            (FOLDER / f"ready-{MADE}").touch()
    return environ


def _make(environ: dict[str, str]) -> None:
    (FOLDER / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{FOLDER}/storage"\nrunroot = "{FOLDER}/run"\n'
    )
    (FOLDER / "containers.conf").write_text(
        "[containers]\n"
        'default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]\n'
        '[network]\nnetwork_backend = "netavark"\n'
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        f'helper_binaries_dir = ["{FOLDER}/network/usr/lib/podman", "/usr/libexec/podman"]\n'
    )
    python = FOLDER / "compose" / "bin" / "python"
    _run([sys.executable, "-m", "venv", str(FOLDER / "compose")], environ)
    _run([str(python), "-m", "pip", "install", "-q", f"podman-compose=={VERSION}"], environ)
    _network(environ)
    _base(environ)
    context = FOLDER / "context"
    context.mkdir(exist_ok=True)
    (context / "postgresql.sh").write_text(POSTGRESQL)
    shutil.copy(Path(__file__).with_name("compose_stand_in.py"), context)
    for name, recipe in PARTS.items():
        _image(name, "1", recipe, context, environ)
    for kind in KINDS:
        _image("switchyard", kind, SERVER.format(kind=kind), context, environ)


def _network(environ: dict[str, str]) -> None:
    """Brings what gives containers names in their network, for this store alone."""
    folder = FOLDER / "network"
    folder.mkdir(exist_ok=True)
    _run(["apt-get", "download", "-qq", "netavark", "aardvark-dns"], environ, folder)
    for package in folder.glob("*.deb"):
        _run(["dpkg", "-x", package.name, "."], environ, folder)


def _base(environ: dict[str, str]) -> None:
    if BASE in _run(["buildah", "images", "--format", "{{.Name}}:{{.Tag}}"], environ).split():
        return
    container = _run(["buildah", "from", "scratch"], environ).strip()
    root = _run(["buildah", "mount", container], environ).strip()
    small = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")]
    packages = ["--variant=minbase", f"--include={PACKAGES}", *small, "bookworm", root]
    _run(["mmdebstrap", "--quiet", *packages], environ)
    (Path(root) / "usr" / "bin" / "python").symlink_to("python3")
    _run(["buildah", "umount", container], environ)
    _run(["buildah", "commit", "--quiet", "--rm", container, BASE], environ)


def _image(name: str, tag: str, recipe: str, context: Path, environ: dict[str, str]) -> None:
    (context / "Containerfile").write_text(f"FROM {BASE}\n{recipe}")
    words = ["buildah", "build", "--quiet", "--format", "docker", "--network", "host"]
    _run([*words, "--tag", f"localhost/{name}:{tag}", str(context)], environ)


def _run(words: list[str], environ: dict[str, str], cwd: Path | None = None) -> str:
    done = subprocess.run(
        words, env=environ, cwd=cwd, capture_output=True, text=True, timeout=280, check=False
    )
    if done.returncode == 0:
        return done.stdout
    if any(word in done.stderr for word in (*UNREACHABLE, "Could not resolve")):
        pytest.skip(f"a package registry is out of reach: {done.stderr[-300:]}")
    pytest.fail(f"{' '.join(words[:3])} failed:\n{done.stderr[-2000:]}")
