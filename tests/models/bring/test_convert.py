"""Files that could run code: nothing runs where it must not, and what comes out is right."""

import json
import os
import pickle
import select
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import joblib
import keras
import numpy as np
import psutil
import pytest
import skops.io
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from models import sklearn
from models import tensorflow as tensorflow_format
from models import torch as torch_format
from models.bring import convert
from models.bring.convert import Job
from models.formats.torchscript import is_script
from models.nn import Mlp
from switchyard.errors import ModelRefused
from switchyard.settings import ROOT

KWARGS = {"inputs": 3, "hidden": 4, "outputs": 2}


class Runs:
    """Does something where it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def job(how: Any, path: Path, folder: Path, **more: Any) -> Job:
    return Job(how, str(path), str(folder), **more)


def refusal(job: Job, **options: Any) -> str:
    with pytest.raises(ModelRefused) as caught:
        convert.convert(job, **options)
    return caught.value.message


def ends(pid: int) -> bool:
    """Whether a process that was killed is gone, or soon will be."""
    try:
        gone = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    readable, _, _ = select.select([gone], [], [], 10)
    os.close(gone)
    return bool(readable)


# The process may do what it wants: one sentence comes of it.


def test_a_process_that_crashes(tmp_path: Path) -> None:
    joblib.dump(Runs(os.abort), tmp_path / "m.joblib")
    sentence = refusal(job("pickle", tmp_path / "m.joblib", tmp_path / "made"))
    assert "The process that converts m.joblib was ended by signal 6" in sentence


def test_a_process_that_leaves_early(tmp_path: Path) -> None:
    joblib.dump(Runs(os._exit, 0), tmp_path / "m.joblib")
    sentence = refusal(job("pickle", tmp_path / "m.joblib", tmp_path / "made"))
    assert "gave no answer that can be read" in sentence


@pytest.mark.slow
def test_a_process_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    # A shell that says its number and then waits for a child of its own.
    script = f"echo $$ > {tmp_path / 'pid'}; sleep 600; true"
    joblib.dump(Runs(os.system, script), tmp_path / "m.joblib")
    sentence = refusal(job("pickle", tmp_path / "m.joblib", tmp_path / "made"), seconds=8)
    assert sentence == "m.joblib was not converted within 8 seconds; the process was ended."
    pid = int((tmp_path / "pid").read_text())
    assert ends(pid)


def test_a_process_is_not_waited_for_longer_than_it_runs(tmp_path: Path) -> None:
    """What it leaves behind holds its standard error, and ends with it."""
    script = f"sleep 600 & echo $! > {tmp_path / 'pid'}"
    joblib.dump(Runs(os.system, script), tmp_path / "m.joblib")
    sentence = refusal(job("pickle", tmp_path / "m.joblib", tmp_path / "made"), seconds=60)
    assert sentence == "m.joblib holds a int, which is no scikit-learn estimator."
    pid = int((tmp_path / "pid").read_text())
    assert ends(pid)


def test_a_process_imports_nothing_out_of_the_folder_it_runs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "skops.py").write_text("raise SystemExit('mine')")
    rows = np.arange(40.0).reshape(20, 2)
    joblib.dump(LogisticRegression().fit(rows, np.arange(20) % 2), tmp_path / "m.joblib")
    monkeypatch.chdir(tmp_path)
    assert convert.convert(job("pickle", tmp_path / "m.joblib", tmp_path / "made")) == ()


def test_a_process_is_bound_to_the_memory_that_is_free(tmp_path: Path) -> None:
    code = (
        "import pathlib, resource;"
        f"pathlib.Path({str(tmp_path / 'bound')!r}).write_text("
        "str(resource.getrlimit(resource.RLIMIT_DATA)[0]))"
    )
    joblib.dump(Runs(exec, code), tmp_path / "m.joblib")
    refusal(job("pickle", tmp_path / "m.joblib", tmp_path / "made"))
    bound = int((tmp_path / "bound").read_text())
    assert 0 < bound <= psutil.virtual_memory().total


def test_too_much_memory_is_one_sentence(tmp_path: Path) -> None:
    code = "b'x' * (1 << 60)"
    joblib.dump(Runs(eval, code), tmp_path / "m.joblib")
    sentence = refusal(job("pickle", tmp_path / "m.joblib", tmp_path / "made"))
    assert sentence == "m.joblib takes more memory to convert than is free on this machine."


def test_what_a_file_prints_is_not_taken_for_the_answer(tmp_path: Path) -> None:
    joblib.dump(Runs(print, json.dumps({"notes": ["trust me"]})), tmp_path / "m.joblib")
    sentence = refusal(job("pickle", tmp_path / "m.joblib", tmp_path / "made"))
    assert "holds a NoneType, which is no scikit-learn estimator" in sentence


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps("text")[:-3]])
def test_a_file_that_is_no_pickle(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(content)
    sentence = refusal(job("pickle", tmp_path / "m.pkl", tmp_path / "made"))
    assert sentence.startswith("m.pkl is no pickle that can be read: it is damaged, cut off or")


def test_what_a_pickle_does_is_not_blamed_on_its_form(tmp_path: Path) -> None:
    joblib.dump(Runs(exec, "raise ValueError('mine')"), tmp_path / "m.pkl")
    sentence = refusal(job("pickle", tmp_path / "m.pkl", tmp_path / "made"))
    assert sentence == "m.pkl cannot be converted (ValueError: mine)."


# Pickles.


def test_types_outside_the_list_are_refused_although_the_pickle_is_trusted(tmp_path: Path) -> None:
    rows = np.arange(40.0).reshape(20, 2)
    fitted = KNeighborsClassifier(algorithm="kd_tree").fit(rows, np.arange(20) % 2)
    joblib.dump(fitted, tmp_path / "m.joblib")
    sentence = refusal(job("pickle", tmp_path / "m.joblib", tmp_path / "made"))
    assert "sklearn.neighbors._kd_tree.KDTree" in sentence
    assert "not on the list of types" in sentence
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("write", [joblib.dump, "pickle", "compressed"])
def test_an_estimator_becomes_skops(write: Any, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 3))
    fitted = HistGradientBoostingClassifier(max_iter=5).fit(rows, rows[:, 0] > 0)
    path = tmp_path / "m.pkl"
    if write == "pickle":
        path.write_bytes(pickle.dumps(fitted))
    elif write == "compressed":
        joblib.dump(fitted, path, compress=3)
    else:
        write(fitted, path)
    assert convert.convert(job("pickle", path, tmp_path / "made")) == ()
    made = tmp_path / "made" / sklearn.MODEL_FILE
    loaded = skops.io.load(made, trusted=skops.io.get_untrusted_types(file=made))
    np.testing.assert_array_equal(loaded.predict_proba(rows), fitted.predict_proba(rows))


def test_another_version_of_scikit_learn_is_told(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 3))
    fitted = HistGradientBoostingClassifier(max_iter=5).fit(rows, rows[:, 0] > 0)
    state = fitted.__getstate__() | {"_sklearn_version": "1.0.1"}
    fitted.__class__.__getstate__, original = (lambda _: state), fitted.__class__.__getstate__
    try:
        joblib.dump(fitted, tmp_path / "m.joblib")
    finally:
        fitted.__class__.__getstate__ = original
    (note,) = convert.convert(job("pickle", tmp_path / "m.joblib", tmp_path / "made"))
    assert "made with scikit-learn 1.0.1" in note


# Weights.


def weights_job(path: Path, folder: Path, **kwargs: Any) -> Job:
    return job("weights", path, folder, model_class="models.nn:Mlp", model_kwargs=KWARGS | kwargs)


@pytest.fixture
def mlp() -> Mlp:
    torch.manual_seed(0)
    return Mlp(**KWARGS).eval()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": state},
        lambda state: {"model_state_dict": state, "optimizer": {"lr": 0.1}},
    ],
    ids=["plain", "checkpoint", "training loop"],
)
def test_a_state_dict_becomes_safetensors(wrap: Any, mlp: Mlp, tmp_path: Path, rows) -> None:
    torch.save(wrap(mlp.state_dict()), tmp_path / "w.pt")
    convert.convert(weights_job(tmp_path / "w.pt", tmp_path / "made"))
    check_weights(tmp_path / "made", mlp, rows)


@pytest.mark.parametrize("how", ["script", "trace"])
def test_torchscript_gives_its_weights(how: str, mlp: Mlp, tmp_path: Path, rows) -> None:
    made = torch.jit.script(mlp) if how == "script" else torch.jit.trace(mlp, torch.zeros(2, 3))
    made.save(tmp_path / "m.pt")
    assert is_script(tmp_path / "m.pt")
    convert.convert(weights_job(tmp_path / "m.pt", tmp_path / "made"))
    check_weights(tmp_path / "made", mlp, rows)


def check_weights(folder: Path, module: Mlp, rows: np.ndarray[Any, Any]) -> None:
    from safetensors.torch import load_model

    loaded = Mlp(**KWARGS)
    load_model(loaded, folder / torch_format.WEIGHTS_FILE)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(torch.tensor(rows)), module(torch.tensor(rows)))


def test_a_pickled_module_is_not_run(mlp: Mlp, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.save({"model": Runs(Path.touch, marker)}, tmp_path / "m.pt")
    sentence = refusal(weights_job(tmp_path / "m.pt", tmp_path / "made"))
    assert "torch.save(model.state_dict(), 'weights.pt')" in sentence
    torch.save(mlp, tmp_path / "whole.pt")
    assert "a whole pickled module" in refusal(weights_job(tmp_path / "whole.pt", tmp_path / "m"))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([1, 2], "holds no state dict"),
        ({}, "holds no state dict"),
        ({"layers.0.weight": "text"}, "holds no state dict"),
        ({"other": torch.zeros(2)}, "Missing key"),
        (Mlp(3, 9, 2).state_dict(), "size mismatch"),
    ],
)
def test_other_contents(value: Any, sentence: str, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "w.pth")
    assert sentence in refusal(weights_job(tmp_path / "w.pth", tmp_path / "made"))


def test_a_file_of_another_format(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"hello")
    assert "damaged or of another format" in refusal(weights_job(tmp_path / "w.pt", tmp_path / "m"))


def test_compressed_weights_are_refused(tmp_path: Path, mlp: Mlp) -> None:
    torch.save(mlp.state_dict(), tmp_path / "w.pt")
    with (
        zipfile.ZipFile(tmp_path / "w.pt") as stored,
        zipfile.ZipFile(tmp_path / "small.pt", "w", zipfile.ZIP_DEFLATED) as made,
    ):
        for name in stored.namelist():
            made.writestr(name, stored.read(name))
    sentence = refusal(weights_job(tmp_path / "small.pt", tmp_path / "made"))
    assert sentence == "small.pt holds compressed data, which torch never writes."


# Keras.


def test_a_keras_file_becomes_a_saved_model(tmp_path: Path, rows, manifest_of) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")])
    model.save(tmp_path / "m.keras")
    (tmp_path / "made").mkdir()
    convert.convert(job("keras", tmp_path / "m.keras", tmp_path / "made"))
    manifest = manifest_of(framework="tensorflow", format="savedmodel")
    predict = tensorflow_format.load(tmp_path / "made", manifest, "cpu")
    np.testing.assert_allclose(predict(rows), model(rows), rtol=1e-5)


def test_a_lambda_is_not_made(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    layer = keras.layers.Lambda(
        lambda x, path=str(marker): (__import__("pathlib").Path(path).touch(), x)[1]
    )
    keras.Sequential([keras.Input((3,)), layer]).save(tmp_path / "m.keras")
    marker.unlink(missing_ok=True)
    sentence = refusal(job("keras", tmp_path / "m.keras", tmp_path / "made"))
    assert "Keras does not make m.keras in safe mode" in sentence
    assert "whose `function` is a Python lambda); a model" in sentence
    assert "safe_mode=False" not in sentence
    assert not marker.exists()


def test_a_keras_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(b"PK")
    sentence = refusal(job("keras", tmp_path / "m.keras", tmp_path / "made"))
    assert sentence.startswith("m.keras is no .keras file that can be read")
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("other", b"")
    sentence = refusal(job("keras", tmp_path / "m.keras", tmp_path / "made"))
    assert sentence.startswith("m.keras is no .keras file that can be read")


# Where it runs.


def test_a_trusted_pickle_runs_in_another_process(tmp_path: Path) -> None:
    joblib.dump(Runs(os.system, f"echo $PPID > {tmp_path / 'pid'}"), tmp_path / "m.joblib")
    refusal(job("pickle", tmp_path / "m.joblib", tmp_path / "made"))
    assert int((tmp_path / "pid").read_text()) != os.getpid()


def test_the_process_that_converts_imports_only_what_it_needs() -> None:
    script = (
        "import sys, models.bring.convert;"
        "print(sorted({'torch', 'tensorflow', 'sklearn', 'joblib', 'keras'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
