"""What a container of the image runs first: finds port and folders, then becomes BentoML's server.

    (nothing), serve     all services of the Bento
    serve-service NAME   that one service alone, as each Deployment on Kubernetes does
    healthcheck          asks the server of this container whether it can answer
    anything else        is run as it stands, `switchyard drift run` for example

It imports nothing of the project and runs without site-packages (`python -I -S`): a probe comes
every few seconds. BentoML does not restart workers where `BENTOML_CONTAINERIZED` is set, and ends
the serve with the last worker of any service; nothing else hangs on that variable, so it is not set
here, and workers are restarted in a container as anywhere.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["command", "environment", "link_models", "main", "port"]

PORTS: Final = ("SAGEMAKER_BIND_TO_PORT", "AIP_HTTP_PORT", "BENTOML_PORT", "PORT")
"""Variables that platforms name the port by; the first that is set counts."""

MODELS: Final = Path("/home/bentoml/models")
BENTO: Final = "/home/bentoml/bento"
HOME: Final = "/home/bentoml/switchyard"
SCRATCH: Final = Path("/tmp")
PORT_FILE: Final = SCRATCH / "switchyard.port"
BOARD: Final = SCRATCH / "Router.board"
"""Where the workers of a router that serves alone tell each other how they are."""

PROBE_SECONDS: Final = 4.0


def port(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Returns the port to serve on.

    Args:
        arguments: Of the container; SageMaker says `serve` and means 8080.
        environ: Environment variables.

    Raises:
        SystemExit: A variable holds no port.
    """
    for name in PORTS:
        given = environ.get(name, "").strip()
        if given:
            if not (given.isascii() and given.isdecimal()) or not 0 < int(given) < 65536:
                sys.exit(f"{name} is {given!r}, which is no port; take a number from 1 to 65535.")
            return int(given)
    return 8080 if arguments[:1] == ["serve"] else 3000


def command(arguments: Sequence[str], number: int) -> list[str]:
    """Returns what this process becomes.

    Args:
        arguments: Of the container.
        number: The port.

    Raises:
        SystemExit: The service to serve is not named.
    """
    bind = ["--port", str(number)]
    match list(arguments):
        case ["serve-service", name, *options]:
            # An import string, not the Bento's folder, makes the service the entry of this serve:
            # only then does BentoML take no pickled bodies over TCP.
            start = ["-m", "bentoml_cli._internal.start", "start-http-server", f"services:{name}"]
            place = ["--service-name", name, "--working-dir", f"{BENTO}/src"]
            return ["python", *start, *place, *_elsewhere(name), *bind, *options]
        case ["serve-service"]:
            sys.exit("serve-service needs the name of a service, such as Router or TorchHost.")
        case ["serve", *options]:
            return ["bentoml", "serve", BENTO, *bind, *options]
        case [first, *_] if not first.startswith("-"):
            return list(arguments)
    return ["bentoml", "serve", BENTO, *bind, *arguments]


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of the server; makes the folders that it names.

    State, log and added models lie in `SWITCHYARD_HOME`, which may be a volume. BentoML's own
    folder is emptied at start, so it belongs to this container alone.

    Raises:
        SystemExit: There is no folder that can be written.
    """
    found = {name: value for name, value in environ.items() if name != "BENTOML_CONTAINERIZED"}
    wanted = Path(found.get("SWITCHYARD_HOME") or HOME)
    home = next((each for each in (wanted, SCRATCH / "switchyard") if _writable(each)), None)
    scratch = Path(found.get("BENTOML_HOME") or SCRATCH / "bentoml")
    if home is None or not _writable(scratch) or not _writable(SCRATCH):
        sys.exit(
            f"Neither {wanted} nor {SCRATCH} can be written; with a read-only root file system, "
            f"mount a tmpfs or a volume there: --tmpfs {SCRATCH}."
        )
    if home != wanted:
        say(f"{wanted} cannot be written; state and log are kept in {home}, for this run only")
    found |= {"SWITCHYARD_HOME": str(home), "BENTOML_HOME": str(scratch)}
    store = scratch / "models"
    if not store.is_dir():
        (home / "models").mkdir(exist_ok=True)
        store.symlink_to(home / "models")
    link_models(MODELS, store)
    return found


def link_models(image: Path, store: Path) -> None:
    """Puts links to the image's model versions into BentoML's store, which can be written.

    So versions that are added while the container runs, and those of the image, are in one store.
    Containers that share the store may do so at once.
    """
    for version in sorted(image.glob("*/*/")):
        place = store / version.parent.name / version.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_symlink() and not place.exists():  # of an image that had it elsewhere
            place.unlink(missing_ok=True)
        with suppress(FileExistsError):
            place.symlink_to(version)


def healthy() -> bool:
    """Asks the server of this container whether it can answer."""
    try:
        connection = http.client.HTTPConnection(
            "127.0.0.1", int(PORT_FILE.read_text()), timeout=PROBE_SECONDS
        )
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, ValueError, http.client.HTTPException):
        return False


def say(sentence: str) -> None:
    """Tells whoever reads the container's log."""
    print(f"switchyard: {sentence}", file=sys.stderr, flush=True)


def main() -> None:
    """Becomes the server, as the same process: a signal to the container reaches it."""
    arguments = sys.argv[1:]
    if arguments == ["healthcheck"]:
        sys.exit(0 if healthy() else 1)
    number = port(arguments, os.environ)
    words = command(arguments, number)
    environ = environment(os.environ)
    PORT_FILE.write_text(str(number))
    BOARD.unlink(missing_ok=True)  # of this container before it was started again
    try:
        os.execvpe(words[0], words, environ)
    except OSError as error:
        sys.exit(f"{words[0]} cannot be run: {error.strerror}.")


def _elsewhere(name: str) -> list[str]:
    """Returns what keeps BentoML from making the controller within a router that serves alone.

    The two never call each other, so the socket of the one that runs elsewhere is never used; the
    board of the router's workers lies beside it.
    """
    socket = BOARD.with_name("Controller.sock")
    return ["--depends", f"Controller=file://{socket}"] if name == "Router" else []


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


if __name__ == "__main__":
    main()
