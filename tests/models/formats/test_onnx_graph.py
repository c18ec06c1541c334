"""What a hostile file would do to plain onnxruntime, and that it is refused."""

import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx_files import OPSETS, boosted, doubles, graph, pipeline, write

import models.onnx as loader
from models.formats import onnx_graph
from switchyard.errors import ModelRefused

ROWS = np.ones((2, 3), dtype=np.float32)


@pytest.fixture
def refused(tmp_path) -> Callable[..., str]:
    def run(model: onnx.ModelProto) -> str:
        with pytest.raises(ModelRefused) as caught:
            onnx_graph.read(write(model, tmp_path))
        return caught.value.message

    return run


def external(where: str) -> TensorProto:
    """Three numbers of a tensor that lie in another file."""
    tensor = TensorProto(
        name="w", data_type=TensorProto.UINT8, dims=[6], data_location=TensorProto.EXTERNAL
    )
    for key, value in (("location", where), ("offset", "0"), ("length", "6")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def leaks(where: str) -> onnx.ModelProto:
    return graph(
        [helper.make_node("Identity", ["w"], ["value"])],
        {"rows": (TensorProto.FLOAT, ["n", 3])},
        {"value": (TensorProto.UINT8, [6])},
        initializer=[external(where)],
    )


# Other files


def test_onnxruntime_would_read_a_file_beside_the_model(refused, tmp_path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    path = write(leaks("secret"), tmp_path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert bytes(session.run(None, {"rows": ROWS})[0]) == b"secret"
    assert "keeps the tensor 'w' in another file, 'secret'" in refused(leaks("secret"))


@pytest.mark.parametrize("where", ["../../etc/passwd", "/etc/passwd", "*/_ORT_MEM_ADDR_/*", ""])
def test_tensors_in_other_files(refused, where) -> None:
    assert f"in another file, {where!r}" in refused(leaks(where))


def test_tensors_that_say_only_half_of_it(refused) -> None:
    for field in ("data_location", "external_data"):
        model = leaks("secret")
        model.graph.initializer[0].ClearField(field)
        assert "keeps the tensor 'w' in another file" in refused(model)


def constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["value"], value=tensor)


def branch(nodes: list[onnx.NodeProto]) -> onnx.GraphProto:
    return helper.make_graph(
        nodes, "branch", [], [helper.make_tensor_value_info("value", TensorProto.UINT8, [6])]
    )


def conditional(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Nodes that run others in both branches of an If, which is in a branch of another."""
    inner = helper.make_node(
        "If", ["flag"], ["value"], then_branch=branch(nodes), else_branch=branch(nodes)
    )
    return [
        helper.make_node("If", ["flag"], ["value"], then_branch=branch([inner]),
                         else_branch=branch([inner]))
    ]  # fmt: skip


def called(nodes: list[onnx.NodeProto]) -> dict[str, list[object]]:
    """The same as a function of the file, and a call of it."""
    others = {node.domain for node in nodes} - set(OPSETS)
    imports = [helper.make_opsetid(*pair) for pair in OPSETS.items()]
    imports += [helper.make_opsetid(name, 1) for name in others - {"ai.onnx"}]
    return {
        "functions": [helper.make_function("own", "F", ["rows"], ["value"], nodes, imports)],
        "nodes": [helper.make_node("F", ["rows"], ["value"], domain="own")],
    }


FLAG = helper.make_tensor("flag", TensorProto.BOOL, [], [True])


@pytest.mark.parametrize(
    "changes",
    [
        {"nodes": [constant(external("x"))]},
        {"nodes": conditional([constant(external("x"))]), "initializer": [FLAG]},
        called([constant(external("x"))]),
    ],
    ids=["attribute", "subgraph", "function"],
)
def test_hidden_tensors_in_other_files(refused, changes) -> None:
    assert "in another file, 'x'" in refused(doubles(**changes))


def test_sparse_tensors_in_other_files(refused) -> None:
    model = doubles()
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(external("x"))
    assert "in another file, 'x'" in refused(model)


def test_the_way_out_of_other_files_works(refused, tmp_path) -> None:
    weight = np.arange(3, dtype=np.float32)
    model = doubles(
        nodes=[helper.make_node("MatMul", ["rows", "w"], ["value"])],
        initializer=[onnx.numpy_helper.from_array(weight, "w")],
    )
    onnx.save(model, tmp_path / "two.onnx", save_as_external_data=True, size_threshold=0)
    with pytest.raises(ModelRefused, match=r"onnx\.save\(onnx\.load"):
        onnx_graph.read(tmp_path / "two.onnx")
    onnx.save(onnx.load(tmp_path / "two.onnx"), tmp_path / "one.onnx")
    assert len(onnx_graph.read(tmp_path / "one.onnx").graph.initializer[0].raw_data) == 12


# Operations


OFF_THE_LIST = [
    ("AzureTextToText", "com.microsoft.extensions"),  # asks a service
    ("EPContext", "com.microsoft"),  # hands a file to a device's compiler
    ("Snpe", "com.microsoft"),
    ("PyOp", "ai.onnx.contrib"),  # runs Python
    ("ATen", "org.pytorch.aten"),
    ("Adam", "ai.onnx.preview.training"),
    ("System", ""),
    ("System", "ai.onnx"),
    ("System", "ai.onnx.ml"),
]


@pytest.mark.parametrize(("operation", "domain"), OFF_THE_LIST)
@pytest.mark.parametrize("place", ["graph", "subgraph", "function"])
def test_operations_off_the_list(refused, operation, domain, place) -> None:
    node = helper.make_node(operation, ["rows"], ["value"], domain=domain)
    changes = {
        "graph": {"nodes": [node]},
        "subgraph": {"nodes": conditional([node]), "initializer": [FLAG]},
        "function": called([node]),
    }[place]
    name = f"{domain or 'ai.onnx'}.{operation}"
    assert f"uses the operation {name}," in refused(doubles(**changes))


def test_a_function_cannot_lend_its_name_to_an_operation_off_the_list(tmp_path) -> None:
    """onnxruntime takes its own operation where a function has the same name."""
    nodes = [helper.make_node("Identity", ["rows"], ["value"])]
    imports = [helper.make_opsetid("", 18)]
    harmless = helper.make_function(
        "com.microsoft", "EPContext", ["rows"], ["value"], nodes, imports
    )
    node = helper.make_node("EPContext", ["rows"], ["value"], domain="com.microsoft")
    shape = {"value": (TensorProto.FLOAT, ["n", 3])}
    model = doubles(nodes=[node], functions=[harmless], outputs=shape, initializer=[])
    with pytest.raises(Exception, match="EPContext"):
        onnxruntime.InferenceSession(model.SerializeToString())
    read = onnx_graph.read(write(model, tmp_path))
    assert [node.op_type for node in read.graph.node] == ["Identity"]


def test_functions_that_call_themselves(refused) -> None:
    node = helper.make_node("F", ["rows"], ["value"], domain="own")
    assert "cannot be replaced by their bodies" in refused(doubles(**called([node])))


def nested(depth: int, calls: int) -> onnx.ModelProto:
    """Functions that call the one before them so often, and a call of the last."""
    imports = [helper.make_opsetid("", OPSETS[""]), helper.make_opsetid("own", 1)]
    domains, names = ("", *["own"] * depth), ("Neg", *(f"F{i}" for i in range(depth)))
    bodies = []
    for inner in range(depth):
        values = ["x", *(f"t{call}" for call in range(1, calls)), "y"]
        nodes = [
            helper.make_node(names[inner], [before], [after], domain=domains[inner])
            for before, after in itertools.pairwise(values)
        ]
        name = names[inner + 1]
        bodies.append(helper.make_function("own", name, ["x"], ["y"], nodes, imports))
    return graph(
        [helper.make_node(names[depth], ["rows"], ["value"], domain="own")],
        {"rows": (TensorProto.FLOAT, ["n", 3])},
        {"value": (TensorProto.FLOAT, ["n", 3])},
        functions=bodies,
    )


def test_functions_that_become_far_more_than_the_file(refused, tmp_path) -> None:
    bomb = nested(depth=12, calls=10)
    assert bomb.ByteSize() < 10_000
    assert "become 1,000,000,000,000 nodes" in refused(bomb)
    read = onnx_graph.read(write(nested(depth=3, calls=10), tmp_path))
    assert len(read.graph.node) == 1000


def test_functions_in_branches_are_counted(refused) -> None:
    bomb = nested(depth=12, calls=10)
    call = bomb.graph.node[0]
    inner = helper.make_graph([call], "branch", [], [bomb.graph.output[0]])
    choice = helper.make_node("If", ["flag"], ["value"], then_branch=inner, else_branch=inner)
    del bomb.graph.node[:]
    bomb.graph.node.append(choice)
    bomb.graph.initializer.append(FLAG)
    assert "become 2,000,000,000,001 nodes" in refused(bomb)


@pytest.mark.parametrize("turned", [False, True], ids=["innermost first", "outermost first"])
def test_functions_too_deep_in_each_other(refused, turned) -> None:
    bomb = nested(depth=onnx_graph.MAX_CALLS + 1, calls=1)
    bodies = list(bomb.functions)
    del bomb.functions[:]
    bomb.functions.extend(reversed(bodies) if turned else bodies)
    assert "one inside the other" in refused(bomb)


def test_functions_of_one_name(refused) -> None:
    bomb = nested(depth=1, calls=1)
    bomb.functions.append(bomb.functions[0])
    assert "defines a function twice" in refused(bomb)


def test_functions_for_other_versions_of_operations(refused) -> None:
    changes = called([helper.make_node("Neg", ["rows"], ["value"])])
    changes["functions"][0].opset_import[0].version = 12
    assert "own.F for other versions of ONNX's" in refused(doubles(**changes))


def test_a_graph_for_training(refused) -> None:
    model = doubles()
    model.training_info.add()
    assert "holds a graph for training" in refused(model)


def test_every_operation_on_the_list_is_one_of_onnxruntime() -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    known = {s.name for s in get_all_operator_schema() if s.domain == "com.microsoft"}
    assert known >= onnx_graph.CONTRIBUTED


# Functions, and what the parser does not know


def test_functions_answer_as_onnxruntime_runs_them(tmp_path, manifest_of) -> None:
    nodes = [helper.make_node("ReduceSum", ["rows", "axes"], ["value"], keepdims=0)]
    axes = helper.make_node("Constant", [], ["axes"], value_ints=[1])
    model = doubles(**called([axes, *nodes]))
    plain = onnxruntime.InferenceSession(model.SerializeToString())
    write(model, tmp_path)
    assert not onnx_graph.read(tmp_path / "model.onnx").functions
    predict = loader.load(tmp_path, manifest_of(framework="onnx", format="onnx"), "cpu")
    np.testing.assert_array_equal(predict(ROWS), plain.run(None, {"rows": ROWS})[0])


def test_a_file_is_not_taken_for_another_format(tmp_path, manifest_of) -> None:
    """A name that begins with ORTM makes onnxruntime take a file for one of its own format."""
    model = doubles()
    model.producer_name = "ORTM" + "A" * 40
    path = write(model, tmp_path)
    with pytest.raises(Exception, match="ORT model verification failed"):
        onnxruntime.InferenceSession(path.read_bytes())
    predict = loader.load(tmp_path, manifest_of(framework="onnx", format="onnx"), "cpu")
    np.testing.assert_array_equal(predict(ROWS), [6, 6])


def test_what_onnx_does_not_know_is_dropped(tmp_path) -> None:
    path = write(doubles(), tmp_path)
    clean = path.read_bytes()
    path.write_bytes(clean + b"\xc2\x3e\x05hello")  # field 1000
    assert onnx_graph.read(path).SerializeToString() == clean


# Damaged files


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x09", b"\x80\x04.", b"PK\x03\x04"])
def test_files_that_only_have_the_name(tmp_path, content) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelRefused, match=r"model\.onnx is not an ONNX file"):
        onnx_graph.read(tmp_path / "model.onnx")


def test_a_missing_file(tmp_path) -> None:
    with pytest.raises(ModelRefused, match=r"There is no model\.onnx"):
        onnx_graph.read(tmp_path / "model.onnx")


def test_a_file_that_is_too_large(tmp_path) -> None:
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(onnx_graph.MAX_BYTES + 1)  # holds no blocks on the disk
    with pytest.raises(ModelRefused, match="larger than a protocol buffer may be"):
        onnx_graph.read(tmp_path / "model.onnx")


def test_names_that_are_no_text(tmp_path) -> None:
    path = write(doubles(), tmp_path)
    path.write_bytes(path.read_bytes().replace(b"twice", b"tw\xffce"))
    with pytest.raises(ModelRefused, match="is no text"):
        onnx_graph.read(path)


@pytest.fixture(scope="module")
def anywhere(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=60, deadline=None)
def test_truncated_files(share, anywhere, manifest_of) -> None:
    for model in (pipeline()[0], boosted("xgboost", "binary")[0]):
        whole = model.SerializeToString()
        # What comes after the graph are versions of operations, perhaps of some that it lacks.
        graph_ends = whole.index(model.graph.SerializeToString()) + model.graph.ByteSize()
        (anywhere / "model.onnx").write_bytes(whole[: int(share * graph_ends)])
        with pytest.raises(ModelRefused):
            loader.load(anywhere, manifest_of(framework="onnx", format="onnx"), "cpu")


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_altered_files_are_loaded_or_refused(data, anywhere, manifest_of) -> None:
    content = bytearray(pipeline()[0].SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    (anywhere / "model.onnx").write_bytes(content)
    with contextlib.suppress(ModelRefused):  # any other error fails the test
        loader.load(anywhere, manifest_of(framework="onnx", format="onnx"), "cpu")
        loader.classes(anywhere)
