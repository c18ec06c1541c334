"""Trainers for small networks on tables, in torch and in TensorFlow alike.

Both train on standardised columns and then fold the scaling into their first layer, so that the
artefact takes raw features, needs no preprocessing of its own and serves one operation less.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.example import Artefact, Floats, Labels, Step, Trainer

if TYPE_CHECKING:
    from models.nn import Mlp

__all__ = ["SEED", "THREADS", "Recipe", "fold", "keras_trainer", "scaling", "torch_trainer"]

SEED: Final = 2013
"""Seed of all trainers; the year of the flights, and as good as any."""

THREADS: Final = 1
"""Threads that training uses.

Steps of a few hundred rows are too small to share: with two threads on a busy machine of two cores
they took ten times as long. And one thread adds in the same order every time.
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a multilayer perceptron with ReLU is built and trained.

    Attributes:
        hidden: Widths of the hidden layers.
        classes: Number of classes, one logit each.
        epochs: Passes over the training rows.
        batch: Rows of a step.
        rate: Learning rate of AdamW at the start; it falls to zero on half a cosine.
        decay: Weight decay of AdamW.
    """

    hidden: tuple[int, ...]
    classes: int
    epochs: int
    batch: int
    rate: float
    decay: float


def torch_trainer(recipe: Recipe) -> Trainer:
    """Returns a trainer for torch; the artefact is weights of `models.nn.Mlp`, rows to logits."""

    def train(matrix: Floats, target: Labels, folder: Path, step: Step) -> Artefact:
        from models import torch as torch_format

        torch_format.save_weights(_fit_torch(matrix, target, recipe, step), folder)
        shape = {
            "inputs": matrix.shape[1],
            "hidden": list(recipe.hidden),
            "outputs": recipe.classes,
        }
        return Artefact("safetensors", "logits", model_class="models.nn:Mlp", model_kwargs=shape)

    return train


def keras_trainer(recipe: Recipe) -> Trainer:
    """Returns a trainer for TensorFlow; the artefact is a SavedModel, rows to logits."""

    def train(matrix: Floats, target: Labels, folder: Path, step: Step) -> Artefact:
        # oneDNN orders its sums by the processor; without it, machines differ less.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
        from models import tensorflow as tensorflow_format

        # Threads and the memory of a GPU are fixed by the first computation, so they come first.
        tensorflow_format.start(THREADS)
        tensorflow_format.device()
        tensorflow_format.save(_fit_keras(matrix, target, recipe, step), folder)
        return Artefact("savedmodel", "logits")

    return train


def scaling(matrix: Floats) -> tuple[Floats, Floats]:
    """Returns mean and standard deviation (columns,) to standardise by.

    Columns of zeros and ones are left alone (0 and 1): standardised, a rare category would be a
    huge number. So is a constant column.
    """
    flags = ((matrix == 0.0) | (matrix == 1.0)).all(axis=0)
    mean = matrix.mean(axis=0, dtype=np.float64)
    deviation = matrix.std(axis=0, dtype=np.float64)
    keep = flags | (deviation == 0.0)
    return (
        np.where(keep, 0.0, mean).astype(np.float32),
        np.where(keep, 1.0, deviation).astype(np.float32),
    )


def fold(weight: Floats, bias: Floats, mean: Floats, deviation: Floats) -> tuple[Floats, Floats]:
    """Returns the layer that does on raw columns what the given one does on standardised ones.

    `w·(x - m)/d + b = (w/d)·x + (b - (w/d)·m)`, computed in float64.

    Args:
        weight: (outputs, columns).
        bias: (outputs,).
        mean: (columns,).
        deviation: (columns,).

    Returns:
        Weight and bias of the same shapes.
    """
    scaled = weight.astype(np.float64) / deviation
    shifted = bias - scaled @ mean.astype(np.float64)
    return scaled.astype(np.float32), shifted.astype(np.float32)


def _fit_torch(matrix: Floats, target: Labels, recipe: Recipe, step: Step) -> Mlp:
    """Trains a torch network.

    Args:
        matrix: Features (rows, columns), finite.
        target: Index of the class of each row.
        recipe: Shape and schedule.
        step: Called with the finished share after each epoch.

    Returns:
        The network in evaluation mode: raw features to logits.
    """
    import torch

    from models.nn import Mlp

    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    mean, deviation = scaling(matrix)
    rows = torch.from_numpy((matrix - mean) / deviation)
    labels = torch.tensor(target)
    network: Mlp = Mlp(matrix.shape[1], recipe.hidden, recipe.classes)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    steps = recipe.epochs * -(-len(rows) // recipe.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(recipe.epochs):
        for chosen in torch.randperm(len(rows)).split(recipe.batch):
            loss = torch.nn.functional.cross_entropy(network(rows[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        step((epoch + 1) / recipe.epochs)
    first: Any = network.layers[0]
    weight, bias = fold(first.weight.detach().numpy(), first.bias.detach().numpy(), mean, deviation)
    with torch.no_grad():
        first.weight.copy_(torch.from_numpy(weight))
        first.bias.copy_(torch.from_numpy(bias))
    network.eval()
    return network


def _fit_keras(matrix: Floats, target: Labels, recipe: Recipe, step: Step) -> Any:
    """Trains a Keras network on TensorFlow.

    Args:
        matrix: Features (rows, columns), finite.
        target: Index of the class of each row.
        recipe: Shape and schedule.
        step: Called with the finished share after each epoch.

    Returns:
        A `keras.Model`: raw features, float32 (any, columns), to logits.
    """
    import keras

    keras.utils.set_random_seed(SEED)
    mean, deviation = scaling(matrix)
    first = keras.layers.Dense(recipe.hidden[0], activation="relu")
    network = keras.Sequential(
        [
            keras.Input((matrix.shape[1],), dtype="float32"),
            first,
            *(keras.layers.Dense(width, activation="relu") for width in recipe.hidden[1:]),
            keras.layers.Dense(recipe.classes),
        ]
    )
    steps = recipe.epochs * -(-len(matrix) // recipe.batch)
    network.compile(
        optimizer=keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(recipe.rate, steps),
            weight_decay=recipe.decay,
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    report = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: step((epoch + 1) / recipe.epochs)
    )
    network.fit(
        (matrix - mean) / deviation,
        target,
        batch_size=recipe.batch,
        epochs=recipe.epochs,
        verbose=0,
        callbacks=[report],
    )
    kernel, bias = first.get_weights()
    weight, bias = fold(kernel.T, bias, mean, deviation)
    first.set_weights([weight.T, bias])
    return network
