"""Each file operation is first shown to work on plain TensorFlow, then to be refused by ours."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.framework import op_def_registry

from models.formats import savedmodel
from switchyard.errors import ModelRefused


class Scores(tf.Module):
    """A linear model that does something else as well."""

    def __init__(self, also=lambda rows: None):
        super().__init__()
        self.weights = tf.Variable(tf.ones((3, 2)))
        self.also = also

    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="rows")])
    def __call__(self, rows):
        self.also(rows)
        return {"scores": tf.nn.softmax(rows @ self.weights)}


def export(module, folder):
    tf.saved_model.save(module, str(folder), signatures=module.__call__)


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clean") / "saved_model"
    export(Scores(), folder)
    return folder


@pytest.fixture
def edit(clean, tmp_path):
    """Returns a function that copies the clean model with a change to its graph."""

    def make(change):
        folder = shutil.copytree(clean, tmp_path / "saved_model")
        path = folder / "saved_model.pb"
        saved = SavedModel.FromString(path.read_bytes())
        change(saved.meta_graphs[0])
        path.write_bytes(saved.SerializeToString())
        return folder

    return make


def function(graph, part):
    return next(f for f in graph.graph_def.library.function if part in f.signature.name)


def test_a_clean_model_passes(clean):
    savedmodel.check(clean)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ModelRefused, match=r"no saved_model\.pb"):
        savedmodel.check(tmp_path)


def test_bytes_that_are_no_graph_are_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\xff" * 100)
    with pytest.raises(ModelRefused, match="not a SavedModel"):
        savedmodel.check(tmp_path)


# Operations that reach out of the process


def write_file(marker):
    return lambda rows: tf.io.write_file(str(marker), "x")


def printed_file(marker):
    return lambda rows: tf.raw_ops.PrintV2(input="x", output_stream=f"file://{marker}")


def python_code(marker):
    return lambda rows: tf.py_function(lambda: marker.touch(), [], [])


def numpy_code(marker):
    return lambda rows: tf.numpy_function(lambda: marker.touch() or np.int64(0), [], tf.int64)


def branch(marker):
    def also(rows):
        tf.cond(
            tf.shape(rows)[0] > 0,
            lambda: [tf.io.write_file(str(marker), "x"), 0][1],
            lambda: 0,
        )

    return also


@pytest.mark.parametrize(
    ("build", "operation"),
    [
        (write_file, "WriteFile"),
        (printed_file, "PrintV2"),
        (python_code, "EagerPyFunc"),
        (numpy_code, "PyFunc"),
        (branch, "WriteFile"),
    ],
)
def test_an_operation_that_reaches_out_is_refused(build, operation, tmp_path):
    marker = tmp_path / "ran"
    folder = tmp_path / "saved_model"
    module = Scores(build(marker))
    export(module, folder)
    with pytest.raises(ModelRefused, match=f"operation '{operation}' in the function"):
        savedmodel.check(folder)
    assert not marker.exists()
    tf.saved_model.load(str(folder)).signatures["serving_default"](rows=tf.zeros((1, 3)))
    assert marker.exists(), "plain TensorFlow is immune to this file, so it proves nothing"


@pytest.mark.parametrize(
    "build",
    [
        lambda rows: tf.io.read_file("/etc/hostname"),
        lambda rows: tf.io.matching_files("/etc/*"),
        lambda rows: tf.raw_ops.ImmutableConst(
            dtype=tf.uint8, shape=[4], memory_region_name="/etc/hostname"
        ),
        lambda rows: tf.raw_ops.DebugIdentityV2(input=rows, debug_urls=["file:///tmp/x"]),
        lambda rows: tf.raw_ops.RestoreV2(
            prefix="/tmp/x", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
        ),
        lambda rows: tf.data.TextLineDataset("/etc/hostname").reduce(0, lambda a, b: a + 1),
        lambda rows: tf.random.normal((1,)),
    ],
)
def test_an_operation_off_the_list_is_refused(build, tmp_path):
    export(Scores(build), tmp_path / "saved_model")
    with pytest.raises(ModelRefused, match="not on the list of operations that only compute"):
        savedmodel.check(tmp_path / "saved_model")


def test_an_operation_in_the_main_graph_is_refused(edit):
    def change(graph):
        graph.graph_def.node.add(name="evil", op="ReadFile")

    with pytest.raises(ModelRefused, match="'ReadFile' in the graph"):
        savedmodel.check(edit(change))


# The functions that save and restore checkpoints


def test_the_saver_holds_only_its_own_file_operations(edit):
    def change(graph):
        function(graph, "traced_save").node_def.add(name="evil", op="WriteFile")

    with pytest.raises(ModelRefused, match=r"'WriteFile' in the function .*traced_save"):
        savedmodel.check(edit(change))


def test_a_saver_that_another_function_calls_is_refused(edit):
    def change(graph):
        saver = function(graph, "traced_save").signature.name
        wrapper = function(graph, "signature_wrapper")
        call = next(node for node in wrapper.node_def if node.op == "StatefulPartitionedCall")
        call.attr["f"].func.name = saver

    with pytest.raises(ModelRefused, match=r"'(ShardedFilename|SaveV2)' in the function"):
        savedmodel.check(edit(change))


def test_a_saver_named_by_a_text_attribute_is_refused(edit):
    def change(graph):
        saver = function(graph, "traced_restore").signature.name
        function(graph, "signature_wrapper").node_def[0].attr["f"].s = saver.encode()

    with pytest.raises(ModelRefused, match="'RestoreV2' in the function"):
        savedmodel.check(edit(change))


def test_a_saver_used_as_an_operation_is_refused(edit):
    def change(graph):
        saver = function(graph, "traced_restore").signature.name
        function(graph, "signature_wrapper").node_def.add(name="evil", op=saver)

    # Which of the two functions comes first in the file, and is named, is up to TensorFlow.
    with pytest.raises(ModelRefused, match=r"'(RestoreV2|__inference__traced_restore_\d+)' in the"):
        savedmodel.check(edit(change))


@pytest.mark.parametrize("place", ["function", "bare", "captured", "table"])
def test_a_saver_that_an_object_holds_is_refused(place, edit):
    def change(graph):
        name = function(graph, "traced_restore").signature.name
        objects = graph.object_graph_def
        if place == "function":
            objects.nodes.add().function.concrete_functions.append(name)
        elif place == "bare":
            objects.nodes.add().bare_concrete_function.concrete_function_name = name
        elif place == "captured":
            objects.nodes.add().captured_tensor.concrete_function = name
        else:
            objects.concrete_functions[name].SetInParent()

    with pytest.raises(ModelRefused, match="'RestoreV2' in the function"):
        savedmodel.check(edit(change))


# The object graph


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda node: setattr(node, "registered_name", "Custom.Evil"), "Custom.Evil"),
        (lambda node: setattr(node, "registered_saver", "Custom.Saver"), "Custom.Saver"),
        (
            lambda node: setattr(node.serialized_user_proto, "type_url", "x/Evil"),
            "registered Python class, 'x/Evil'",
        ),
        (lambda node: setattr(node.user_object, "identifier", "optimizer"), "type 'optimizer'"),
        (
            lambda node: setattr(node.user_object, "identifier", "_tf_keras_layer"),
            "type '_tf_keras_layer'",
        ),
        (lambda node: node.asset.SetInParent(), "the kind 'asset'"),
        (lambda node: node.ClearField("user_object"), "the kind None"),
        (
            lambda node: node.children.add(node_id=0, local_name="__class__"),
            "sets '__class__' on a Python object",
        ),
    ],
)
def test_an_object_that_is_more_than_data_is_refused(change, reason, edit):
    with pytest.raises(ModelRefused, match=reason):
        savedmodel.check(edit(lambda graph: change(graph.object_graph_def.nodes[0])))


def test_a_table_that_reads_a_file_is_refused(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("a\nb\n")
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(words),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        -1,
    )
    tf.saved_model.save(module, str(tmp_path / "saved_model"))
    with pytest.raises(ModelRefused, match=r"does not need, assets/words\.txt"):
        savedmodel.check(tmp_path / "saved_model")


def test_an_asset_that_points_out_of_the_folder_is_refused(edit):
    def change(graph):
        graph.asset_file_def.add(filename="../../../etc/passwd")

    with pytest.raises(ModelRefused, match="reads an asset file"):
        savedmodel.check(edit(change))


# Files and forms


@pytest.mark.parametrize(
    "name",
    [
        "keras_metadata.pb",
        "saved_model.pbtxt",
        "saved_model.cpb",
        "assets/words.txt",
        "model.pkl",
        "debug/saved_model_debug_info.pb",
        "assets.extra/x",
        "variables/variables.data-passwd",
        "variables/variables.data-00000-of-00001.bak",
    ],
)
def test_a_file_that_inference_does_not_need_is_refused(name, edit):
    folder = edit(lambda graph: None)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"")
    with pytest.raises(ModelRefused, match=f"does not need, {name}"):
        savedmodel.check(folder)


@pytest.mark.parametrize("name", ["variables/variables.data-00000-of-00002", "more"])
def test_a_link_is_refused(name, edit, tmp_path):
    folder = edit(lambda graph: None)
    (tmp_path / "elsewhere").mkdir()
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelRefused, match=f"holds a link, {name}"):
        savedmodel.check(folder)


@pytest.mark.parametrize("copies", [0, 2])
def test_none_or_several_graphs_are_refused(copies, edit):
    folder = edit(lambda graph: None)
    path = folder / "saved_model.pb"
    saved = SavedModel.FromString(path.read_bytes())
    graph = saved.meta_graphs[0]
    del saved.meta_graphs[:]
    saved.meta_graphs.extend([graph] * copies)
    path.write_bytes(saved.SerializeToString())
    with pytest.raises(ModelRefused, match="not written by tf"):
        savedmodel.check(folder)


def test_a_model_of_tensorflow_1_is_refused(edit):
    with pytest.raises(ModelRefused, match="TensorFlow 2"):
        savedmodel.check(edit(lambda graph: graph.ClearField("object_graph_def")))


@pytest.mark.parametrize("size", [2**40, -1])
def test_a_constant_that_fills_memory_is_refused(size, edit):
    def change(graph):
        node = function(graph, "traced_restore").node_def.add(name="big", op="Const")
        node.attr["value"].tensor.tensor_shape.dim.add(size=size)

    with pytest.raises(ModelRefused, match="a constant of"):
        savedmodel.check(edit(change))


# The list itself


def test_every_listed_operation_exists():
    assert [name for name in savedmodel.ALLOWED if op_def_registry.get(name) is None] == []


def test_operations_with_effects_are_the_ones_that_were_looked_at():
    """TensorFlow marks what has effects; each of these touches only the model's own state."""
    stateful = {name for name in savedmodel.ALLOWED if op_def_registry.get(name).is_stateful}
    assert stateful == {
        "Assert", "AssignAddVariableOp", "AssignSubVariableOp", "AssignVariableOp", "CheckNumerics",
        "DisableCopyOnRead", "HashTableV2", "If", "LookupTableExportV2", "LookupTableFindV2",
        "LookupTableImportV2", "LookupTableInsertV2", "LookupTableSizeV2", "MutableHashTableV2",
        "ReadVariableOp", "ResourceGather", "ResourceGatherNd", "StatefulPartitionedCall",
        "VarHandleOp", "VarIsInitializedOp", "VariableShape", "While",
    }  # fmt: skip


def test_no_listed_operation_names_a_file():
    for name in savedmodel.ALLOWED:
        definition = op_def_registry.get(name)
        names = {part.name for part in (*definition.input_arg, *definition.attr)}
        assert not any(
            word in part for part in names for word in ("file", "path", "url", "address")
        ), name
