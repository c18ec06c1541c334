"""What is deployed: a Bento as its own files describe it.

Nothing is imported or started for it: `bento.yaml` says which services there are and what they
need, the frozen plan says how they are to run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast, get_args

from models.store import manifest, reference
from switchyard.errors import NotFound, PlanError, brief
from switchyard.plan import Framework, Plan, read_plan

__all__ = ["Bento", "Service", "find"]

NAME: Final = "router"
"""Name that `bentoml build` gives a Bento of this project."""

HOST_NAMES: Final = {f"{name}host": name for name in get_args(Framework)}
"""Framework by the lower-case name of its host's service."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service of a Bento.

    Attributes:
        name: Its name, such as `Router` or `TorchHost`.
        framework: Framework of a host; None for the router and the controller.
        workers: Its processes.
        cpu: Cores that it declares to need; None where it says nothing.
        gpu: GPUs that it declares to need.
        gpu_type: Kind of GPU, as the plan names it.
    """

    name: str
    framework: Framework | None
    workers: int
    cpu: float | None
    gpu: int
    gpu_type: str | None


@dataclass(frozen=True, slots=True)
class Bento:
    """One Bento of the local store.

    Attributes:
        tag: `name:version`.
        path: Its folder.
        services: Its services; the router comes first.
        models: Tags of its models, sorted.
        plan: Its frozen plan.
        aliases: Its frozen aliases: model to alias to version.
    """

    tag: str
    path: Path
    services: tuple[Service, ...]
    models: tuple[str, ...]
    plan: Plan
    aliases: dict[str, dict[str, str]]

    @property
    def version(self) -> str:
        """The part of the tag after the colon."""
        return self.tag.partition(":")[2]

    @property
    def hosts(self) -> tuple[Service, ...]:
        """The services that run models."""
        return tuple(each for each in self.services if each.framework is not None)

    def stable_model(self, endpoint: str) -> tuple[str, str]:
        """Returns name and version of the model of an endpoint's stable variant.

        Args:
            endpoint: Name of the endpoint.

        Raises:
            NotFound: The plan has no such endpoint.
        """
        section = self.plan.endpoint(endpoint)
        name, _, alias = section.variants[section.stable].model.partition(":")
        return name, self.aliases.get(name, {}).get(alias, alias)

    def sample(self, endpoint: str, rows: int = 1) -> list[dict[str, Any]]:
        """Returns rows of the reference data of an endpoint's stable model, as JSON takes them.

        Args:
            endpoint: Name of the endpoint.
            rows: How many of the first ones.

        Raises:
            NotFound: There is no such endpoint, or the store does not hold its model.
        """
        import orjson

        name, version = self.stable_model(endpoint)
        names = [field.name for field in manifest(name, version).fields]
        found = reference(name, version, rows)[names]
        # pandas writes NaN as null and times as ISO 8601, which is how requests write them.
        text = found.to_json(orient="records", date_format="iso", double_precision=15)
        return cast("list[dict[str, Any]]", orjson.loads(text))


def find(tag: str | None = None) -> Bento:
    """Returns a Bento of the local store, the newest one of this project without a tag.

    Args:
        tag: `name:version`, or `name` for its newest version.

    Raises:
        NotFound: The store has no such Bento, or only a damaged one.
        PlanError: Its plan cannot be read: it was not made by this project.
    """
    import bentoml
    from bentoml.exceptions import BentoMLException

    wanted = NAME if tag is None else tag
    try:
        made = bentoml.bentos.get(wanted)
    except (BentoMLException, ValueError) as error:
        raise NotFound(
            f"There is no Bento {wanted!r} in the store; `bentoml list` shows those that are "
            "there, `bentoml build` makes one."
        ) from error
    except Exception as error:  # a damaged bento.yaml fails in many ways
        raise NotFound(
            f"The Bento {wanted!r} cannot be read ({brief(error)}); build it again."
        ) from error
    path = Path(made.path)
    try:
        return _read(str(made.tag), path, made.info)
    except PlanError as error:
        raise PlanError(f"The Bento {made.tag} cannot be deployed: {error.message}") from error


def _read(tag: str, path: Path, info: Any) -> Bento:
    from models import lock

    code = path / "src"
    plan = read_plan(code / "switchyard.yaml")
    services = [_service(each.name, each.config) for each in info.services]
    entry = info.entry_service
    return Bento(
        tag=tag,
        path=path,
        services=tuple(sorted(services, key=lambda each: (each.name != entry, each.name))),
        models=tuple(sorted(str(each.tag) for each in info.all_models)),
        plan=plan,
        aliases=lock.read(code / lock.LOCK_FILE).aliases,
    )


def _service(name: str, config: Any) -> Service:
    needs = config.get("resources") or {}
    cpu, workers = needs.get("cpu"), config.get("workers")
    return Service(
        name=name,
        framework=cast("Framework | None", HOST_NAMES.get(name.lower())),
        workers=workers if isinstance(workers, int) else 1,
        cpu=None if cpu is None else float(cpu),
        gpu=int(needs.get("gpu") or 0),
        gpu_type=needs.get("gpu_type"),
    )
