"""Imports what a server imports, so that its bytecode is written while the image is built.

In a container nothing can be written beside the code, and compiling at every start takes seconds;
bytecode of all that is installed would be a sixth of a slim image.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Final

__all__ = ["MODULES"]

MODULES: Final = (
    "_bentoml_impl.server.app",
    "_bentoml_impl.worker.service",
    "bentoml_cli.cli",
    "cli.main",
    "duckdb",
    "pandas",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "services.assembly",
    # Of these an image has those that its plan and its extras need.
    "evidently.presets",
    "onnxruntime",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "psycopg",
    "safetensors.torch",
    "skops.io",
    "sklearn.ensemble",
    "sklearn.pipeline",
    "tensorflow",
    "torch.export",
)

if __name__ == "__main__":
    for name in MODULES:
        with suppress(ModuleNotFoundError):
            import_module(name)
