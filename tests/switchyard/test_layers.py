"""Imports of the whole tree, held against the house rules (DESIGN section 1)."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from switchyard.settings import ROOT

STOREYS = ("switchyard", "models", "monitoring", "services", "deploy", "cli")
"""From the ground floor to the roof; a package imports itself and those below it."""

HEAVY = {
    "boto3",
    "duckdb",
    "evidently",
    "joblib",
    "keras",
    "onnxruntime",
    "ray",
    "scipy",
    "sklearn",
    "skops",
    "tensorflow",
    "torch",
}
"""Imported inside the function that needs them: no process pays for what it does not use."""

HEAVY_PLACES = {"models/nn.py": {"torch"}}
"""Modules that may import a heavy package at their top, because they define classes of it.
Nothing may import such a module at its own top."""

PURE = {
    "services/traffic": {
        "__future__",
        "bisect",
        "collections",
        "dataclasses",
        "functools",
        "itertools",
        "math",
        "numpy",
        "random",
        "services.traffic",
        "statistics",
        "switchyard.errors",
        "switchyard.plan_rollout",
        "typing",
    },
    "services/wire": {
        "__future__",
        "base64",
        "binascii",
        "collections",
        "csv",
        "dataclasses",
        "datetime",
        "difflib",
        "enum",
        "functools",
        "io",
        "itertools",
        "json",
        "math",
        "models.columns",
        "models.schema",
        "numpy",
        "operator",
        "orjson",
        "pyarrow",
        "re",
        "services.wire",
        "struct",
        "switchyard.errors",
        "tokenize",
        "types",
        "typing",
    },
}
"""All that the packages without I/O may import, at their top or inside functions; `io` for
`BytesIO`, `tokenize` for the errors of NumPy's header parser."""

OPENERS = {"open", "print", "input", "breakpoint", "exec", "eval", "__import__"}
"""Built-in ways out of a pure module that need no import."""


@dataclass(frozen=True)
class Import:
    file: str  # relative to the project
    line: int
    module: str  # dotted name
    top: bool  # at module level, and not for type checkers only

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def imports_of(file: str, source: str) -> Iterator[Import]:
    """Yields every import of a module, those inside functions too."""

    def walk(node: ast.AST, top: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(file, child.lineno, alias.name, top)
            elif isinstance(child, ast.ImportFrom):
                package = file.removesuffix(".py").split("/")[: -child.level or None]
                base = [*(package if child.level else []), *filter(None, [child.module])]
                for alias in child.names:
                    yield Import(file, child.lineno, ".".join([*base, alias.name]), top)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield from walk(child, False)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for statement in child.body:
                    yield from walk(ast.Module([statement], []), False)
                for statement in child.orelse:
                    yield from walk(ast.Module([statement], []), top)
            else:
                yield from walk(child, top)

    yield from walk(ast.parse(source), True)


def within(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def upward(imports: list[Import]) -> list[str]:
    def storey(dotted: str) -> int:
        first = dotted.replace("/", ".").split(".")[0]
        return STOREYS.index(first) if first in STOREYS else -1

    return [str(i) for i in imports if storey(i.module) > storey(i.file)]


def impure(imports: list[Import]) -> list[str]:
    return [
        str(i)
        for i in imports
        for folder, allowed in PURE.items()
        if i.file.startswith(f"{folder}/") and not within(i.module, allowed)
    ]


def heavy_at_top(imports: list[Import]) -> list[str]:
    places = {file.removesuffix(".py").replace("/", ".") for file in HEAVY_PLACES}
    return [
        str(i)
        for i in imports
        if i.top and within(i.module, (HEAVY | places) - HEAVY_PLACES.get(i.file, set()))
    ]


def openers(file: str, source: str) -> list[str]:
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        f"{file}:{call.lineno} calls {ast.unparse(call.func)}"
        for call in calls
        if ast.unparse(call.func) in OPENERS | {"io.open", "io.FileIO"}
    ]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("switchyard/x.py", "import models.store"),
        ("switchyard/x.py", "from models import store"),
        ("models/x.py", "def f():\n    from services.router import Router"),
        ("monitoring/x.py", "if TYPE_CHECKING:\n    import cli"),
        ("services/x.py", "try:\n    import deploy.compose\nexcept ImportError:\n    pass"),
    ],
)
def test_an_import_from_a_higher_storey_is_found(file: str, source: str) -> None:
    assert len(upward([*imports_of(file, source)])) == 1


@pytest.mark.parametrize("source", ["import os", "from pathlib import Path", "import io, socket"])
@pytest.mark.parametrize("file", ["services/traffic/x.py", "services/wire/x.py"])
def test_an_import_of_io_is_found(file: str, source: str) -> None:
    assert impure([*imports_of(file, source)])
    assert impure([*imports_of(file, f"def f():\n    {source}")])
    assert not impure([*imports_of("services/x.py", source)])


def test_a_relative_import_is_resolved() -> None:
    found = imports_of("services/wire/x.py", "from . import json\nfrom ..admin import auth")
    assert [i.module for i in found] == ["services.wire.json", "services.admin.auth"]


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("import torch", 1),
        ("import sklearn.ensemble as e", 1),
        ("from tensorflow import keras", 1),
        ("class A:\n    import torch", 1),
        ("try:\n    import ray\nexcept ImportError:\n    ray = None", 1),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import torch", 1),
        ("from models import nn", 1),
        ("def f():\n    import torch", 0),
        ("if TYPE_CHECKING:\n    import torch", 0),
        ("import torchless", 0),
    ],
)
def test_a_heavy_import_at_the_top_is_found(source: str, count: int) -> None:
    assert len(heavy_at_top([*imports_of("models/x.py", source)])) == count


@pytest.mark.parametrize("source", ["open('x')", "def f():\n    io.open('x')", "exec(text)"])
def test_a_call_that_needs_no_import_is_found(source: str) -> None:
    assert len(openers("services/wire/x.py", source)) == 1
    assert openers("services/wire/x.py", "stream = io.BytesIO(body)") == []


@pytest.fixture(scope="module")
def tree() -> list[Import]:
    files = [path for storey in STOREYS for path in sorted((ROOT / storey).rglob("*.py"))]
    assert len(files) > 20
    return [
        found
        for path in files
        for found in imports_of(path.relative_to(ROOT).as_posix(), path.read_text())
    ]


def test_imports_run_one_way(tree: list[Import]) -> None:
    assert upward(tree) == []


def test_traffic_and_wire_import_no_input_and_output(tree: list[Import]) -> None:
    assert impure(tree) == []
    for folder in PURE:
        for path in (ROOT / folder).rglob("*.py"):
            assert openers(path.relative_to(ROOT).as_posix(), path.read_text()) == []


def test_heavy_packages_are_imported_where_they_are_used(tree: list[Import]) -> None:
    assert heavy_at_top(tree) == []
