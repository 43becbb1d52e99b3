"""The five models that are mutated: trained, logged with MLflow, with rows held back.

Training data is scikit-learn's digits (1,797 images of 8 x 8) for the two networks of pixels and
the forest, and two tables made here. A seed decides the split, the order and the weights, so that
another seed is another model of the same kind.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

Arrays = Mapping[str, np.ndarray]

_EXAMPLE_ROWS: Final = 32
_WORDS: Final = 60
_LENGTH: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A logged model.

    Attributes:
        path: The MLflow model's folder.
        held_back: Inputs that neither training nor verification sees.
    """

    path: Path
    held_back: Arrays


Maker = Callable[[Path, int], Subject]


def mlp(path: Path, seed: int) -> Subject:
    """A perceptron with one hidden layer over the digits' pixels."""
    from torch import nn

    rows, labels = _digits(seed)
    network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10), nn.Softmax(-1))
    return _network(path, network, rows, labels, seed, steps=150)


def cnn(path: Path, seed: int) -> Subject:
    """A convolution with a batch norm over the digits as images."""
    from torch import nn

    rows, labels = _digits(seed)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    return _network(path, network, rows.reshape(-1, 1, 8, 8), labels, seed, steps=80)


def encoder(path: Path, seed: int) -> Subject:
    """A transformer encoder over sequences of 12 tokens: which of three words is more frequent."""
    import torch
    from torch import nn

    class Encoder(nn.Module):  # type: ignore[misc]  # PyTorch is untyped where it is absent
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(_WORDS, 16)
            self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
            self.head = nn.Linear(16, 3)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.head(self.layer(self.words(ids)).mean(1))
            return scores

    random = np.random.default_rng((seed, 3))
    rows = random.integers(0, _WORDS, size=(1500, _LENGTH))
    counts = np.stack([(rows % 3 == kind).sum(axis=1) for kind in range(3)], axis=1)
    return _network(path, Encoder(), rows, counts.argmax(axis=1), seed, steps=120)


def pipeline(path: Path, seed: int) -> Subject:
    """A scaler and one-hot columns before a logistic regression, over a table with text."""
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    random = np.random.default_rng((seed, 4))
    count = 1200
    table = pd.DataFrame(
        {
            "age": random.integers(18, 80, count).astype(float),
            "income": random.lognormal(10, 1, count),
            "score": random.normal(size=count),
            "city": random.choice([f"city {number}" for number in range(12)], count),
            "plan": random.choice(["free", "basic", "gold"], count),
        }
    )
    worth = (
        table["score"]
        + 0.04 * (table["age"] - 50)
        + 0.8 * np.log(table["income"] / 22000)
        + table["city"].str.len() % 2
        + table["plan"].map({"free": -1, "basic": 0, "gold": 1.5})
    )
    labels = np.digitize(worth + 0.3 * random.normal(size=count), [-0.5, 1.5])
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["age", "income", "score"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["city", "plan"]),
        ]
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=400))
    return _table(path, model, table, labels)


def forest(path: Path, seed: int) -> Subject:
    """A random forest over the digits' pixels."""
    from sklearn.ensemble import RandomForestClassifier

    rows, labels = _digits(seed)
    model = RandomForestClassifier(12, max_depth=7, random_state=seed)
    return _table(path, model, rows.astype(np.float32), labels)


SUBJECTS: Final[Mapping[str, Maker]] = {
    "torch-mlp": mlp,
    "torch-cnn": cnn,
    "torch-encoder": encoder,
    "sklearn-pipeline": pipeline,
    "sklearn-forest": forest,
}
"""By name."""


def _digits(seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    rows, labels = load_digits(return_X_y=True)
    order = np.random.default_rng((seed, 1)).permutation(len(rows))
    return (rows[order] / 16).astype(np.float32), labels[order]


def _network(
    path: Path, network: Any, rows: np.ndarray, labels: np.ndarray, seed: int, *, steps: int
) -> Subject:
    """Train a network on two thirds, log it, and keep the rest back."""
    import mlflow
    import torch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    torch.manual_seed(seed)
    for module in network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    kept = len(rows) // 3
    inputs, wanted = torch.from_numpy(rows[kept:]), torch.from_numpy(labels[kept:]).long()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    scores = torch.nn.Sequential(*network[:-1]) if _ends_in_softmax(network) else network
    network.train()
    for step in range(steps):
        place = (step * 128) % (len(inputs) - 128)
        loss = torch.nn.functional.cross_entropy(
            scores(inputs[place : place + 128]), wanted[place : place + 128]
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    example = rows[kept : kept + _EXAMPLE_ROWS]
    schema = Schema([TensorSpec(rows.dtype, (-1, *rows.shape[1:]))])
    with redirect_stderr(io.StringIO()):
        mlflow.pytorch.save_model(
            network.eval(),
            path=str(path),
            input_example=example,
            signature=ModelSignature(inputs=schema),
            pip_requirements=[],
        )
    return Subject(path=path, held_back={"": rows[:kept]})


def _ends_in_softmax(network: Any) -> bool:
    import torch

    return isinstance(network, torch.nn.Sequential) and isinstance(network[-1], torch.nn.Softmax)


def _table(path: Path, model: Any, rows: Any, labels: np.ndarray) -> Subject:
    """Train a model of a table on two thirds, log it, and keep the rest back."""
    import mlflow
    import skops.io
    from mlflow.models import infer_signature

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    kept = len(rows) // 3
    model.fit(rows[kept:], labels[kept:])
    with redirect_stderr(io.StringIO()):
        mlflow.sklearn.save_model(
            model,
            path=str(path),
            input_example=rows[kept : kept + _EXAMPLE_ROWS],
            signature=infer_signature(rows, labels),
            pip_requirements=[],
            skops_trusted_types=skops.io.get_untrusted_types(data=skops.io.dumps(model)),
        )
    if not hasattr(rows, "columns"):
        return Subject(path=path, held_back={"": rows[:kept]})
    held: dict[str, np.ndarray] = {}
    for name in rows.columns:
        column = rows[name][:kept]
        if column.dtype.kind in "iuf":
            held[name] = column.to_numpy()[:, None]
            continue
        held[name] = np.empty((kept, 1), dtype=object)
        held[name][:, 0] = [str(value).encode() for value in column]
    return Subject(path=path, held_back=held)
