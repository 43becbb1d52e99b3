"""Two versions of a small convolutional network, trained here on scikit-learn's digits."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from conch.core import ConchError


class DemoExtraMissingError(ConchError):
    """The demonstration needs PyTorch, scikit-learn and MLflow's server."""

    code = "extra-missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """The data: 8x8 grey images of handwritten digits, bundled with scikit-learn.

    Attributes:
        train: float32[n, 1, 8, 8] in 0..1.
        train_labels: int64[n].
        held_out: float32[m, 1, 8, 8]; never trained on.
        labels: int64[m].
    """

    train: np.ndarray
    train_labels: np.ndarray
    held_out: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained version.

    Attributes:
        module: The `torch.nn.Module`.
        logits: What it answers on the held-out rows, float32[m, 10]; the truth for every check.
        accuracy: Share of held-out rows that it labels rightly.
    """

    module: Any
    logits: np.ndarray
    accuracy: float


def load_digits() -> Digits:
    """Return the data, split with a fixed seed: 1,297 rows to train on, 500 held out.

    Raises:
        DemoExtraMissingError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as load
    except ImportError as error:
        raise _missing(error) from error
    data = load()
    images = (data.images / 16.0).astype(np.float32)[:, None, :, :]
    labels = data.target.astype(np.int64)
    order = np.random.default_rng(7).permutation(len(images))
    train, held_out = order[:-500], order[-500:]
    return Digits(
        train=images[train],
        train_labels=labels[train],
        held_out=images[held_out],
        labels=labels[held_out],
    )


def train(digits: Digits, *, seed: int, epochs: int) -> Trained:
    """Train a version; the same seed gives the same network.

    Raises:
        DemoExtraMissingError: PyTorch is not installed.
    """
    try:
        import torch
        from torch import nn
    except ImportError as error:
        raise _missing(error) from error
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 10),
    )
    rows, labels = torch.from_numpy(digits.train), torch.from_numpy(digits.train_labels)
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(rows)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(rows[batch]), labels[batch]).backward()
            optimizer.step()
    module.eval()
    with torch.no_grad():
        logits = module(torch.from_numpy(digits.held_out)).numpy()
    return Trained(module=module, logits=logits, accuracy=accuracy(logits, digits.labels))


def register(trained: Trained, digits: Digits, *, name: str, tracking_uri: str) -> int:
    """Log a version to MLflow and register it, as any training script would; return its number.

    Raises:
        DemoExtraMissingError: MLflow's pytorch flavour is not installed.
    """
    try:
        import mlflow
        import mlflow.pytorch
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec
    except ImportError as error:
        raise _missing(error) from error
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_experiment("conch-demo")
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 1, 8, 8))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 10))]),
    )
    with mlflow.start_run():
        mlflow.log_metric("accuracy", trained.accuracy)
        logged = mlflow.pytorch.log_model(
            trained.module,
            name=name,
            signature=signature,
            input_example=digits.held_out[:16],
            registered_model_name=name,
            pip_requirements=["torch"],  # inferring them loads the model in another process
        )
    return int(logged.registered_model_version)


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of rows whose highest logit (float[n, k]) is the label (int[n])."""
    return float((logits.argmax(axis=1) == labels).mean())


def _missing(error: ImportError) -> DemoExtraMissingError:
    return DemoExtraMissingError(
        f"The demonstration cannot import {error.name}.", hint="pip install 'conch[demo]'"
    )
