"""Each attack is first shown to work on plain `torch.export.load`, then to be refused by ours."""

import importlib
import io
import json
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import models.torch as loader
from models.formats import pt2, pt2_program
from models.nn import Mlp
from switchyard.errors import ModelRefused
from switchyard.settings import ROOT

PROGRAM = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"
SAMPLES = "data/sample_inputs/model.pt"


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    loader.save_exported(Mlp(3, 4, 2), (torch.zeros(2, 3),), folder)
    return folder / loader.EXPORTED_FILE


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def write(path, content, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in content.items():
            archive.writestr(f"model/{name}", data)


def edit(content, name, change):
    parsed = json.loads(content[name])
    change(parsed)
    content[name] = json.dumps(parsed).encode()


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def touch(marker):
    return f"__import__('pathlib').Path({str(marker)!r}).touch()"


# The five known ways, and two more


def samples(content, marker):
    content[SAMPLES] = torch_pickle(Bomb(marker))


def torch_pickle(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def pickled_weights(content, marker):
    content["data/weights/weight_0"] = torch_pickle(Bomb(marker))

    def change(table):
        entry = next(e for e in table["config"].values() if e["path_name"] == "weight_0")
        entry["use_pickle"] = True

    edit(content, WEIGHTS, change)


def legacy_weights(content, marker):
    content["data/weights/model.pt"] = torch_pickle(Bomb(marker))


def opaque_constant(content, marker):
    content["data/constants/opaque_obj_0"] = pickle.dumps(Bomb(marker))
    entry = {
        "path_name": "opaque_obj_0",
        "is_param": False,
        "use_pickle": True,
        "tensor_meta": None,
    }
    edit(content, CONSTANTS, lambda table: table["config"].update(evil=entry))


def expression(content, marker):
    def change(program):
        values = program["graph_module"]["graph"]["tensor_values"]
        values["rows"]["sizes"][0]["as_expr"]["expr_str"] = f"[{touch(marker)}, 2][1]"

    edit(content, PROGRAM, change)


def guard_code(content, marker):
    edit(content, PROGRAM, lambda program: program.update(guards_code=[f"not {touch(marker)}"]))


def weight_name(content, marker):
    # FX writes a weight as getattr(self.layers, "NAME") where the name is no identifier.
    name = 'layers.0.x", __import__("hostile_module")) or ("'
    (marker.parent / "hostile_module.py").write_text(touch(marker))
    for member in (PROGRAM, WEIGHTS):
        text = content[member].decode()
        content[member] = text.replace('"layers.0.weight"', json.dumps(name)).encode()


def pytree_import(content, marker):
    folder = marker.parent
    (folder / "hostile_module.py").write_text(touch(marker))
    spec = json.dumps(
        [
            1,
            {
                "type": "collections.defaultdict",
                "context": {
                    "default_factory_module": "hostile_module",
                    "default_factory_name": "factory",
                    "dict_context": [],
                },
                "children_spec": [],
            },
        ]
    )

    def change(program):
        program["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = spec

    edit(content, PROGRAM, change)


ATTACKS = {
    samples: "pickled sample inputs",
    pickled_weights: "pickled weights",
    legacy_weights: "pickled weights",
    opaque_constant: "pickled constant",
    expression: "expression .* which torch would evaluate",
    guard_code: "guard code",
    weight_name: "which is not a plain name",
    pytree_import: "something other than tensors in tuples",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_file_that_runs_code_in_torch_is_refused_and_does_not_run(
    attack, clean, tmp_path, monkeypatch
):
    marker = tmp_path / "ran"
    path = tmp_path / "model.pt2"
    content = members(clean)
    attack(content, marker)
    write(path, content)
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ModelRefused, match=ATTACKS[attack]):
        pt2.load(path)
    assert not marker.exists()

    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    monkeypatch.delitem(sys.modules, "hostile_module", raising=False)
    importlib.invalidate_caches()
    # Guard code is compiled only for files that have sample inputs, so this one gets honest ones.
    content[SAMPLES] = content[SAMPLES] or torch_pickle(((torch.zeros(2, 3),), {}))
    write(path, content)
    try:
        torch.export.load(path).module()(torch.zeros(2, 3))
    except Exception as error:  # the attack has done its work by then, or the next line tells
        print(error)
    assert marker.exists(), "plain torch is immune to this file, so it proves nothing"


# What an honest file does


def test_a_plain_export_with_its_stack_traces_loads(clean, rows):
    assert b"stack_trace" in members(clean)[PROGRAM]
    program = pt2.load(clean)
    torch.manual_seed(0)
    np.testing.assert_allclose(
        program.module()(torch.from_numpy(rows)).detach(),
        Mlp(3, 4, 2)(torch.from_numpy(rows)).detach(),
    )


def test_torch_sees_only_what_was_checked(clean):
    checked = pt2.scan(clean)
    assert b"stack_trace" not in checked[PROGRAM]
    assert set(checked) == set(members(clean)) - {
        SAMPLES,
        "archive_format",
        "archive_version",
        "byteorder",
        ".data/version",
        ".data/serialization_id",
    }


class Convolution(torch.nn.Module):
    """Reshapes by the batch, so that sizes become expressions."""

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(1, 4, 3, padding=1)
        self.attention = torch.nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm = torch.nn.LayerNorm(4)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, image):
        rows = image.shape[0]
        out = torch.nn.functional.gelu(self.convolution(image.view(rows, 1, 4, 4)))
        out = out.flatten(2).transpose(1, 2)
        out = self.norm(self.attention(out, out, out)[0])
        return torch.softmax(out.reshape(rows * 16, 4).view(rows, -1) * self.scale, dim=1)


def test_convolutions_and_attention_load(tmp_path):
    module = Convolution()
    loader.save_exported(module, (torch.zeros(3, 16),), tmp_path)
    loaded = pt2.load(tmp_path / loader.EXPORTED_FILE).module()
    image = torch.rand(5, 16)
    torch.testing.assert_close(loaded(image), module(image))


# Files that are not what they say


def refuse(clean, tmp_path, match, change, **options):
    content = members(clean)
    change(content)
    write(tmp_path / "model.pt2", content, **options)
    with pytest.raises(ModelRefused, match=match):
        pt2.scan(tmp_path / "model.pt2")


def test_a_pickle_is_refused(tmp_path):
    (tmp_path / "model.pt2").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(ModelRefused, match=r"not a .pt2 file .*pickle and joblib files are never"):
        pt2.scan(tmp_path / "model.pt2")
    assert not (tmp_path / "ran").exists()


def test_a_truncated_file_is_refused(clean, tmp_path):
    (tmp_path / "model.pt2").write_bytes(clean.read_bytes()[:-100])
    with pytest.raises(ModelRefused, match=r"not a .pt2 file"):
        pt2.scan(tmp_path / "model.pt2")


def test_a_torch_save_file_is_refused(tmp_path):
    torch.save(Mlp(3, 4, 2).state_dict(), tmp_path / "model.pt2")
    with pytest.raises(ModelRefused, match="unexpected member"):
        pt2.scan(tmp_path / "model.pt2")


def test_a_compressed_bomb_is_refused(clean, tmp_path):
    refuse(
        clean,
        tmp_path,
        "compressed",
        lambda c: c.update({"data/weights/weight_9": bytes(50_000_000)}),
        compression=zipfile.ZIP_DEFLATED,
    )


def test_a_member_twice_is_refused(clean, tmp_path):
    path = shutil.copy(clean, tmp_path / "model.pt2")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/{PROGRAM}", b"{}")
    with pytest.raises(ModelRefused, match="a member twice"):
        pt2.scan(path)


def test_several_roots_are_refused(clean, tmp_path):
    path = shutil.copy(clean, tmp_path / "model.pt2")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/models/model.json", b"{}")
    with pytest.raises(ModelRefused, match="several roots"):
        pt2.scan(path)


@pytest.mark.parametrize(
    "name",
    [
        "data/aotinductor/model/a.so",
        "extra/x",
        "models/other.json",
        "data/weights/../../x",
        "version",
    ],
)
def test_an_unexpected_member_is_refused(name, clean, tmp_path):
    refuse(clean, tmp_path, "unexpected member", lambda c: c.update({name: b"x"}))


@pytest.mark.parametrize("name", [PROGRAM, WEIGHTS, CONSTANTS])
def test_a_missing_part_is_refused(name, clean, tmp_path):
    refuse(clean, tmp_path, "not a complete", lambda c: c.pop(name))


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"[" * 200_000, b"\xff"])
def test_a_program_that_is_no_object_is_refused(text, clean, tmp_path):
    refuse(clean, tmp_path, "not valid JSON|not an object", lambda c: c.update({PROGRAM: text}))


def test_an_empty_program_is_refused(clean, tmp_path):
    refuse(clean, tmp_path, "malformed program", lambda c: c.update({PROGRAM: b"{}"}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sizes", [{"as_int": 2**39}]),
        ("sizes", [{"as_int": -1}]),
        ("sizes", [{"as_int": True}]),
        ("strides", [{"as_int": 10**6}]),
        ("storage_offset", {"as_int": 10**6}),
        ("dtype", 99),
        ("layout", 1),
        ("device", {"type": "meta", "index": None}),
    ],
)
def test_a_weight_beyond_its_bytes_or_of_a_strange_kind_is_refused(key, value, clean, tmp_path):
    def change(content):
        def bias(table):
            table["config"]["layers.0.bias"]["tensor_meta"][key] = value

        edit(content, WEIGHTS, bias)

    refuse(clean, tmp_path, "weight", change)


@pytest.mark.parametrize("path_name", ["weight_99", "../models/model.json", "weight_0/..", 7])
def test_a_weight_that_is_not_there_is_refused(path_name, clean, tmp_path):
    def change(content):
        def bias(table):
            table["config"]["layers.0.bias"]["path_name"] = path_name

        edit(content, WEIGHTS, bias)

    refuse(clean, tmp_path, "names a weight|malformed table", change)


# Single strings of the program


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.save.default",
        "torch.ops.aten.empty.memory_format",
        "torch.ops.higher_order.cond",
        "torch.load",
        "torch.hub.load",
        "_operator.call",
        "_operator.methodcaller",
        "math.sqrt",
        "#hostile:op",
        "torch.ops.aten.add.Tensor.__call__",
        "torch.ops.aten.add",
        "os.system",
    ],
)
def test_an_operator_off_the_list_is_refused(target, clean, tmp_path):
    def change(content):
        def first(program):
            program["graph_module"]["graph"]["nodes"][0]["target"] = target

        edit(content, PROGRAM, first)

    refuse(clean, tmp_path, "operator", change)


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s31', positive=True, integer=True)",
        "s0",
        "u12",
        "-3",
        "Integer(4)",
        "Mul(Integer(3), Symbol('s0', integer=True))",
        "FloorDiv(Add(s0, Integer(-1)), Integer(2))",
    ],
)
def test_size_expressions_pass(text):
    pt2_program._check_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "__import__('os')",
        "Symbol('s0').__class__",
        "Symbol('x')",
        "Pow(9, Pow(9, 9))",
        "9**9**9",
        "Symbol(name='s0')",
        "Symbol('s0', **{})",
        "Add(*[1])",
        "[1][0]",
        "f'{1}'",
        "lambda: 0",
        "Integer(1e9)",
        "s0 + 1",
        "(" * 5000,
        "Add(" * 3000 + ")" * 3000,
        "True",
        "Symbol('s99999999')",
    ],
)
def test_other_expressions_are_refused(text):
    with pytest.raises(ModelRefused, match=r"which torch would evaluate|unknown symbol"):
        pt2_program._check_expression(text)


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a.b", "import", "é", "a\n", "1a", "a'"])
def test_names_that_are_not_identifiers_are_refused(name):
    with pytest.raises(ModelRefused, match="as a name"):
        pt2_program._check_identifier(name)


def test_every_listed_operator_exists():
    assert [n for n in pt2_program.ATEN_OPERATORS if not hasattr(torch.ops.aten, n)] == []


def test_no_listed_operator_takes_a_file_name():
    for name in pt2_program.ATEN_OPERATORS:
        packet = getattr(torch.ops.aten, name)
        for overload in packet.overloads():
            arguments = {a.name for a in getattr(packet, overload)._schema.arguments}
            assert not {"filename", "file", "url", "code"} & arguments, (name, overload)


def test_the_list_of_operators_lies_where_the_refusal_says() -> None:
    with pytest.raises(ModelRefused, match="not on the list of operators") as caught:
        pt2_program._check_target("torch.ops.aten.save.default")
    named = caught.value.message.partition("(")[2].partition(")")[0]
    assert ROOT / named == Path(pt2_program.__file__)
