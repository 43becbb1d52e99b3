"""Models of tables, trained and logged with MLflow as people do."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import mlflow
import numpy as np
import pandas as pd
import skops.io
import xgboost
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

ROWS = 240
_random = np.random.default_rng(0)

PEOPLE = pd.DataFrame(
    {
        "age": _random.integers(18, 80, ROWS).astype(float),
        "income": _random.lognormal(10, 1, ROWS),
        "score": _random.normal(size=ROWS),
    }
)
"""Columns of very different magnitude."""

GAPS = PEOPLE.assign(income=PEOPLE["income"].where(_random.random(ROWS) > 0.2))
"""The same with missing incomes."""

MIXED = PEOPLE.assign(
    city=_random.choice(["Rome", "Oslo", "Lima"], ROWS), kids=_random.integers(0, 4, ROWS)
)
"""With a column of text and one of integers."""

NARROW = PEOPLE.to_numpy(np.float32)
"""An array of float32, without names."""

TEXTS = np.array(
    ["the quick Brown fox", "lazy dogs sleep", "a fox, and dogs", "CASH now", "cheap offer: buy"]
    * 20,
    dtype=object,
)

_rich = (PEOPLE["age"] > 40) & (PEOPLE["score"] > 0) | (PEOPLE["income"] > 40_000)
TWO = _rich.astype(int).to_numpy()
THREE = TWO + (PEOPLE["score"] > 1).to_numpy()
WORDS = np.where(_rich, "yes", "no")
NUMBERS = (3 * PEOPLE["age"] + 10 * PEOPLE["score"] + np.log(PEOPLE["income"])).to_numpy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A model to train.

    Attributes:
        make: Makes the untrained estimator.
        rows: What it is trained on.
        answers: What it learns.
        flavour: MLflow's name of the framework.
        booster: Whether the inner booster is logged instead of the wrapper.
    """

    make: Callable[[], Any]
    rows: Any
    answers: Any
    flavour: str = "sklearn"
    booster: bool = False

    def trained(self) -> Any:
        """Train it."""
        estimator = self.make().fit(self.rows, self.answers)
        if not self.booster:
            return estimator
        return estimator.get_booster() if self.flavour == "xgboost" else estimator.booster_


def _columns() -> ColumnTransformer:
    return ColumnTransformer(
        [
            ("scaled", StandardScaler(), ["age", "income", "score"]),
            ("city", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["city"]),
            ("kids", "passthrough", ["kids"]),
        ]
    )


def _lightgbm(kind: Any, **options: Any) -> Any:
    return kind(n_estimators=15, verbose=-1, n_jobs=1, **options)


RECIPES: dict[str, Recipe] = {
    "logistic": Recipe(make=lambda: LogisticRegression(max_iter=500), rows=PEOPLE, answers=TWO),
    "scaled-logistic": Recipe(
        make=lambda: make_pipeline(StandardScaler(), LogisticRegression()),
        rows=PEOPLE,
        answers=WORDS,
    ),
    "scaled-ridge": Recipe(
        make=lambda: make_pipeline(StandardScaler(), Ridge()), rows=NARROW, answers=NUMBERS
    ),
    "imputed": Recipe(
        make=lambda: make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()),
        rows=GAPS,
        answers=TWO,
    ),
    "columns-logistic": Recipe(
        make=lambda: make_pipeline(_columns(), LogisticRegression()), rows=MIXED, answers=WORDS
    ),
    "columns-histogram": Recipe(
        make=lambda: make_pipeline(_columns(), HistGradientBoostingClassifier(max_iter=10)),
        rows=MIXED,
        answers=TWO,
    ),
    "whole-numbers": Recipe(
        make=lambda: make_pipeline(
            ColumnTransformer(
                [
                    ("kids", OneHotEncoder(handle_unknown="ignore"), ["kids"]),
                    ("scaled", StandardScaler(), ["age", "score"]),
                ]
            ),
            LogisticRegression(),
        ),
        rows=MIXED[["kids", "age", "score"]],
        answers=TWO,
    ),
    "text": Recipe(
        make=lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()),
        rows=TEXTS,
        answers=np.array([0, 0, 0, 1, 1] * 20),
    ),
    "forest": Recipe(
        make=lambda: RandomForestClassifier(15, random_state=0), rows=PEOPLE, answers=THREE
    ),
    "forest-regressor": Recipe(
        make=lambda: RandomForestRegressor(5, random_state=0), rows=NARROW, answers=NUMBERS
    ),
    "scaled-forest": Recipe(
        make=lambda: make_pipeline(StandardScaler(), RandomForestClassifier(10, random_state=0)),
        rows=NARROW,
        answers=WORDS,
    ),
    "boosting-regressor": Recipe(
        make=lambda: GradientBoostingRegressor(n_estimators=15, random_state=0),
        rows=PEOPLE,
        answers=NUMBERS,
    ),
    "histogram": Recipe(
        make=lambda: HistGradientBoostingClassifier(max_iter=15, random_state=0),
        rows=GAPS,
        answers=THREE,
    ),
    "histogram-regressor": Recipe(
        make=lambda: HistGradientBoostingRegressor(max_iter=15, random_state=0),
        rows=PEOPLE,
        answers=NUMBERS,
    ),
    "xgboost": Recipe(
        make=lambda: xgboost.XGBClassifier(n_estimators=15),
        rows=GAPS,
        answers=THREE,
        flavour="xgboost",
    ),
    "xgboost-regressor": Recipe(
        make=lambda: xgboost.XGBRegressor(n_estimators=15),
        rows=NARROW,
        answers=NUMBERS,
        flavour="xgboost",
    ),
    "xgboost-booster": Recipe(
        make=lambda: xgboost.XGBClassifier(n_estimators=5),
        rows=PEOPLE,
        answers=TWO,
        flavour="xgboost",
        booster=True,
    ),
    "lightgbm": Recipe(
        make=lambda: _lightgbm(lightgbm.LGBMClassifier),
        rows=PEOPLE,
        answers=WORDS,
        flavour="lightgbm",
    ),
    "lightgbm-missing": Recipe(
        make=lambda: _lightgbm(lightgbm.LGBMClassifier),
        rows=GAPS,
        answers=THREE,
        flavour="lightgbm",
    ),
    "lightgbm-booster": Recipe(
        make=lambda: _lightgbm(lightgbm.LGBMRegressor),
        rows=PEOPLE,
        answers=NUMBERS,
        flavour="lightgbm",
        booster=True,
    ),
}


def log_table(
    path: Path, recipe: Recipe, *, estimator: Any = None, **options: Any
) -> tuple[Path, Any]:
    """Train and log a model; return its folder and the estimator.

    Args:
        path: Where to.
        recipe: What to train.
        estimator: An estimator already trained.
        **options: For MLflow's `save_model`.
    """
    estimator = recipe.trained() if estimator is None else estimator
    answers = np.asarray(recipe.answers)
    if recipe.flavour == "sklearn" and "serialization_format" not in options:
        # MLflow wants to be told which types were looked at; conch does not read that note.
        foreign = skops.io.get_untrusted_types(data=skops.io.dumps(estimator))
        options["skops_trusted_types"] = foreign
    with redirect_stderr(io.StringIO()):
        getattr(mlflow, recipe.flavour).save_model(
            estimator,
            path=str(path),
            input_example=recipe.rows[:30],
            signature=infer_signature(recipe.rows, answers),
            pip_requirements=[],
            **options,
        )
    return path, estimator
