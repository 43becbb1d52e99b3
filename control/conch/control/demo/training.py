"""Two versions of a small convolutional network, trained here on scikit-learn's digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .registering import answers, extra_missing, register_network


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
        raise extra_missing(error) from error
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
        raise extra_missing(error) from error
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
    logits = answers(module, digits.held_out)
    return Trained(module=module, logits=logits, accuracy=accuracy(logits, digits.labels))


def register(trained: Trained, digits: Digits, *, name: str, tracking_uri: str) -> int:
    """Log a version to MLflow and register it, as any training script would; return its number.

    Raises:
        DemoExtraMissingError: MLflow's pytorch flavour is not installed.
    """
    return register_network(
        trained.module,
        name=name,
        tracking_uri=tracking_uri,
        rows=digits.held_out,
        experiment="conch-demo",
        accuracy=trained.accuracy,
    )


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of rows whose highest logit (float[n, k]) is the label (int[n])."""
    return float((logits.argmax(axis=1) == labels).mean())
