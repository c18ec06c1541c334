"""What the environment decides: folders, the plan's path, the database and the tokens.

| variable                  | meaning                                    | default               |
|---------------------------|--------------------------------------------|-----------------------|
| `SWITCHYARD_HOME`         | folder of state, logs and tokens           | `.switchyard`         |
| `SWITCHYARD_PLAN`         | the plan                                   | `switchyard.yaml`     |
| `SWITCHYARD_DATABASE_URL` | state database, `sqlite:` or `postgresql:` | `state.db` in home    |
| `SWITCHYARD_ADMIN_TOKEN`  | bearer token of the admin routes           | `admin.token` in home |
| `SWITCHYARD_HOP_TOKEN`    | shared by router and hosts over TCP        | `hop.token` in home   |
| `SWITCHYARD_LOG_SALT`     | goes into the hashes of logged sticky keys | `key.salt` in home    |
| `SWITCHYARD_LOG_STORE`    | takes the place of the plan's `log.store`  | the plan's            |
| `SWITCHYARD_MODE`         | takes the place of the plan's `mode`       | the plan's            |
| `SWITCHYARD_VARIANT`      | `endpoint=variant` that takes all traffic  | the plan's split      |
| `SWITCHYARD_VERTEX_MB`    | largest body that Vertex AI carries        | 1.5                   |

What takes the place of the plan's is for one image that runs in many places: what a place has to
offer is not known when its plan is frozen. Defaults hang on the place of this file, never on the
working folder: all processes of one serve, and a Bento unpacked anywhere, must see the same files.
An empty variable counts as not set.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from math import inf
from pathlib import Path
from typing import Final

from switchyard.errors import PlanError, SwitchyardError

__all__ = [
    "ROOT",
    "admin_token",
    "database_url",
    "home",
    "hop_token",
    "log_salt",
    "log_store",
    "mode",
    "plan_path",
    "variant",
    "vertex_megabytes",
    "vertex_routes",
]

ROOT: Final = Path(__file__).resolve().parent.parent
"""Folder of the project, in a checkout and in a Bento alike."""


def home() -> Path:
    """Returns the folder of state, logs and tokens; it is made, for its owner only, on first use.

    Raises:
        SwitchyardError: The folder cannot be made.
    """
    named = os.environ.get("SWITCHYARD_HOME")
    folder = Path(named).expanduser().absolute() if named else ROOT / ".switchyard"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SwitchyardError(
            f"The folder {folder} cannot be made ({error.strerror}); "
            "set SWITCHYARD_HOME to a folder that can be written."
        ) from error
    return folder


def plan_path() -> Path:
    """Returns the path of the plan, whether or not there is a file."""
    named = os.environ.get("SWITCHYARD_PLAN")
    return Path(named).expanduser().absolute() if named else ROOT / "switchyard.yaml"


def database_url() -> str:
    """Returns the URL of the state database, as SQLAlchemy writes it."""
    return os.environ.get("SWITCHYARD_DATABASE_URL") or f"sqlite:///{home() / 'state.db'}"


def admin_token() -> str:
    """Returns the bearer token of the admin routes; it is made on first use.

    Raises:
        SwitchyardError: The token's file cannot be read or written.
    """
    return _token("SWITCHYARD_ADMIN_TOKEN", "admin.token")


def hop_token() -> str:
    """Returns the token that router and hosts share over TCP; it is made on first use.

    Raises:
        SwitchyardError: The token's file cannot be read or written.
    """
    return _token("SWITCHYARD_HOP_TOKEN", "hop.token")


def log_salt() -> bytes | None:
    """Returns the secret that machines with a log in common hash keys with.

    None where nothing is set: then each home has its own, and nobody can tell that a key on one
    machine is the same as on another.
    """
    given = os.environ.get("SWITCHYARD_LOG_SALT", "").strip()
    return hashlib.blake2b(given.encode(), digest_size=32).digest() if given else None


def log_store() -> str | None:
    """Returns the URL that takes the place of the plan's `log.store`, None if none does."""
    return os.environ.get("SWITCHYARD_LOG_STORE", "").strip() or None


def mode() -> str | None:
    """Returns what takes the place of the plan's `mode`, None if nothing does."""
    return os.environ.get("SWITCHYARD_MODE", "").strip() or None


def vertex_routes() -> tuple[str | None, str | None]:
    """Returns the paths of predictions and of probes that Vertex AI asks for, None elsewhere.

    Raises:
        SwitchyardError: What is set is no path.
    """
    return _route("AIP_PREDICT_ROUTE"), _route("AIP_HEALTH_ROUTE")


def _route(name: str) -> str | None:
    given = os.environ.get(name, "").strip()
    if given and not given.startswith("/"):
        raise SwitchyardError(f"{name} must be a path that begins with '/', not {given!r}.")
    return given or None


def vertex_megabytes() -> float:
    """Returns the size of the largest body, in MB, that Vertex AI carries to us and back.

    1.5 is the limit of its shared public endpoints; dedicated and private ones carry 10.

    Raises:
        SwitchyardError: What is set is no such size.
    """
    given = os.environ.get("SWITCHYARD_VERTEX_MB", "").strip() or "1.5"
    try:
        size = float(given)
    except ValueError:
        size = 0.0
    if not 0 < size < inf:
        raise SwitchyardError(f"SWITCHYARD_VERTEX_MB must be a number above 0, not {given!r}.")
    return size


def variant() -> tuple[str, str] | None:
    """Returns endpoint and variant that takes all its traffic here, None if nothing says so.

    Raises:
        PlanError: The variable does not look like 'endpoint=variant'.
    """
    given = os.environ.get("SWITCHYARD_VARIANT", "").strip()
    endpoint, _, name = given.partition("=")
    if given and not (endpoint and name):
        raise PlanError(
            f"SWITCHYARD_VARIANT is {given!r}; it must look like 'endpoint=variant', such as "
            "'flights=torch'."
        )
    return (endpoint, name) if given else None


def _token(variable: str, name: str) -> str:
    given = os.environ.get(variable, "").strip()
    if given:
        return given
    path = home() / name
    try:
        if not path.exists():
            _create(path, secrets.token_urlsafe(32))
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SwitchyardError(
            f"The token in {path} cannot be used ({error}); "
            f"make the file readable or set {variable}."
        ) from error
    if not token:
        raise SwitchyardError(f"{path} is empty; delete it so that a new token is made.")
    return token


def _create(path: Path, token: str) -> None:
    """Puts a token in place, unless another process was first.

    A link to a finished file appears whole or not at all, so no process ever reads half a token,
    and the link of a second process fails: all end up with the first one's token.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(token + "\n")
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()
