"""`switchyard models add`: brings a model of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.model_options import (
    Alias,
    Classes,
    ClassKwargs,
    Endpoint,
    ModelClass,
    OutputKind,
    OutputName,
    SchemaFile,
    Target,
    Transform,
    TrustPickle,
    check_words,
    gathered,
)
from cli.model_text import print_added

__all__ = ["add"]


def add(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of the model: a new one, or one that gets another version.",
            show_default=False,
        ),
    ],
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="scikit-learn: .skops, or .joblib and .pkl with --trust-pickle. torch: .pt2, or "
            ".safetensors, .pt and .pth (weights, TorchScript) with --class. TensorFlow: the "
            "folder of a SavedModel, or .keras. ONNX: .onnx.",
            show_default=False,
        ),
    ],
    sample: Annotated[
        Path,
        typer.Option(
            help="Rows as the model gets them, .parquet or .csv: they say which fields it takes, "
            "prove that it answers, and up to 5,000 are kept to tell drift from.",
            show_default=False,
        ),
    ],
    endpoint: Endpoint = None,
    target: Target = None,
    transform: Transform = None,
    output: OutputKind = None,
    output_name: OutputName = None,
    classes: Classes = None,
    model_class: ModelClass = None,
    class_kwargs: ClassKwargs = None,
    schema: SchemaFile = None,
    trust_pickle: TrustPickle = False,
    alias: Alias = "production",
) -> None:
    """Brings a model of your own: stores it, writes it into the plan, prints a request for it.

    The model is loaded and runs the sample first; if anything is wrong, nothing is changed.
    """
    from models.bring.accept import WEIGHTS
    from models.bring.add import add as bring

    if model.suffix == ".safetensors" and model_class is None:
        raise typer.BadParameter(".safetensors weights need --class MODULE:CLASS.")
    if model_class is not None and model.suffix not in WEIGHTS:
        raise typer.BadParameter(f"--class belongs to weights: {', '.join(WEIGHTS)}.")
    check_words(name, alias)
    options = gathered(
        classes,
        class_kwargs,
        target=target,
        transform=transform,
        output=output,
        output_name=output_name,
        model_class=model_class,
        schema=schema,
        trust_pickle=trust_pickle,
    )
    print_added(bring(name, model, sample, options, endpoint=endpoint, alias=alias))
