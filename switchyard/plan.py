"""The plan, `switchyard.yaml`: what is served, by which variants, and how traffic is split.

`load` reads the file into frozen, typed settings. Whatever is wrong with it stops the start with
one sentence that names the file, the line and the key. Which framework runs a variant does not
stand here: the manifest of the variant's model says so.
"""

from __future__ import annotations

from math import fsum
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field as Setting
from pydantic import (
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from switchyard import settings
from switchyard.errors import Conflict, NotFound, PlanError
from switchyard.formats import BaseUrl, Name, Reference
from switchyard.gates import Gate
from switchyard.plan_monitoring import Drift, Logging, LogSettings
from switchyard.plan_problems import first_problem, hint, problem, wrong
from switchyard.plan_rollout import CANARY, Breaker, Canary, Metrics
from switchyard.section import Section
from switchyard.yaml_lines import YamlProblem, read

__all__ = [
    "Endpoint",
    "Framework",
    "Host",
    "Limits",
    "Plan",
    "Resources",
    "RouterSettings",
    "Traffic",
    "Variant",
    "load",
    "read_plan",
]

Framework = Literal["sklearn", "torch", "tensorflow", "onnx"]

SUM_TOLERANCE: Final = 1e-6


class Variant(Section):
    """A named way to answer an endpoint.

    Attributes:
        model: `name:alias` or `name:version` in the registry.
    """

    model: Reference


class Traffic(Section):
    """Which part of the traffic goes where.

    Attributes:
        split: Share of each variant, in [0, 1]; in a loaded plan every variant has one, and they
            sum to 1.
        shadow: Share of the requests that is mirrored to a variant after the answer, in [0, 1].
        coverage: Share of the keys that take part in the split; the others go to `stable`.
    """

    split: dict[str, float] = Setting(default_factory=dict)
    shadow: dict[str, float] = Setting(default_factory=dict)
    coverage: Annotated[float, Setting(ge=0, le=1)] = 1.0

    @field_validator("split", "shadow")
    @classmethod
    def _shares(cls, shares: dict[str, float]) -> dict[str, float]:
        for variant, share in shares.items():
            if not 0 <= share <= 1:
                raise wrong(f"is {share:g}, but a share lies between 0 and 1", variant)
        return shares


class Limits(Section):
    """What one request of an endpoint may cost.

    Attributes:
        max_rows: Rows of one request.
        max_body_mb: Size of its body, in units of 1,048,576 bytes.
        max_queue_ms: Longest wait for a free slot of a host before the request is shed.
        timeout_ms: Deadline where the request names none.
    """

    max_rows: PositiveInt = 1024
    max_body_mb: PositiveFloat = 8
    max_queue_ms: PositiveFloat = 200
    timeout_ms: PositiveFloat = 2000


class Endpoint(Section):
    """What a caller asks for.

    Attributes:
        default: Whether it answers requests that name no endpoint.
        variants: Its variants by name, at least one.
        stable: The variant that takes all traffic where nothing else is said.
        traffic: The split and the shadow; without a split all goes to `stable`.
        forced_variant: Who may ask for a variant.
        limits: What one request may cost.
        gates: Rules that a version must pass before an alias of a variant moves to it.
        key_field: Field whose value is the sticky key of requests that name none.
        fallback: Variant that answers where another cannot: true for `stable`, or its name.
        breaker: When a variant that fails is left alone for a while.
        metrics: What variants are compared by.
        canary: How a new version takes over step by step.
        drift: How its traffic is compared with the reference of its models.
        redact: Fields whose values are not stored: their columns of the log are null. One that is
            the `key_field` is stored as it comes, beside the key's hash, unless it stands here.
        drop: Fields that have no column in the log.
    """

    default: bool = False
    variants: Annotated[dict[Name, Variant], Setting(min_length=1)]
    stable: str
    traffic: Traffic = Setting(default_factory=Traffic, validate_default=True)
    forced_variant: Literal["anyone", "admin"] = "admin"
    limits: Limits = Setting(default_factory=Limits)
    gates: list[Gate] = Setting(default_factory=list)
    key_field: str | None = None
    fallback: bool | str = False
    breaker: Breaker = Setting(default_factory=Breaker)
    metrics: Metrics | None = None
    canary: Canary = Setting(default_factory=Canary)
    drift: Drift = Setting(default_factory=Drift)
    redact: list[str] = Setting(default_factory=list)
    drop: list[str] = Setting(default_factory=list)

    @field_validator("variants")
    @classmethod
    def _no_canary(cls, variants: dict[str, Variant]) -> dict[str, Variant]:
        if CANARY in variants:
            raise wrong(
                "is the name of the variant that `canary start` makes; take another", CANARY
            )
        return variants

    @field_validator("stable")
    @classmethod
    def _stable_known(cls, stable: str, info: ValidationInfo) -> str:
        variants = tuple(info.data.get("variants", (stable,)))
        if stable not in variants:
            raise wrong(f"is {stable!r}; {hint(stable, variants, 'the variants are')}")
        return stable

    @field_validator("traffic")
    @classmethod
    def _complete(cls, traffic: Traffic, info: ValidationInfo) -> Traffic:
        if not {"variants", "stable"} <= info.data.keys():
            return traffic  # those are wrong themselves and reported
        variants = tuple(info.data["variants"])
        for part, shares in (("split", traffic.split), ("shadow", traffic.shadow)):
            for name in shares:
                if name not in variants:
                    known = hint(name, variants, "the variants are")
                    raise wrong(f"is no variant of this endpoint; {known}", part, name)
        split = traffic.split or {info.data["stable"]: 1.0}
        total = fsum(split.values())
        if abs(total - 1) > SUM_TOLERANCE:
            raise wrong(f"sums to {total:.10g}, but the shares must sum to 1", "split")
        return traffic.model_copy(
            update={"split": {name: split.get(name, 0.0) for name in variants}}
        )

    @field_validator("drop")
    @classmethod
    def _not_redacted(cls, drop: list[str], info: ValidationInfo) -> list[str]:
        for place, name in enumerate(drop):
            if name in info.data.get("redact", ()):
                raise wrong(f"is {name!r}, which 'redact' names already; take it out there", place)
        return drop

    @model_validator(mode="after")
    def _names_known(self) -> Endpoint:
        named = {
            "fallback": self.fallback,
            "metrics.control": self.metrics and self.metrics.control,
        }
        for place, name in named.items():
            if isinstance(name, str) and name not in self.variants:
                known = hint(name, tuple(self.variants), "the variants are")
                raise wrong(f"is {name!r}; {known}", *place.split("."))
        for name in self.canary.guards.metrics:
            if self.metrics is None or name not in self.metrics.all:
                raise wrong(
                    "is no metric of this endpoint; declare it under 'metrics'",
                    *("canary", "guards", "metrics", name),
                )
        return self

    @property
    def fallback_variant(self) -> str | None:
        """Name of the variant that answers where another cannot, None if none may."""
        if isinstance(self.fallback, str):
            return self.fallback
        return self.stable if self.fallback else None


class Resources(Section):
    """What BentoML's `resources` of a host declare.

    Attributes:
        cpu: Cores.
        gpu: GPUs; left out where the host needs none.
        gpu_type: Kind of GPU, as the place where it is deployed names it.
    """

    cpu: PositiveFloat | None = None
    gpu: int | None = None
    gpu_type: str | None = None

    @field_validator("gpu")
    @classmethod
    def _at_least_one(cls, gpu: int | None) -> int | None:
        if gpu is not None and gpu < 1:
            raise wrong(f"is {gpu}; leave the key out for a host without a GPU")
        return gpu


class Host(Section):
    """How the host of one framework runs.

    Attributes:
        workers: Processes.
        threads: Threads of the framework in each process.
        resources: What it declares to need.
        gpu_required: Whether it refuses to start where the GPU that it declares is missing.
        url: Where it is reached when it is not started together with the router.
    """

    workers: PositiveInt = 1
    threads: PositiveInt = 1
    resources: Resources = Setting(default_factory=Resources)
    gpu_required: bool = False
    url: BaseUrl | None = None

    @model_validator(mode="after")
    def _gpu_declared(self) -> Host:
        if self.gpu_required and self.resources.gpu is None:
            raise wrong("is true, but resources.gpu declares none; add 'gpu: 1'", "gpu_required")
        return self


class RouterSettings(Section):
    """How the router runs.

    Attributes:
        workers: Processes that share port 3000.
    """

    workers: PositiveInt = 1


class Plan(Section):
    """The whole plan.

    Attributes:
        endpoints: Endpoints by name, at least one.
        hosts: Settings of hosts by framework; one that is not named runs with the defaults.
        router: Settings of the router.
        auth: Whether `/predict` and `/feedback` are `open` or need an API key.
        mode: `live`, or `static`: the plan is frozen, and admin writes are refused.
        log: Settings of the prediction log.
        logging: What the processes log about themselves.
    """

    endpoints: Annotated[dict[Name, Endpoint], Setting(min_length=1)]
    hosts: dict[Framework, Host] = Setting(default_factory=dict)
    router: RouterSettings = Setting(default_factory=RouterSettings)
    auth: Literal["open", "required"] = "open"
    mode: Literal["live", "static"] = "live"
    log: LogSettings = Setting(default_factory=LogSettings)
    logging: Logging = Setting(default_factory=Logging)

    @field_validator("endpoints")
    @classmethod
    def _one_default(cls, endpoints: dict[str, Endpoint]) -> dict[str, Endpoint]:
        marked = [name for name, endpoint in endpoints.items() if endpoint.default]
        if len(marked) > 1:
            raise wrong(
                f"is true, but {marked[0]!r} is the default already; mark one endpoint only",
                marked[1],
                "default",
            )
        return endpoints

    @property
    def default_endpoint(self) -> str | None:
        """The endpoint of requests that name none: the one marked, or the only one."""
        if len(self.endpoints) == 1:
            return next(iter(self.endpoints))
        return next((name for name, endpoint in self.endpoints.items() if endpoint.default), None)

    def endpoint(self, name: str) -> Endpoint:
        """Returns the settings of an endpoint.

        Raises:
            NotFound: The plan has no such endpoint.
        """
        if name not in self.endpoints:
            known = ", ".join(self.endpoints)
            raise NotFound(f"The plan has no endpoint {name!r}; it has {known}.")
        return self.endpoints[name]

    def check_changeable(self) -> None:
        """Refuses changes while it is served.

        Raises:
            Conflict: The plan is static.
        """
        if self.mode == "static":
            raise Conflict("The plan says 'mode: static': nothing is changed while it is served.")

    def host(self, framework: Framework) -> Host:
        """Returns the settings of a framework's host, the defaults where the plan has none."""
        return self.hosts.get(framework) or Host()


def load(path: Path | None = None) -> Plan:
    """Reads and checks the plan that is served here, with what the environment puts in its place.

    Args:
        path: The file; without it, the one that `switchyard.settings.plan_path` names.

    Raises:
        PlanError: The file is missing or wrong, or a variable is; one sentence that names it.
    """
    return _in_place(read_plan(path or settings.plan_path()))


def read_plan(path: Path) -> Plan:
    """Reads and checks a plan as it is written.

    Args:
        path: The file.

    Raises:
        PlanError: The file is missing or wrong; one sentence with file, line and key.
    """
    try:
        value, lines = read(path)
    except YamlProblem as problem:
        raise PlanError(str(problem)) from problem
    if value is None:
        raise PlanError(f"{path}, line 1: the plan is empty; it needs the key 'endpoints'.")
    try:
        return Plan.model_validate(value)
    except ValidationError as error:
        raise PlanError(first_problem(error, path, lines)) from error


def _in_place(plan: Plan) -> Plan:
    """Returns the plan as the environment says that it is to be served in this place."""
    mode, store = settings.mode(), settings.log_store()
    if mode is not None and mode not in ("live", "static"):
        raise PlanError(f"SWITCHYARD_MODE is {mode!r}; it must be 'live' or 'static'.")
    if store is not None:
        try:
            log = LogSettings.model_validate({**plan.log.model_dump(), "store": store})
        except ValidationError as error:
            clause = problem(error).removeprefix("store ")
            raise PlanError(f"SWITCHYARD_LOG_STORE {clause}.") from None
        plan = plan.model_copy(update={"log": log})
    if (pinned := settings.variant()) is not None:
        plan = _pinned(plan, *pinned)
    return plan if mode is None else plan.model_copy(update={"mode": mode})


def _pinned(plan: Plan, name: str, variant: str) -> Plan:
    """Returns the plan with all traffic of an endpoint on one variant: others split before us."""
    if name not in plan.endpoints or variant not in plan.endpoints[name].variants:
        raise PlanError(
            f"SWITCHYARD_VARIANT is '{name}={variant}', but the plan has no such endpoint and "
            "variant."
        )
    endpoint = plan.endpoints[name]
    split = {each: float(each == variant) for each in endpoint.variants}
    changed = endpoint.model_copy(update={"traffic": Traffic(split=split)})
    return plan.model_copy(update={"endpoints": {**plan.endpoints, name: changed}})
