import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import models.tensorflow as loader
from switchyard.errors import ModelRefused


class Linear(tf.Module):
    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(tf.reshape(tf.range(6, dtype=tf.float32), (3, 2)))

    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="rows")])
    def __call__(self, rows):
        return {"logits": rows @ self.weights}


@pytest.fixture
def manifest(manifest_of):
    return manifest_of(framework="tensorflow", format="savedmodel", output="logits")


def layers(inputs, *stack):
    out = inputs
    for layer in stack:
        out = layer(out)
    return keras.Model(inputs, out)


def test_a_module_answers_as_it_was_saved(rows, tmp_path, manifest):
    module = Linear()
    loader.save(module, tmp_path)
    predict = loader.load(tmp_path, manifest, "cpu")
    np.testing.assert_allclose(predict(rows), rows @ module.weights.numpy(), rtol=1e-6)


def test_a_keras_model_answers_as_it_was_saved_and_casts(rows, tmp_path, manifest):
    model = layers(
        keras.Input((3,)),
        keras.layers.Dense(4, "relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(1, "sigmoid"),
    )
    loader.save(model, tmp_path)
    predict = loader.load(tmp_path, manifest, "cpu")
    expected = model(rows, training=False).numpy()
    np.testing.assert_allclose(predict(rows), expected, rtol=1e-5)
    np.testing.assert_allclose(predict(rows.astype(np.float64)[:1]), expected[:1], rtol=1e-5)


def test_named_inputs_of_several_types(tmp_path, manifest):
    city = keras.Input((1,), dtype="string", name="city")
    age = keras.Input((1,), dtype="float32", name="age")
    known = keras.layers.StringLookup(vocabulary=["Oslo", "Rome"], output_mode="one_hot")(city)
    out = keras.layers.Dense(1)(keras.layers.Concatenate()([known, age]))
    model = keras.Model({"city": city, "age": age}, out)
    loader.save(model, tmp_path)
    predict = loader.load(tmp_path, manifest, "cpu")
    cities, ages = np.array(["Rome", "Kyiv"], dtype=object), np.array([30.0, 40.0])
    expected = model({"city": tf.constant(cities[:, None]), "age": tf.constant(ages[:, None])})
    np.testing.assert_allclose(predict({"age": ages, "city": cities}), expected, rtol=1e-5)
    with pytest.raises(KeyError, match="city"):
        predict({"age": ages})
    with pytest.raises(TypeError, match="takes arrays by name"):
        predict(ages)


@pytest.mark.parametrize(
    "model",
    [
        lambda: layers(
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(2, 3, activation="gelu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.LayerNormalization(),
            keras.layers.Dense(2, "softmax"),
        ),
        lambda: layers(keras.Input((4, 2)), keras.layers.LSTM(3), keras.layers.Dense(1)),
        lambda: layers(
            keras.Input((4,), dtype="int32"),
            keras.layers.Embedding(9, 2),
            keras.layers.GlobalAveragePooling1D(),
        ),
    ],
    ids=["convolution", "recurrent", "embedding"],
)
def test_usual_layers_pass_the_list(model, tmp_path, manifest):
    built = model()
    loader.save(built, tmp_path)
    shape = (2, *built.input_shape[1:])
    predict = loader.load(tmp_path, manifest, "cpu")
    expected = built(np.ones(shape, built.inputs[0].dtype), training=False)
    np.testing.assert_allclose(predict(np.ones(shape)), expected, rtol=1e-4, atol=1e-6)


def test_two_versions_of_one_model_keep_their_own_weights(rows, tmp_path, manifest):
    module = Linear()
    loader.save(module, tmp_path / "one")
    module.weights.assign(-module.weights)
    loader.save(module, tmp_path / "two")
    one = loader.load(tmp_path / "one", manifest, "cpu")
    two = loader.load(tmp_path / "two", manifest, "cpu")
    np.testing.assert_allclose(one(rows), -two(rows))


class Twins(Linear):
    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="rows")])
    def __call__(self, rows):
        return {"one": rows, "two": rows}


class Writes(Linear):
    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="rows")])
    def __call__(self, rows):
        tf.io.write_file("ran", "x")
        return {"logits": rows @ self.weights}


def test_several_outputs_are_refused(tmp_path, manifest):
    loader.save(Twins(), tmp_path)
    with pytest.raises(ModelRefused, match=r"2 outputs \(one, two\)"):
        loader.load(tmp_path, manifest, "cpu")


def test_a_model_without_a_signature_is_refused(tmp_path, manifest):
    module = tf.Module()
    module.weights = tf.Variable(1.0)
    tf.saved_model.save(module, str(tmp_path / loader.MODEL_FOLDER))
    with pytest.raises(ModelRefused, match="no signature 'serving_default'"):
        loader.load(tmp_path, manifest, "cpu")


def test_a_file_operation_is_refused_at_saving_and_at_loading(tmp_path, manifest):
    for step in (
        lambda: loader.save(Writes(), tmp_path),
        lambda: loader.load(tmp_path, manifest, "cpu"),
    ):
        with pytest.raises(ModelRefused, match="'WriteFile'"):
            step()


def test_a_damaged_checkpoint_is_refused(tmp_path, manifest):
    loader.save(Linear(), tmp_path)
    (tmp_path / loader.MODEL_FOLDER / "variables" / "variables.index").write_bytes(b"x" * 200)
    with pytest.raises(ModelRefused, match="passed the safety check, but TensorFlow"):
        loader.load(tmp_path, manifest, "cpu")


def test_threads_are_capped_before_the_first_computation():
    program = (
        "import models.tensorflow as loader; loader.start(1);"
        "import tensorflow as tf; tf.constant(1.0) + 1;"
        "loader.start(1); loader.start(2);"
        "threading = tf.config.threading;"
        "print(threading.get_intra_op_parallelism_threads(),"
        " threading.get_inter_op_parallelism_threads())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "1"]
    assert done.stderr.count("TensorFlow already runs") == 1
