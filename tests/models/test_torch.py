import pickle
import warnings

import numpy as np
import pytest
import torch

import models.torch as loader
from models.nn import Mlp
from switchyard.errors import ModelRefused


@pytest.fixture
def mlp():
    torch.manual_seed(0)
    return Mlp(3, 4, 2)


@pytest.fixture
def manifest(manifest_of):
    return manifest_of(
        framework="torch",
        format="safetensors",
        output="logits",
        model_class="models.nn:Mlp",
        model_kwargs={"inputs": 3, "hidden": 4, "outputs": 2},
    )


@pytest.fixture
def exported(manifest):
    return manifest.model_copy(update={"format": "pt2", "model_class": None, "model_kwargs": {}})


def expected(module, rows):
    with torch.inference_mode():
        return module.eval()(torch.tensor(rows)).numpy()


def test_weights_answer_as_they_were_saved(mlp, rows, tmp_path, manifest):
    loader.save_weights(mlp, tmp_path)
    predict = loader.load(tmp_path, manifest, "cpu")
    np.testing.assert_array_equal(predict(rows), expected(mlp, rows))
    np.testing.assert_allclose(predict(rows.astype(np.float64)), expected(mlp, rows))


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_an_exported_program_answers_batches_of_any_size(mlp, count, rows, tmp_path, exported):
    loader.save_exported(mlp, (torch.zeros(2, 3),), tmp_path)
    predict = loader.load(tmp_path, exported, "cpu")
    np.testing.assert_allclose(predict(rows[:count]), expected(mlp, rows[:count]), rtol=1e-5)


def test_read_only_rows_are_taken_without_a_warning(mlp, rows, tmp_path, manifest):
    loader.save_weights(mlp, tmp_path)
    predict = loader.load(tmp_path, manifest, "cpu")
    read_only = np.frombuffer(rows.tobytes(), dtype=np.float32).reshape(rows.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(predict(read_only), expected(mlp, rows))


TWO_INPUTS = """
import torch
from torch import nn

class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(5, 2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, number, word):
        return self.dropout(self.words(word)) * number[:, None]

def helper():
    pass
"""


@pytest.fixture
def pair(own_project, project_module):
    name = project_module(own_project, TWO_INPUTS)
    module = __import__(name).Pair()
    return name, module


def test_arrays_by_name_reach_their_arguments(pair, tmp_path, manifest, exported):
    name, module = pair
    loader.save_weights(module, tmp_path)
    loader.save_exported(module, (torch.zeros(2), torch.zeros(2, dtype=torch.int64)), tmp_path)
    number, word = np.array([1.0, 2.0, 3.0]), np.array([0, 4, 2])
    answer = expected_pair(module, number, word)
    plain = manifest.model_copy(update={"model_class": f"{name}:Pair", "model_kwargs": {}})
    for one in (plain, exported):
        predict = loader.load(tmp_path, one, "cpu")
        np.testing.assert_allclose(predict({"word": word, "number": number}), answer)
        with pytest.raises((KeyError, TypeError), match="word"):
            predict({"number": number})


def expected_pair(module, number, word):
    with torch.inference_mode():
        return module.eval()(torch.tensor(number, dtype=torch.float32), torch.tensor(word)).numpy()


# Refusals


def test_an_example_of_one_row_is_refused(mlp, tmp_path):
    with pytest.raises(ModelRefused, match="at least 2 rows"):
        loader.save_exported(mlp, (torch.zeros(1, 3),), tmp_path)


class Sorts(torch.nn.Module):
    def forward(self, rows):
        return torch.msort(rows)


def test_an_operator_off_the_list_is_refused_at_saving(tmp_path):
    with pytest.raises(ModelRefused, match=r"torch\.ops\.aten\.msort"):
        loader.save_exported(Sorts(), (torch.zeros(2, 3),), tmp_path)


@pytest.mark.parametrize("reference", ["os:system", "torch.nn:Linear", "models.nn:absent"])
def test_a_class_that_is_not_of_the_project_is_refused(reference, mlp, tmp_path, manifest):
    loader.save_weights(mlp, tmp_path)
    with pytest.raises(ModelRefused, match=r"not code of this project|does not define"):
        loader.load(tmp_path, manifest.model_copy(update={"model_class": reference}), "cpu")


def test_a_function_of_the_project_is_no_class(pair, tmp_path, manifest):
    loader.save_weights(pair[1], tmp_path)
    with pytest.raises(ModelRefused, match=r"is not a torch\.nn\.Module"):
        loader.load(
            tmp_path, manifest.model_copy(update={"model_class": f"{pair[0]}:helper"}), "cpu"
        )


def test_weights_without_a_class_are_refused(mlp, tmp_path, manifest):
    loader.save_weights(mlp, tmp_path)
    with pytest.raises(ModelRefused, match="give model_class"):
        loader.load(tmp_path, manifest.model_copy(update={"model_class": None}), "cpu")


@pytest.mark.parametrize(
    "arguments", [{"inputs": 3, "hidden": 9, "outputs": 2}, {"inputs": 3}, {"width": 1}]
)
def test_weights_that_do_not_fit_are_refused(arguments, mlp, tmp_path, manifest):
    loader.save_weights(mlp, tmp_path)
    with pytest.raises(ModelRefused, match=r"do not fit models\.nn:Mlp"):
        loader.load(tmp_path, manifest.model_copy(update={"model_kwargs": arguments}), "cpu")


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return type(self.marker).touch, (self.marker,)


@pytest.mark.parametrize(
    "write",
    [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))],
    ids=["torch.save", "pickle"],
)
def test_pickled_weights_are_refused_and_do_not_run(write, tmp_path, manifest, exported):
    marker = tmp_path / "ran"
    write(Bomb(marker), tmp_path / loader.WEIGHTS_FILE)
    write(Bomb(marker), tmp_path / loader.EXPORTED_FILE)
    with pytest.raises(ModelRefused, match="pickle files are never loaded"):
        loader.load(tmp_path, manifest, "cpu")
    with pytest.raises(ModelRefused, match=r"never loaded|unexpected member"):
        loader.load(tmp_path, exported, "cpu")
    assert not marker.exists()


def test_missing_files_are_refused(tmp_path, manifest, exported):
    with pytest.raises(ModelRefused, match=r"There is no weights\.safetensors"):
        loader.load(tmp_path, manifest, "cpu")
    with pytest.raises(ModelRefused, match=r"There is no model\.pt2"):
        loader.load(tmp_path, exported, "cpu")


def test_the_device_is_one_that_works():
    torch.ones(1, device=loader.device())


# With a GPU

on_gpu = pytest.mark.skipif(loader.device() != "cuda", reason="torch finds no GPU here")


@on_gpu
@pytest.mark.parametrize("count", [1, 7, 40])
def test_a_gpu_answers_as_the_cpu_does(count, mlp, rows, tmp_path, manifest, exported):
    loader.save_weights(mlp, tmp_path)
    loader.save_exported(mlp, (torch.zeros(2, 3),), tmp_path)
    for one in (manifest, exported):
        answers = loader.load(tmp_path, one, "cuda")(rows[:count])
        np.testing.assert_allclose(answers, expected(mlp.cpu(), rows[:count]), atol=1e-3)


@on_gpu
def test_arrays_by_name_reach_the_gpu(pair, tmp_path, manifest, exported):
    name, module = pair
    loader.save_weights(module, tmp_path)
    loader.save_exported(module, (torch.zeros(2), torch.zeros(2, dtype=torch.int64)), tmp_path)
    number, word = np.array([1.0, 2.0, 3.0]), np.array([0, 4, 2])
    answer = expected_pair(module, number, word)
    plain = manifest.model_copy(update={"model_class": f"{name}:Pair", "model_kwargs": {}})
    for one in (plain, exported):
        found = loader.load(tmp_path, one, "cuda")({"word": word, "number": number})
        np.testing.assert_allclose(found, answer, atol=1e-3)
