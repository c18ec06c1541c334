"""ONNX models as their users make them, and small ones made by hand."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from onnx import ModelProto, TensorProto, helper

CUSTOMERS = pd.DataFrame(
    {
        "plan": ["basic", "pro", "team", "pro"] * 30,
        "age": np.linspace(18, 80, 120, dtype=np.float32),
        "visits": np.arange(120) % 7,
        "left": ["no", "yes", "no", "yes"] * 30,
    }
)
"""Rows of `pipeline`, with the truth in `left`."""


OPSETS = {"": 18, "ai.onnx.ml": 3}
"""Versions of ONNX's operations that the models made by hand use."""


def graph(
    nodes: list[Any],
    inputs: dict[str, tuple[int, list[Any] | None]],
    outputs: dict[str, tuple[int, list[Any] | None]],
    **parts: Any,
) -> ModelProto:
    """Makes a model by hand.

    Args:
        nodes: From `onnx.helper.make_node`.
        inputs: By name an element type of `TensorProto` and a shape.
        outputs: As inputs.
        parts: `initializer` of the graph, `functions` of the model.
    """
    functions = parts.pop("functions", [])
    made = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
        [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
        **parts,
    )
    others = {part.domain for part in (*nodes, *functions)} - set(OPSETS)
    imports = [helper.make_opsetid(*pair) for pair in OPSETS.items()]
    imports += [helper.make_opsetid(name, 1) for name in others - {"ai.onnx"}]
    return helper.make_model(made, functions=functions, opset_imports=imports, ir_version=9)


def doubles(**changes: Any) -> ModelProto:
    """A model of one matrix (n, 3) that answers twice its sums, (n,)."""
    parts: dict[str, Any] = {
        "nodes": [
            helper.make_node("Add", ["rows", "rows"], ["twice"]),
            helper.make_node("ReduceSum", ["twice", "axes"], ["value"], keepdims=0),
        ],
        "inputs": {"rows": (TensorProto.FLOAT, ["n", 3])},
        "outputs": {"value": (TensorProto.FLOAT, ["n"])},
        "initializer": [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    }
    return graph(**(parts | changes))


def write(model: ModelProto, folder: Path) -> Path:
    """Writes a model as a version's folder holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


@functools.cache
def boosted(library: str, task: str) -> tuple[ModelProto, pd.DataFrame, np.ndarray]:
    """Trains trees with missing values and converts them with onnxmltools.

    Args:
        library: `xgboost` or `lightgbm`.
        task: `binary`, `multiclass` or `regression`.

    Returns:
        The model, rows of x0 to x3 in float32 with the truth in `y`, and what the original answers.
    """
    import lightgbm
    import onnxmltools
    import xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    generator = np.random.default_rng(4)
    rows = generator.normal(size=(300, 4)).astype(np.float32)
    score = rows[:, 0] + rows[:, 1] * rows[:, 2]
    rows[generator.random(rows.shape) < 0.05] = np.nan
    classes = {"binary": 2, "multiclass": 3}.get(task)
    truth = score if classes is None else np.digitize(score, [0.0, 1.0][: classes - 1])
    quiet: dict[str, Any] = {"verbose": -1} if library == "lightgbm" else {}
    kind = {"lightgbm": "LGBM", "xgboost": "XGB"}[library] + (
        "Regressor" if classes is None else "Classifier"
    )
    trees = getattr({"lightgbm": lightgbm, "xgboost": xgboost}[library], kind)
    fitted = trees(n_estimators=12, max_depth=3, n_jobs=1, **quiet).fit(rows, truth)
    convert = getattr(onnxmltools, f"convert_{library}")
    model = convert(fitted, initial_types=[("input", FloatTensorType([None, 4]))])
    answer = fitted.predict(rows) if classes is None else fitted.predict_proba(rows)
    frame = pd.DataFrame(rows, columns=["x0", "x1", "x2", "x3"])
    return model, frame.assign(y=truth), np.asarray(answer)


@functools.cache
def pipeline(zipmap: bool = True) -> tuple[ModelProto, np.ndarray]:
    """A scikit-learn pipeline of a string, a float and a whole number, one input for each.

    Returns:
        The model, and the probabilities that the original gives `CUSTOMERS`.
    """
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    words = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer((words, ["plan"]), (StandardScaler(), ["age", "visits"]))
    fitted = make_pipeline(columns, LogisticRegression(C=0.1))
    fitted.fit(CUSTOMERS[["plan", "age", "visits"]], CUSTOMERS["left"])
    model = to_onnx(
        fitted,
        initial_types=[
            ("plan", StringTensorType([None, 1])),
            ("age", FloatTensorType([None, 1])),
            ("visits", Int64TensorType([None, 1])),
        ],
        options={id(fitted): {"zipmap": zipmap}},
    )
    return model, fitted.predict_proba(CUSTOMERS)


def images(folder: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A torch module that takes images [28, 28] in an input `x`, exported by torch.

    Returns:
        The file, images (20, 28, 28) in float32, and the logits (20, 4) of the original.
    """
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(784, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4)
    ).eval()
    rows = np.random.default_rng(5).random((20, 28, 28)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the new exporter needs onnxscript
        torch.onnx.export(
            module,
            (torch.tensor(rows[:2]),),
            folder / "images.onnx",
            input_names=["x"],
            output_names=["logits"],
            dynamic_axes={"x": {0: "n"}, "logits": {0: "n"}},
            dynamo=False,
        )
    with torch.inference_mode():
        return folder / "images.onnx", rows, module(torch.tensor(rows)).numpy()
