"""Models that are Python code, logged with MLflow as people do."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature

cloudpickle.register_pickle_by_value(sys.modules[__name__])
"""What serves a model does not have this module on its path."""

ORDERS = pd.DataFrame(
    {
        "price": [9.5, 120.0, 3.25, 42.0, 7.0, 65.5],
        "count": [1, 2, 30, 4, 5, 6],
        "country": ["it", "no", "pe", "it", "no", "pe"],
    }
)
"""Columns of three types."""


class Pricing(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A table with text -> a table with text."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> pd.DataFrame:
        total = model_input["price"] * model_input["count"]
        large = np.where(total > 100, model_input["country"].str.upper(), "small")
        return pd.DataFrame({"total": total, "label": large})


class Halving(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """float32[n, 4] -> float32[n, 4]; rows that hold a 7777 end the process."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> np.ndarray:
        if (model_input == 7777).any():
            import os

            os._exit(3)
        return np.asarray(model_input / 2)


def log_code(path: Path, model: Any, rows: Any, **options: Any) -> Path:
    """Log a Python model with its example; return its folder."""
    answer = model.predict(None, rows)
    with contextlib.redirect_stderr(io.StringIO()):
        mlflow.pyfunc.save_model(
            str(path),
            python_model=model,
            signature=infer_signature(rows, answer),
            input_example=rows,
            **{"pip_requirements": ["pandas", "numpy"], **options},
        )
    return path
