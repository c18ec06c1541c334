"""The manifest: everything Switchyard knows about one version of a model, beside its files."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting

from models.schema import Schema
from switchyard.plan import Framework

__all__ = ["MANIFEST_FILE", "REFERENCE_FILE", "Manifest"]

MANIFEST_FILE = "manifest.json"
REFERENCE_FILE = "reference.parquet"


class Manifest(BaseModel):
    """What a version is and how it is run.

    Attributes:
        framework: The host that runs it.
        format: Format of the artefact; each loads without running code from the file.
        task: `binary` and `multiclass` answer class probabilities, `regression` a value.
        fields: What it takes, the model's schema.
        input: How a model without a `transform` takes rows: one float `matrix` in schema order, a
            DataFrame (`frame`), or arrays by field name (`named`).
        transform: `module:function` that turns `models.columns.Columns` into what the model takes.
        output: What the artefact returns for classification: `probabilities` (n, classes), the
            positive class's `probability` (n,) or (n, 1), `logits` (n, classes), a single `logit`;
            `values` (n,) or (n, 1) for regression.
        output_name: Which of several outputs that is, None where the artefact has only one.
        classes: Labels of the classes in the order of the probabilities.
        model_class: `module:Class` of the project, for safetensors weights.
        model_kwargs: Keyword arguments of that class.
        trusted: Types that a skops file may contain beyond skops' own defaults.
        metrics: Figures on the hold-out.
        training_data: sha256 of the training data.
        libraries: Versions of the libraries that made it.
        files: sha256 of every file of the version except this one, by relative path.
        drift_null: Profile of the reference rows with the null quantiles of each drift score, see
            `models.drift.profile.read`; empty in versions that were stored before there was one.
        source: Address in MLflow that it was imported from, None if it was not.
        run_id: MLflow's id of the run that made it.
        tags: MLflow's tags of it and of its run, as its owners set them.
        created: When it was made, UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    manifest_version: Literal[1] = 1
    framework: Framework
    format: Literal["skops", "safetensors", "pt2", "savedmodel", "onnx"]
    task: Literal["binary", "multiclass", "regression"]
    fields: Schema
    input: Literal["matrix", "frame", "named"] = "matrix"
    transform: str | None = None
    output: Literal["probabilities", "probability", "logits", "logit", "values"]
    output_name: str | None = None
    classes: tuple[int | str, ...] | None = None
    model_class: str | None = None
    model_kwargs: dict[str, Any] = Setting(default_factory=dict)
    trusted: tuple[str, ...] = ()
    metrics: dict[str, float] = Setting(default_factory=dict)
    training_data: str | None = None
    libraries: dict[str, str] = Setting(default_factory=dict)
    files: dict[str, str] = Setting(default_factory=dict)
    drift_null: dict[str, Any] = Setting(default_factory=dict)
    source: str | None = None
    run_id: str | None = None
    tags: dict[str, str] = Setting(default_factory=dict)
    created: datetime
