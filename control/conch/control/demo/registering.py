"""Logging a network to MLflow and registering it, as any training script would."""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np

from conch.core import ConchError


class DemoExtraMissingError(ConchError):
    """The demonstration needs PyTorch, scikit-learn and MLflow's server."""

    code = "extra-missing"


def answers(module: Any, rows: np.ndarray) -> np.ndarray:
    """Return what a network answers on rows: float32[n, ...] for float32[n, ...].

    Args:
        module: A `torch.nn.Module` in evaluation mode.
        rows: What it is asked.
    """
    import torch

    with torch.no_grad():
        found: np.ndarray = module(torch.from_numpy(rows)).numpy()
    return found


def register_network(
    module: Any,
    *,
    name: str,
    tracking_uri: str,
    rows: np.ndarray,
    experiment: str,
    accuracy: float | None = None,
) -> int:
    """Log a network with MLflow's pytorch flavour and register it; return the version's number.

    Args:
        module: A `torch.nn.Module` in evaluation mode; its first axis is the batch.
        name: The registered model.
        tracking_uri: MLflow's server.
        rows: Some inputs, float32[n, ...]; they become the input example.
        experiment: The experiment that the run belongs to; made if need be.
        accuracy: A metric to log with it.

    Raises:
        DemoExtraMissingError: MLflow's pytorch flavour is not installed.
    """
    try:
        import mlflow
        import mlflow.pytorch
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec
    except ImportError as error:
        raise extra_missing(error) from error
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_experiment(experiment)  # else that of another server is in force
    float32 = np.dtype(np.float32)
    outputs = answers(module, rows[:1]).shape[1:]
    signature = ModelSignature(
        inputs=Schema([TensorSpec(float32, (-1, *rows.shape[1:]))]),
        outputs=Schema([TensorSpec(float32, (-1, *outputs))]),
    )
    with mlflow.start_run():
        if accuracy is not None:
            mlflow.log_metric("accuracy", accuracy)
        logged = mlflow.pytorch.log_model(
            module,
            name="model",
            signature=signature,
            input_example=rows[:16],
            registered_model_name=name,
            pip_requirements=["torch"],  # inferring them loads the model in another process
        )
    return int(logged.registered_model_version)


def extra_missing(error: ImportError) -> DemoExtraMissingError:
    """Return what to tell where something that the demonstration needs is not installed."""
    return DemoExtraMissingError(
        f"The demonstration cannot import {error.name}.", hint="pip install 'conch[demo]'"
    )
