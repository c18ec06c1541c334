import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_files import boosted, doubles, graph, pipeline

from models.formats import onnx_signature
from models.formats.onnx_signature import Input
from switchyard.errors import ModelRefused

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING


def outputs(graph: onnx.GraphProto) -> list[str]:
    return [value.name for value in graph.output]


# Inputs


@pytest.mark.parametrize(
    ("shape", "size"), [([1, 3], "1"), ([7, 3], "7"), ([0, 3], "0"), ([], "no size at all")]
)
def test_a_batch_of_a_fixed_size_is_refused(shape, size) -> None:
    with pytest.raises(ModelRefused, match=f"'rows' has {size} for its fixed size; export"):
        onnx_signature.inputs(doubles(inputs={"rows": (FLOAT, shape)}).graph)


def test_a_graph_without_inputs_is_refused() -> None:
    with pytest.raises(ModelRefused, match="answers every row alike"):
        onnx_signature.inputs(doubles(inputs={"axes": (INT64, [1])}).graph)


def test_an_input_that_is_no_tensor_is_refused() -> None:
    model = doubles()
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, [None]))
    model.graph.input[0].type.CopyFrom(kind)
    with pytest.raises(ModelRefused, match="'rows' is no tensor"):
        onnx_signature.inputs(model.graph)


def test_a_dtype_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ModelRefused, match="'rows' has no dtype that ONNX knows"):
        onnx_signature.inputs(doubles(inputs={"rows": (99, ["n", 3])}).graph)


def test_inputs_are_what_must_be_fed() -> None:
    model = doubles(
        inputs={
            "axes": (INT64, [1]),  # an input with a value of its own
            "image": (TensorProto.DOUBLE, ["n", 28, 28]),
            "word": (STRING, [None, 1]),
            "any": (INT64, None),
        }
    )
    assert onnx_signature.inputs(model.graph) == (
        Input("image", np.dtype(np.float64), 3),
        Input("word", np.dtype(object), 2),
        Input("any", np.dtype(np.int64), None),
    )


# Outputs


def several(**kinds: int) -> onnx.GraphProto:
    nodes = [helper.make_node("Identity", ["rows"], [name]) for name in kinds]
    made = {name: (kind, ["n", 3]) for name, kind in kinds.items()}
    return graph(nodes, {"rows": (FLOAT, ["n", 3])}, made).graph


def test_of_several_outputs_one_must_be_named() -> None:
    with pytest.raises(ModelRefused, match=r"has 2 outputs \(kind, size\).*--output-name"):
        onnx_signature.cut(several(size=FLOAT, kind=FLOAT), None)
    with pytest.raises(ModelRefused, match="no output 'colour'; it has kind, size"):
        onnx_signature.cut(several(size=FLOAT, kind=FLOAT), "colour")
    made = several(size=FLOAT, kind=FLOAT)
    onnx_signature.cut(made, "kind")
    assert outputs(made) == ["kind"]


@pytest.mark.parametrize("label", [INT64, STRING])
def test_the_output_beside_the_label_answers(label) -> None:
    made = several(label=label, scores=FLOAT)
    onnx_signature.cut(made, None)
    assert outputs(made) == ["scores"]


def test_a_label_alone_is_an_answer_if_it_is_a_number() -> None:
    made = several(count=INT64)
    onnx_signature.cut(made, None)
    assert outputs(made) == ["count"]
    with pytest.raises(ModelRefused, match="'label' holds strings instead of numbers"):
        onnx_signature.cut(several(label=STRING), None)
    with pytest.raises(ModelRefused, match="'flag' holds bool instead of numbers"):
        onnx_signature.cut(several(flag=TensorProto.BOOL), None)


def test_an_output_that_is_no_tensor_is_refused() -> None:
    model = doubles()
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, [None]))
    model.graph.output[0].type.CopyFrom(kind)
    with pytest.raises(ModelRefused, match="'value' is no tensor"):
        onnx_signature.cut(model.graph, None)


def test_a_zipmap_is_taken_out() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(pipeline()[0])
    assert any(node.op_type == "ZipMap" for node in model.graph.node)
    onnx_signature.cut(model.graph, None)
    assert outputs(model.graph) == ["probabilities"]
    assert not any(node.op_type == "ZipMap" for node in model.graph.node)


def test_a_zipmap_of_nothing_is_refused() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(pipeline()[0])
    (zipmap,) = (node for node in model.graph.node if node.op_type == "ZipMap")
    del zipmap.input[:]
    with pytest.raises(ModelRefused, match="'output_probability' is no tensor"):
        onnx_signature.cut(model.graph, None)


# Classes


@pytest.mark.parametrize("zipmap", [True, False])
def test_the_classes_of_a_pipeline(zipmap) -> None:
    assert onnx_signature.classes(pipeline(zipmap)[0].graph) == ("no", "yes")


def test_a_zipmap_alone_tells_the_classes() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(pipeline()[0])
    del model.graph.output[0]
    assert outputs(model.graph) == ["output_probability"]
    assert onnx_signature.classes(model.graph) == ("no", "yes")


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
@pytest.mark.parametrize(
    ("task", "classes"), [("binary", (0, 1)), ("multiclass", (0, 1, 2)), ("regression", None)]
)
def test_the_classes_of_trees(library, task, classes) -> None:
    assert onnx_signature.classes(boosted(library, task)[0].graph) == classes


@pytest.mark.parametrize("labels", [["no", "yes"], [4, 7]])
def test_classes_that_a_label_is_picked_from(labels) -> None:
    kind = INT64 if isinstance(labels[0], int) else STRING
    nodes = [
        helper.make_node("ArgMax", ["rows"], ["place"], axis=1, keepdims=0),
        helper.make_node("ArrayFeatureExtractor", ["known", "place"], ["one"], domain="ai.onnx.ml"),
        helper.make_node("Reshape", ["one", "flat"], ["label"]),
    ]
    known = helper.make_tensor("known", kind, [2], labels)
    flat = helper.make_tensor("flat", INT64, [1], [-1])
    rows, label = {"rows": (FLOAT, ["n", 2])}, {"label": (kind, ["n"])}
    made = graph(nodes, rows, label, initializer=[known, flat])
    assert onnx_signature.classes(made.graph) == tuple(labels)


def test_a_graph_that_runs_in_a_circle_tells_no_classes() -> None:
    nodes = [helper.make_node("Identity", ["label"], ["label"])]
    made = graph(nodes, {"rows": (FLOAT, ["n", 2])}, {"label": (INT64, ["n"])})
    assert onnx_signature.classes(made.graph) is None
