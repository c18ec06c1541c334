"""Bring your own model: from it and a sample of rows to an endpoint that answers.

`add` proves that the model loads and answers before it changes anything. What it then changes,
the store, the plan and the alias, it changes in full or not at all.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import lock, registry, store
from models.bring import corrections, infer, prove, request
from models.bring.accept import bring
from models.bring.describe import Options
from models.bring.prove import Proven
from models.lifecycle import fit
from models.manifest import Manifest
from models.registry import Tag
from switchyard import plan_edit, settings
from switchyard.errors import InvalidInput
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
        alias: Alias that the plan names.
        current: Version that the alias still stands for, until this one is promoted; None if it
            stands for this one.
        manifest: What is known of the model.
        unused: Columns of the sample that the model does not take.
        plan: The plan.
        endpoint: Endpoint that answers with it.
        variant: Name of the variant in it.
        share: Its share of the endpoint's traffic, as the plan says.
        defaulted: Endpoint that is marked as the plan's default now, because it was the only one
            before.
        curl: Command that asks it for the first row of the sample.
        notes: What else its owner should know, in sentences.
    """

    tag: Tag
    alias: str
    current: str | None
    manifest: Manifest
    unused: tuple[str, ...]
    plan: Path
    endpoint: str
    variant: str
    share: float
    defaulted: str | None
    curl: str
    notes: tuple[str, ...]


def add(
    name: str,
    model: Any,
    sample: Path | str | pd.DataFrame,
    options: Options | None = None,
    *,
    endpoint: str | None = None,
    alias: str = "production",
    plan: Path | None = None,
    state: State | None = None,
) -> Added:
    """Stores a model, writes it into the plan and points an alias to it, if that is a new one.

    Args:
        name: Name of the model, a new one or one that gets another version.
        model: Path of a file or of a SavedModel's folder, or the model itself: a fitted
            scikit-learn estimator, a `torch.nn.Module`, a Keras model or a `tf.Module` (see
            `models.bring.accept`).
        sample: Rows of its input, and the truth if that is known; a Parquet or CSV file of them.
        options: What the owner says of the model; the rest is inferred.
        endpoint: Endpoint that answers with it; without it, one of the model's name. One that the
            plan has gets the model as a variant with a share of 0.
        alias: Alias that the plan names. If it stands for a version already, it stays there, and
            `models.lifecycle.promote` moves it.
        plan: The plan; without it, that of the settings.
        state: The state database; without it, that of the settings.

    Raises:
        SwitchyardError: Something is wrong; store, plan and aliases are as they were.
    """
    store.check_word("model name", name)
    registry.check_alias(name, alias)
    options = options or Options()
    rows, truth = prove.split(infer.read(sample), options.target)
    rows = corrections.read(options.schema).conform(rows)
    word = name.replace(".", "-")  # names in the plan hold no dots
    opened = state or State.open()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            given, folder = Path(scratch) / "given", Path(scratch) / "version"
            given.mkdir()
            folder.mkdir()
            brought = bring(model, given, rows, options)
            framework = brought.source.framework
            proven = prove.prove(brought.source, folder, rows, truth, brought.options)
            addition = Addition(endpoint or word, f"{name}:{alias}", (framework, word))
            _check_name(name, proven.manifest)
            with plan_edit.stage(plan or settings.plan_path(), addition) as staged:
                known = lock.aliases(opened)
                misfit = fit.misfit(staged.plan, addition.model, proven.manifest, known)
                if misfit is not None:
                    raise InvalidInput(f"{misfit}; name another endpoint with --endpoint.")
                before = known.get((name, alias))
                # A version that is gone is nothing to compare with, and the alias may leave it.
                current = before if before is not None and store.has(name, before) else None
                move = current is None
                version = _register(name, alias, proven, staged, opened, before, move=move)
    finally:
        if state is None:
            opened.close()
    return _added(Tag(name, version), alias, current, addition, staged, rows, brought.notes)


def _check_name(name: str, manifest: Manifest) -> None:
    """Refuses a name that belongs to something else."""
    stored = store.versions(name)
    if stored:
        now = stored[-1].manifest
        if (now.task, now.classes) != (manifest.task, manifest.classes):
            raise InvalidInput(
                f"The name {name!r} belongs to a model with {fit.says(now)}, and this one has "
                f"{fit.says(manifest)}; take another name."
            )
    elif store.is_foreign(name):
        raise InvalidInput(
            f"The name {name!r} belongs to a model in BentoML's store that Switchyard did not "
            "make; take another name."
        )


def _register(
    name: str,
    alias: str,
    proven: Proven,
    staged: Staged,
    state: State,
    before: str | None,
    *,
    move: bool,
) -> str:
    """Does the three changes; if one fails, those before it are undone.

    An alias that stands for a version already is not moved: that is what promotion is for, with its
    checks. Nor is one that is not where it was when it was looked at, `before`: that is a Conflict.

    Their order is the one in which each needs only what is there already: the plan names the alias,
    the alias the version. So a kill between two of them leaves something that nothing names, and
    never a name of nothing, with which a server would not start.
    """
    version = store.create(name, proven.manifest, proven.folder, proven.reference)
    moved = False
    try:
        if move:
            lock.adopt(state)
            origin = proven.manifest.source or proven.source.label
            why = f"added from {origin}"
            state.set_alias(name, alias, version, "models add", why, expected=before)
            moved = True
        staged.commit()
    except BaseException:
        if moved:  # should this fail too, the alias must not lose its version
            state.retract_alias(name, alias, version)
        store.delete(name, version)
        raise
    return version


def _added(
    tag: Tag,
    alias: str,
    current: str | None,
    addition: Addition,
    staged: Staged,
    rows: pd.DataFrame,
    notes: tuple[str, ...],
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
        current=current,
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
        notes=notes,
    )
