"""Podman with podman-compose for tests, in a store of its own, and stand-ins for the images.

The stand-ins are Debian's Prometheus, Alertmanager, PostgreSQL and Redis, MLflow from PyPI, and a
server as light as can be: no registry of images is to be had where tests run. It takes some
minutes to make them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest
from tools_env import CACHE, once, python_tools, run

FOLDER = CACHE / "compose-engine"
COMPOSE = "podman-compose==1.6.0"
MLFLOW = f"mlflow=={version('mlflow-skinny')}"
MADE = f"7 {MLFLOW}"
"""Raised with every change of the stand-ins."""

DEBIAN = "trixie"
"""The release whose Alertmanager and PostgreSQL are of the versions of the images."""

FOR_DEBIAN = (
    *("install", "--quiet", "--no-compile", "--target", "mlflow", "--only-binary=:all:"),
    *("--python-version", "3.13", "--abi", "cp313", "--abi", "abi3", "--abi", "none"),
    *("--platform", "manylinux_2_28_x86_64", "--platform", "manylinux2014_x86_64"),
)
"""Words of pip that install for the Python of that release."""

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
RUN install -d -o 65534 -g 65534 /alertmanager && \\
    ln -s /usr/bin/prometheus-alertmanager /bin/alertmanager
USER 65534:65534
ENTRYPOINT ["/bin/alertmanager"]
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
    "mlflow": """\
COPY mlflow /opt/mlflow
ENV PYTHONPATH=/opt/mlflow
RUN cd /usr/local/bin && \\
    printf '#!/usr/bin/python3\\nfrom mlflow.cli import cli\\ncli()\\n' > mlflow && chmod 755 mlflow
RUN python -m compileall -q /opt/mlflow || true
""",
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
    environ = {
        **os.environ,
        "CONTAINERS_STORAGE_CONF": str(FOLDER / "storage.conf"),
        "CONTAINERS_CONF": str(FOLDER / "containers.conf"),
        "BUILDAH_ISOLATION": "chroot",
        "PATH": f"{python_tools('podman-compose', COMPOSE)}:{os.environ['PATH']}",
    }
    once(FOLDER.name, MADE, lambda folder: _make(folder, environ))
    return environ


def docker_programs() -> Path:
    """Returns a folder with Docker's client, and Compose as its plugin in `config`."""

    def make(folder: Path) -> None:
        packages = "--include=docker-cli,docker-compose"
        run(["mmdebstrap", "--quiet", "--variant=extract", packages, DEBIAN, "root"], folder)
        (folder / "bin").symlink_to("root/usr/bin")
        (folder / "config").mkdir()
        (folder / "config" / "cli-plugins").symlink_to("../root/usr/libexec/docker/cli-plugins")

    return once("docker-client", DEBIAN, make)


@contextmanager
def docker(environ: dict[str, str], folder: Path) -> Iterator[dict[str, str]]:
    """Runs what speaks Docker's protocol for podman; yields variables with which Docker asks it.

    Health checks are made here: podman leaves them to systemd, and Docker's daemon makes its own.
    """
    programs = docker_programs()
    host = f"unix://{folder / 'socket'}"
    service = subprocess.Popen(["podman", "system", "service", "--time=0", host], env=environ)
    done = threading.Event()

    def check() -> None:
        while not done.wait(1):
            words = ["podman", "ps", "--quiet"]
            found = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
            for container in found.stdout.split():
                words = ["podman", "healthcheck", "run", container]
                subprocess.run(words, env=environ, capture_output=True, check=False)

    checking = threading.Thread(target=check)
    checking.start()
    try:
        yield {
            "DOCKER_HOST": host,
            "DOCKER_CONFIG": str(programs / "config"),
            "PATH": f"{programs / 'bin'}:{environ['PATH']}",
        }
    finally:
        done.set()
        checking.join()
        service.kill()
        service.wait()


def _make(folder: Path, environ: dict[str, str]) -> None:
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/storage"\nrunroot = "{folder}/run"\n'
    )
    (folder / "containers.conf").write_text(
        "[containers]\n"
        'default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]\n'
        '[network]\nnetwork_backend = "netavark"\n'
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        f'helper_binaries_dir = ["{folder}/network/usr/lib/podman", "/usr/libexec/podman"]\n'
    )
    _network(folder / "network", environ)
    _base(folder, environ)
    context = folder / "context"
    context.mkdir()
    (context / "postgresql.sh").write_text(POSTGRESQL)
    shutil.copy(Path(__file__).with_name("compose_stand_in.py"), context)
    run([sys.executable, "-m", "pip", *FOR_DEBIAN, MLFLOW], context, environ)
    for name, recipe in PARTS.items():
        _image(name, "1", recipe, context, environ)
    for kind in KINDS:
        _image("switchyard", kind, SERVER.format(kind=kind), context, environ)


def _network(folder: Path, environ: dict[str, str]) -> None:
    """Brings what gives containers names in their network, for this store alone."""
    folder.mkdir()
    run(["apt-get", "download", "-qq", "netavark", "aardvark-dns"], folder, environ)
    for package in folder.glob("*.deb"):
        run(["dpkg", "-x", package.name, "."], folder, environ)


def _base(folder: Path, environ: dict[str, str]) -> None:
    container = run(["buildah", "from", "scratch"], folder, environ).strip()
    root = run(["buildah", "mount", container], folder, environ).strip()
    small = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")]
    packages = ["--variant=minbase", f"--include={PACKAGES}", *small, DEBIAN, root]
    run(["mmdebstrap", "--quiet", *packages], folder, environ)
    (Path(root) / "usr" / "bin" / "python").symlink_to("python3")
    run(["buildah", "umount", container], folder, environ)
    run(["buildah", "commit", "--quiet", "--rm", container, BASE], folder, environ)


def _image(name: str, tag: str, recipe: str, context: Path, environ: dict[str, str]) -> None:
    (context / "Containerfile").write_text(f"FROM {BASE}\n{recipe}")
    words = ["buildah", "build", "--quiet", "--format", "docker", "--network", "host"]
    run([*words, "--tag", f"localhost/{name}:{tag}", "."], context, environ)
