"""Weights of TorchScript files, whose program never runs."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from models.formats import torchscript
from switchyard.errors import ModelRefused


class Net(torch.nn.Module):
    """Nested modules, buffers of whole numbers, and a weight that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        self.first = torch.nn.Linear(4, 4, bias=False)
        self.second = torch.nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(self.inner(rows)))


class Writes(torch.nn.Module):
    """A module whose program writes a file as soon as it is loaded."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.weight = torch.nn.Parameter(torch.ones(2))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows * self.weight

    @torch.jit.export
    def __getstate__(self) -> tuple[str, torch.Tensor, bool]:
        return (self.path, self.weight, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, torch.Tensor, bool]) -> None:
        self.path, self.weight, self.training = state[0], state[1], state[2]
        torch.save(state[1], state[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_they_are_those_of_the_module(dtype: torch.dtype, tmp_path: Path) -> None:
    module = Net().eval().to(dtype)
    torch.jit.script(module).save(tmp_path / "m.pt")
    found = torchscript.weights(tmp_path / "m.pt")
    expected = module.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)
    assert found["first.weight"].data_ptr() == found["second.weight"].data_ptr()


def test_a_program_that_runs_while_it_is_loaded_does_not_run_here(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.jit.script(Writes(str(marker))).save(tmp_path / "m.pt")
    torch.jit.load(tmp_path / "m.pt")
    assert marker.exists()  # so it would run
    marker.unlink()
    torchscript.weights(tmp_path / "m.pt")
    assert not marker.exists()


def rewritten(path: Path, content: bytes) -> Path:
    """A TorchScript file with another `data.pkl`."""
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, old in members.items():
            archive.writestr(name, content if name.endswith("/data.pkl") else old)
    return path


class Touches:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return type(self.marker).touch, (self.marker,)


def test_a_pickle_in_its_place_is_refused_and_does_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = rewritten(tmp_path / "m.pt", pickle.dumps(Touches(marker)))
    with pytest.raises(ModelRefused, match="which is no weight"):
        torchscript.weights(path)
    assert not marker.exists()


def pickled_module(size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> bytes:
    """A module with one tensor over storage 0, as TorchScript's own pickler writes it."""
    buffer = io.BytesIO()

    class Storage:
        pass

    class Pickler(pickle._Pickler):  # the one written in Python, whose parts can be used alone
        def persistent_id(self, value: Any) -> Any:
            return (
                ("storage", Global("torch", "FloatStorage"), "0", "cpu", 4)
                if isinstance(value, Storage)
                else None
            )

    class Global:
        def __init__(self, module: str, name: str) -> None:
            self.module, self.name = module, name

    def save_global(pickler: Any, value: Any) -> None:
        pickler.write(f"c{value.module}\n{value.name}\n".encode())

    Pickler.dispatch = {**pickle._Pickler.dispatch, Global: save_global}  # type: ignore[assignment]
    pickler = Pickler(buffer, protocol=2)
    pickler.write(pickle.PROTO + b"\x02")
    save_global(pickler, Global("__torch__", "Net"))
    pickler.write(pickle.EMPTY_TUPLE + pickle.NEWOBJ)
    pickler.write(pickle.EMPTY_DICT + pickle.MARK)
    pickler.save("weight")
    save_global(pickler, Global("torch._utils", "_rebuild_tensor_v2"))
    pickler.save((Storage(), offset, size, stride, False, None))
    pickler.write(pickle.REDUCE + pickle.SETITEMS + pickle.BUILD + pickle.STOP)
    return buffer.getvalue()


def test_a_tensor_within_its_bytes(tmp_path: Path) -> None:
    path = rewritten(tmp_path / "m.pt", pickled_module((2, 2), (2, 1), 0))
    assert torchscript.weights(path)["weight"].shape == (2, 2)


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [((5,), (1,), 0), ((2, 2), (2, 1), 1), ((2,), (1000,), 0), ((1,), (1,), -1)],
)
def test_a_tensor_beyond_its_bytes_is_refused(
    size: tuple[int, ...], stride: tuple[int, ...], offset: int, tmp_path: Path
) -> None:
    path = rewritten(tmp_path / "m.pt", pickled_module(size, stride, offset))
    with pytest.raises(ModelRefused, match="damaged TorchScript file"):
        torchscript.weights(path)


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps([1, 2])])
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"damaged|holds no module"):
        torchscript.weights(rewritten(tmp_path / "m.pt", content))


@pytest.mark.parametrize("how", ["compressed", "twice", "larger"])
def test_members_that_take_more_than_the_file_has(how: str, tmp_path: Path) -> None:
    compression = zipfile.ZIP_DEFLATED if how == "compressed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(tmp_path / "m.pt", "w", compression) as archive:
        archive.writestr("m/constants.pkl", b"")
        archive.writestr("m/data.pkl", b"\0" * 2**20)
        if how == "twice":
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr("m/data.pkl", b"")
        if how == "larger":
            archive.getinfo("m/data.pkl").file_size = 2**40
    sentences = {"compressed": "compressed data", "twice": "twice", "larger": "claims to be"}
    with pytest.raises(ModelRefused, match=sentences[how]):
        torchscript.weights(tmp_path / "m.pt")


def test_other_files_are_no_script(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "w.pt")
    (tmp_path / "text").write_text("hello")
    assert not torchscript.is_script(tmp_path / "w.pt")
    assert not torchscript.is_script(tmp_path / "text")
