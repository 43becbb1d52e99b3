"""Keras networks, made and logged with MLflow as people do; importing this starts TensorFlow."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import mlflow
import numpy as np
from mlflow.models import infer_signature

Form = Literal["tensorflow", "keras", "exported"]
"""MLflow's flavour tensorflow; its flavour keras with a `.keras` file; that with a SavedModel."""

FORMS: tuple[Form, ...] = ("tensorflow", "keras", "exported")


def dense() -> Any:
    """float32[n, 8] -> float32[n, 3]."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(16, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ]
    )


def conv() -> Any:
    """float32[n, 12, 12, 3] -> float32[n, 4], with a batch norm that has seen data."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )
    for seed in range(3):
        model(rows_of(model, 16, seed=seed), training=True)
    return model


def two_in_two_out() -> Any:
    """`pixels` float32[n, 6, 6, 1] and `facts` float32[n, 3] -> {"label", "size"}."""
    keras.utils.set_random_seed(2)
    layers = keras.layers
    pixels, facts = keras.Input((6, 6, 1), name="pixels"), keras.Input((3,), name="facts")
    joined = layers.Concatenate()([layers.Flatten()(pixels), facts])
    answers = {"size": layers.Dense(1)(joined), "label": layers.Dense(4)(joined)}
    return keras.Model([pixels, facts], answers)


def rows_of(model: Any, count: int, *, seed: int = 0) -> np.ndarray:
    """Rows for a network of one input."""
    shape = [size or 5 for size in model.inputs[0].shape[1:]]
    random = np.random.default_rng(seed)
    return random.standard_normal((count, *shape)).astype(np.float32)


def log_network(path: Path, model: Any, *, form: Form = "keras", **options: Any) -> Path:
    """Log a network of one input with its example; return its folder."""
    rows = rows_of(model, 6)
    signature = infer_signature(rows, model.predict(rows, verbose=0))
    given = {"signature": signature, "input_example": rows, "pip_requirements": [], **options}
    with contextlib.redirect_stdout(io.StringIO()):  # what an export prints
        if form == "tensorflow":
            mlflow.tensorflow.save_model(model, str(path), **given)
            return path
        path.mkdir(parents=True)  # MLflow 3.17 writes the example before it makes the folder
        mlflow.keras.save_model(model, str(path), save_exported_model=form == "exported", **given)
    return path
