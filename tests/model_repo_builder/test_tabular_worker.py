"""Tabular models in the worker process; what happens without their frameworks; early stopping."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from logged_tables import NUMBERS, PEOPLE, RECIPES, TWO, Recipe, log_table

from conch.model_repo_builder import (
    BuildRequest,
    FrameworkMissingError,
    UnsupportedGraphError,
    Workbench,
    build,
)

Requests = Callable[..., BuildRequest]


def test_a_worker_builds_it(tmp_path: Path, request_for: Requests, workbench: Workbench) -> None:
    """The process that asks for the build imports no framework; the worker says what it used."""
    source, _ = log_table(tmp_path / "model", RECIPES["scaled-forest"])
    manifest = workbench.build(request_for(source))
    assert manifest.strong
    assert {"scikit-learn", "skl2onnx"} <= set(manifest.tools)
    taken = [step["name"] for step in manifest.steps if step["taken"]]
    made = ["pack-columns", "skl2onnx", "onnx:fp32"]
    assert taken == [*made, "batching", "choice", "portable", "native"]


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("logistic", "skl2onnx", "sklearn"),
        ("xgboost", "xgboost", "trees"),
        ("lightgbm-booster", "lightgbm", "trees"),
    ],
)
def test_a_missing_framework_is_named_with_its_extra(
    name: str,
    module: str,
    extra: str,
    tmp_path: Path,
    request_for: Requests,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error says what to install."""
    source, _ = log_table(tmp_path / "model", RECIPES[name])
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(FrameworkMissingError) as refusal:
        build(request_for(source))
    assert refusal.value.hint.endswith(f"'conch[{extra}]'.")


def stopped_early(kind: Any, **options: Any) -> Any:
    """A booster that has trained past its best round."""
    model = kind(n_estimators=60, **options)
    rows = PEOPLE[:60]
    return model.fit(PEOPLE[60:], TWO[60:], eval_set=[(rows, TWO[:60])])


@pytest.mark.parametrize(
    ("flavour", "train"),
    [
        ("xgboost", lambda: stopped_early(xgboost.XGBClassifier, early_stopping_rounds=5)),
        (
            "lightgbm",
            lambda: stopped_early(
                lightgbm.LGBMClassifier, early_stopping_round=5, learning_rate=0.5, verbose=-1
            ),
        ),
    ],
)
def test_early_stopping_is_respected(
    flavour: str, train: Callable[[], Any], tmp_path: Path, request_for: Requests
) -> None:
    """Only the rounds up to the best one answer, as in the framework."""
    recipe = Recipe(make=lambda: None, rows=PEOPLE, answers=TWO, flavour=flavour)
    source, _ = log_table(tmp_path / "model", recipe, estimator=train())
    assert build(request_for(source)).strong


@pytest.mark.parametrize(
    ("make", "flavour", "words"),
    [
        pytest.param(
            lambda: xgboost.XGBRegressor(n_estimators=3, booster="dart"),
            "xgboost",
            "booster 'dart'",
            id="dart",
        ),
        pytest.param(
            lambda: xgboost.XGBClassifier(n_estimators=3, objective="binary:hinge"),
            "xgboost",
            "objective 'binary:hinge'",
            id="hinge",
        ),
        pytest.param(
            lambda: lightgbm.LGBMRegressor(n_estimators=3, linear_tree=True, verbose=-1),
            "lightgbm",
            "linear trees",
            id="linear-trees",
        ),
        pytest.param(
            lambda: lightgbm.LGBMRegressor(n_estimators=3, zero_as_missing=True, verbose=-1),
            "lightgbm",
            "zero_as_missing",
            id="zero-as-missing",
        ),
    ],
)
def test_parts_that_are_not_converted_are_named(
    make: Callable[[], Any], flavour: str, words: str, tmp_path: Path, request_for: Requests
) -> None:
    """A refusal beats an answer that is nearly right."""
    answers = TWO if "hinge" in words else NUMBERS
    rows = PEOPLE.assign(score=np.where(PEOPLE["score"] > 0, PEOPLE["score"], 0.0))
    recipe = Recipe(make=make, rows=rows, answers=answers, flavour=flavour)
    source, _ = log_table(tmp_path / "model", recipe)
    with pytest.raises(UnsupportedGraphError, match=words):
        build(request_for(source))
