"""A model from an MLflow server: what the server knows of it, and its files.

MLflow's client runs in a process of its own, `python -m models.bring.mlflow_fetch`. There the
environment bounds how long it waits and how often it tries again (MLflow's own bounds add up to
many minutes), and keeps its usage statistics off.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from models.bring import child
from switchyard.errors import InvalidInput, ModelRefused, NotFound, SwitchyardError

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["SECONDS", "Fetched", "Reference", "fetch", "parse"]

SECONDS: Final = 1_800.0
"""How long fetching a model may take."""

BOUNDS: Final = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""MLflow's own settings, in seconds where they are times; whoever sets one has his way."""

QUIET: Final = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
"""Nothing is sent to anybody but the tracking server and where it keeps its artefacts."""

_LOGGED = re.compile(r"models:/(?P<word>m-[0-9a-f]{32})")
_VERSION = re.compile(r"models:/(?P<name>[^/@]+)/(?P<word>[0-9]+)")
_ALIAS = re.compile(r"models:/(?P<name>[^/@]+)@(?P<word>[^/@]+)")
_RUN = re.compile(r"runs:/(?P<word>[^/]+)/(?P<name>.+)")

_CAUSE = re.compile(r"Caused by (\w+)\(")
"""What stands in a long report of urllib3's, the error at the bottom of it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reference:
    """An address of a model in MLflow.

    Attributes:
        uri: As it was given.
        name: Name of the registered model, or the path below the run; None for a logged model.
        version: Version of the registered model.
        alias: Alias of the registered model.
        run: Id of the run.
        model: Id of the logged model.
    """

    uri: str
    name: str | None = None
    version: str | None = None
    alias: str | None = None
    run: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model's files and what the server knows of it.

    Attributes:
        folder: Folder with `MLmodel`.
        uri: Its address; for an alias, that of the version it stood for.
        name: Name of the registered model, None if it was not asked for by one.
        run_id: The run that made it, None if it has none.
        metrics: Figures of the run; those that are no finite numbers are left out.
        tags: Tags of the run, of the registered model and of its version, the later ones winning;
            MLflow's own are left out.
    """

    folder: Path
    uri: str
    name: str | None = None
    run_id: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def parse(uri: str) -> Reference:
    """Reads an address.

    Args:
        uri: `models:/name/version`, `models:/name@alias`, `models:/m-<id>` or `runs:/<id>/<path>`.

    Raises:
        InvalidInput: It has another form.
    """
    if found := _LOGGED.fullmatch(uri):
        return Reference(uri, model=found["word"])
    if found := _VERSION.fullmatch(uri):
        return Reference(uri, found["name"], version=found["word"])
    if found := _ALIAS.fullmatch(uri):
        return Reference(uri, found["name"], alias=found["word"])
    if found := _RUN.fullmatch(uri):
        return Reference(uri, found["name"], run=found["word"])
    raise InvalidInput(
        f"{uri!r} is no address of a model in MLflow; write models:/NAME/VERSION with a number, "
        "models:/NAME@ALIAS, runs:/RUN/PATH, or the path of a folder with an MLmodel file."
    )


def fetch(
    uri: str, folder: Path, tracking_uri: str | None = None, *, seconds: float = SECONDS
) -> Fetched:
    """Fetches a model.

    Args:
        uri: Its address, see `parse`.
        folder: Empty folder for its files.
        tracking_uri: Address of the tracking server; without it, that of `MLFLOW_TRACKING_URI`.
        seconds: Longest time it may take.

    Raises:
        InvalidInput: The address has another form, or no server is named.
        ModelRefused: MLflow's client is not installed.
        NotFound: The server has no such model, version, alias or run.
        SwitchyardError: The server does not answer, refuses, or the download broke off.
    """
    parse(uri)
    server = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or ""
    if urlsplit(server).scheme not in ("http", "https"):
        raise InvalidInput(
            f"{uri} lies on an MLflow server, and {_shown(server) or 'no address'} is not one; set "
            "MLFLOW_TRACKING_URI, or give --tracking-uri http://HOST:PORT."
        )
    env = {**BOUNDS, **os.environ, **QUIET, "MLFLOW_TRACKING_URI": server}
    job = {"uri": uri, "folder": str(folder), "server": server}
    ended = child.ask("models.bring.mlflow_fetch", job, seconds=seconds, env=env)
    match ended.answer:
        case {"found": dict(found)}:
            return Fetched(**{**found, "folder": Path(found["folder"])})
        case {"problem": str(sentence), "kind": str(kind)}:
            raise _KINDS[kind](sentence)
    raise SwitchyardError(f"The process that fetches {uri} {ended.how}.")


_KINDS: Final[dict[str, type[SwitchyardError]]] = {
    error.__name__: error for error in (SwitchyardError, NotFound, ModelRefused)
}


def _work(job: dict[str, Any]) -> dict[str, Any]:
    """Does the job of the process that `fetch` starts."""
    try:
        found = _found(parse(job["uri"]), Path(job["folder"]), job["server"])
    except SwitchyardError as error:
        return {"problem": error.message, "kind": type(error).__name__}
    return {"found": found}


def _found(asked: Reference, folder: Path, server: str) -> dict[str, Any]:
    try:
        from mlflow import MlflowClient, artifacts
    except ImportError as error:
        raise ModelRefused(
            f"{asked.uri} needs MLflow's client, which is not installed: "
            "pip install -c constraints.txt -e '.[mlflow]'."
        ) from error
    client = MlflowClient()
    uri, about = _asking(asked, server, lambda: _about(client, asked))
    about |= _asking(asked, server, lambda: _run(client, about["run_id"], about["tags"]))
    try:
        made = artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder))
    except Exception as error:
        raise _broken(asked, server, error) from error
    return {"folder": made, "uri": uri, **about}


def _about(client: MlflowClient, asked: Reference) -> tuple[str, dict[str, Any]]:
    """Returns the address of one version, and its name, run and tags."""
    if asked.run is not None:
        return asked.uri, {"run_id": client.get_run(asked.run).info.run_id, "tags": {}}
    if asked.model is not None:
        logged = client.get_logged_model(asked.model)
        return asked.uri, {"run_id": logged.source_run_id, "tags": _own(logged.tags)}
    name = str(asked.name)
    if asked.alias is not None:
        version = client.get_model_version_by_alias(name, asked.alias)
    else:
        version = client.get_model_version(name, str(asked.version))
    tags = {**client.get_registered_model(name).tags, **version.tags}
    about = {"name": name, "run_id": version.run_id or None, "tags": _own(tags)}
    return f"models:/{name}/{version.version}", about


def _run(client: MlflowClient, run_id: str | None, tags: dict[str, str]) -> dict[str, Any]:
    """Returns the figures of a run, and its tags below those that are known already."""
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return {}
    try:
        data = client.get_run(run_id).data
    except MlflowException as error:
        if _is_missing(error):
            return {}  # a run may be deleted for good while its model lives on
        raise
    metrics = {name: value for name, value in data.metrics.items() if math.isfinite(value)}
    return {"metrics": metrics, "tags": _own(data.tags) | tags}


def _own(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if not name.startswith("mlflow.")}


def _asking(asked: Reference, server: str, ask: Callable[[], T]) -> T:
    """Asks the server, and says in one sentence what it has against that."""
    from mlflow.exceptions import MlflowException, RestException

    try:
        return ask()
    except RestException as error:
        if _is_missing(error):
            raise NotFound(
                f"MLflow at {_shown(server)} has no {asked.uri}: {_said(error, server)}."
            ) from error
        raise SwitchyardError(
            f"MLflow at {_shown(server)} refuses {asked.uri}: {_said(error, server)}; where it "
            "wants to know who asks, set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
            "or MLFLOW_TRACKING_TOKEN."
        ) from error
    except MlflowException as error:
        raise SwitchyardError(
            f"No MLflow server answers at {_shown(server)} ({_said(error, server)}); see that it "
            "runs and that MLFLOW_TRACKING_URI or --tracking-uri names it."
        ) from error


def _broken(asked: Reference, server: str, error: Exception) -> SwitchyardError:
    if _is_missing(error):
        return NotFound(
            f"MLflow at {_shown(server)} has no files for {asked.uri}: {_said(error, server)}."
        )
    return SwitchyardError(
        f"The download of {asked.uri} from {_shown(server)} broke off ({_said(error, server)}); "
        "try again."
    )


def _is_missing(error: Exception) -> bool:
    """An alias that is not there comes as an invalid parameter."""
    code = getattr(error, "error_code", None)
    return code == "RESOURCE_DOES_NOT_EXIST" or (
        code == "INVALID_PARAMETER_VALUE" and "not found" in str(error)
    )


def _shown(server: str) -> str:
    """Returns an address without the password that may stand in it."""
    who, at, _ = urlsplit(server).netloc.rpartition("@")
    return server.replace(who + at, "", 1) if at else server


def _said(error: Exception, server: str) -> str:
    """Returns the gist of an error of MLflow's, without the password of the server's address."""
    text = " ".join(str(error).split()).replace(server, _shown(server))
    if cause := _CAUSE.search(text):
        return cause[1]
    code = getattr(error, "error_code", None)
    return text.removeprefix(f"{code}: ")[:300].rstrip(".") or type(error).__name__


if __name__ == "__main__":
    child.serve(_work)
