"""Bring your own model: from its file and a sample of rows to an endpoint that answers.

`add` proves that the model loads and answers before it changes anything. What it then changes,
the store, the plan and the alias, it changes in full or not at all.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models import infer, lock, prove, registry, request, store
from models.describe import Options
from models.manifest import Manifest
from models.prove import Proven
from models.registry import Tag
from models.schema import union
from models.source import identify
from switchyard import plan_edit, settings
from switchyard.errors import InvalidInput
from switchyard.plan import Plan
from switchyard.plan_edit import Addition, Staged
from switchyard.state import State

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Added", "Options", "add"]


@dataclass(frozen=True, slots=True)
class Added:
    """What `add` has done.

    Attributes:
        tag: The new version.
        alias: Alias that stands for it now.
        before: Version that the alias stood for, None if the alias is new.
        manifest: What is known of the model.
        unused: Columns of the sample that the model does not take.
        plan: The plan.
        endpoint: Endpoint that answers with it.
        variant: Name of the variant in it.
        share: Its share of the endpoint's traffic, as the plan says.
        defaulted: Endpoint that is marked as the plan's default now, because it was the only one
            before.
        curl: Command that asks it for the first row of the sample.
    """

    tag: Tag
    alias: str
    before: str | None
    manifest: Manifest
    unused: tuple[str, ...]
    plan: Path
    endpoint: str
    variant: str
    share: float
    defaulted: str | None
    curl: str


def add(
    name: str,
    model: Path,
    sample: Path,
    options: Options | None = None,
    *,
    endpoint: str | None = None,
    alias: str = "production",
    plan: Path | None = None,
    state: State | None = None,
) -> Added:
    """Stores a model, writes it into the plan and points an alias to it.

    Args:
        name: Name of the model, a new one or one that gets another version.
        model: A `.skops`, `.safetensors` or `.pt2` file, or the folder of a SavedModel.
        sample: Parquet or CSV file with rows of its input, and the truth if that is known.
        options: What the owner says of the model; the rest is inferred.
        endpoint: Endpoint that answers with it; without it, one of the model's name. One that the
            plan has gets the model as a variant with a share of 0.
        alias: Alias that the plan names.
        plan: The plan; without it, that of the settings.
        state: The state database; without it, that of the settings.

    Raises:
        SwitchyardError: Something is wrong; store, plan and aliases are as they were.
    """
    store.check_word("model name", name)
    store.check_word("alias", alias)
    options = options or Options()
    source = identify(model)
    rows, truth = prove.split(infer.read(sample), options.target)
    word = name.replace(".", "-")  # names in the plan hold no dots
    addition = Addition(endpoint or word, f"{name}:{alias}", (source.framework, word))
    opened = state or State.open()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            proven = prove.prove(source, Path(scratch), rows, truth, options)
            _check_name(name, proven.manifest)
            with plan_edit.stage(plan or settings.plan_path(), addition) as staged:
                _check_neighbours(staged.plan, addition.model, proven.manifest, opened)
                before = lock.aliases(opened).get((name, alias))
                version = _register(name, alias, proven, staged, opened)
    finally:
        if state is None:
            opened.close()
    return _added(Tag(name, version), alias, before, addition, staged, rows)


def _check_name(name: str, manifest: Manifest) -> None:
    """Refuses a name that belongs to something else."""
    stored = store.versions(name)
    if stored:
        now = stored[-1].manifest
        if (now.task, now.classes) != (manifest.task, manifest.classes):
            raise InvalidInput(
                f"The name {name!r} belongs to a model with {_says(now)}, and this one has "
                f"{_says(manifest)}; take another name."
            )
    elif store.is_foreign(name):
        raise InvalidInput(
            f"The name {name!r} belongs to a model in BentoML's store that Switchyard did not "
            "make; take another name."
        )


def _check_neighbours(plan: Plan, ref: str, manifest: Manifest, state: State) -> None:
    """Refuses a model that cannot answer beside the other variants of its endpoints."""
    for name, endpoint in plan.endpoints.items():
        refs = [variant.model for variant in endpoint.variants.values()]
        if ref not in refs:
            continue
        tags = [registry.resolve(other, state) for other in refs if other != ref]
        others = [store.manifest(tag.name, tag.version) for tag in tags]
        for other in others:
            if (other.task, other.classes) != (manifest.task, manifest.classes):
                raise InvalidInput(
                    f"The endpoint {name!r} answers with {_says(other)}, and this model has "
                    f"{_says(manifest)}; name another endpoint with --endpoint."
                )
        try:
            union([other.fields for other in others] + [manifest.fields])
        except ValueError as error:
            raise InvalidInput(
                f"The model does not fit beside the other variants of the endpoint {name!r}: "
                f"{error}; name another endpoint with --endpoint."
            ) from error


def _says(manifest: Manifest) -> str:
    if manifest.classes is None:
        return "a number for its answer"
    return f"the classes {', '.join(map(str, manifest.classes))}"


def _register(name: str, alias: str, proven: Proven, staged: Staged, state: State) -> str:
    """Does the three changes; if one fails, those before it are undone."""
    version = store.create(name, proven.manifest, proven.folder, proven.reference)
    try:
        staged.commit()
        try:
            lock.adopt(state)
            reason = f"added from {proven.source.path.name}"
            state.set_alias(name, alias, version, "models add", reason)
        except BaseException:
            staged.undo()
            raise
    except BaseException:
        store.discard(name, version)
        raise
    return version


def _added(
    tag: Tag,
    alias: str,
    before: str | None,
    addition: Addition,
    staged: Staged,
    rows: pd.DataFrame,
) -> Added:
    manifest = store.manifest(tag.name, tag.version)
    endpoint = staged.plan.endpoints[addition.endpoint]
    variant = staged.edit.variant
    share = endpoint.traffic.split[variant]
    ask_for_it = share < 1
    needs_token = ask_for_it and endpoint.forced_variant == "admin"
    return Added(
        tag=tag,
        alias=alias,
        before=before,
        manifest=manifest,
        unused=tuple(name for name in rows.columns if name not in manifest.fields.names),
        plan=staged.path,
        endpoint=addition.endpoint,
        variant=variant,
        share=share,
        defaulted=staged.edit.defaulted,
        curl=request.curl(
            addition.endpoint,
            request.record(manifest.fields, rows.iloc[0]),
            variant=variant if ask_for_it else None,
            token=str(settings.home() / "admin.token") if needs_token else None,
        ),
    )
