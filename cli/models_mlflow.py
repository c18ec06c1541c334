"""`switchyard models import-mlflow`: brings a model out of MLflow."""

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

__all__ = ["import_mlflow"]


def import_mlflow(
    uri: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="models:/NAME/VERSION, models:/NAME@ALIAS, runs:/RUN/PATH, or a folder with an "
            "MLmodel file.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the model here. Default: its name in MLflow's registry.",
            show_default=False,
        ),
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option(
            help="Rows as the model gets them, .parquet or .csv. Default: MLflow's input example; "
            "rows of the training data are better, since drift is told from them.",
            show_default=False,
        ),
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI",
            metavar="URL",
            help="Address of the MLflow server.",
            show_default=False,
        ),
    ] = None,
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
    """Brings a model out of MLflow, with its signature, input example, figures, tags and run.

    The model is loaded and runs the rows first; if anything is wrong, nothing is changed.
    """
    from models.bring.mlflow import import_model

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
    print_added(
        import_model(
            uri, name, sample, options, tracking_uri=tracking_uri, endpoint=endpoint, alias=alias
        )
    )
