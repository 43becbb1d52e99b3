"""scikit-learn, XGBoost and LightGBM models become verified builds that answer what they do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logged_tables import MIXED, NARROW, PEOPLE, RECIPES, TEXTS, TWO, Recipe, log_table
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.ensemble import BaggingRegressor
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVR

from conch.core import DType
from conch.model_repo_builder import (
    BuildRequest,
    CorruptArtefactError,
    MissingSignatureError,
    PickledModelError,
    UnsupportedGraphError,
    build,
)
from conch.model_repo_builder.onnx_sessions import OnnxSession
from conch.triton_configs import lint, parse

Requests = Callable[..., BuildRequest]


class Constant(ClassifierMixin, BaseEstimator):
    """A classifier of somebody's own."""

    def fit(self, rows: Any, answers: Any) -> Constant:
        self.classes_ = np.unique(answers)
        self.n_features_in_ = rows.shape[1]
        return self

    def predict(self, rows: Any) -> np.ndarray:
        return np.zeros(len(rows), dtype=int)


def served(request: BuildRequest) -> OnnxSession:
    """The published graph."""
    path = request.output / "portable" / request.model / str(request.ordinal) / "model.onnx"
    return OnnxSession(path.read_bytes())


def wire(rows: Any, dtype: type) -> dict[str, np.ndarray]:
    """Rows as callers send them."""
    if isinstance(rows, np.ndarray) and rows.dtype == object:
        return {"input": rows.reshape(-1, 1)}
    if isinstance(rows, np.ndarray) or all(kind.kind in "if" for kind in rows.dtypes):
        return {"input": np.asarray(rows, dtype=dtype)}
    return {
        name: rows[name].to_numpy(dtype=object if rows[name].dtype.kind not in "if" else None)[
            :, None
        ]
        for name in rows.columns
    }


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_is_built_and_answers_as_its_own_framework_does(
    name: str, tmp_path: Path, request_for: Requests
) -> None:
    """On all rows of training: labels are equal, probabilities and numbers to float32."""
    recipe = RECIPES[name]
    source, estimator = log_table(tmp_path / "model", recipe)
    request = request_for(source)
    manifest = build(request)
    assert manifest.strong, manifest.weaknesses
    assert manifest.flavour == recipe.flavour
    assert manifest.max_batch_size == 16
    narrow = recipe.rows is NARROW
    found = served(request).run(wire(recipe.rows, np.float32 if narrow else np.float64))
    if recipe.booster:
        asked: Any = recipe.rows
        if recipe.flavour == "xgboost":
            import xgboost

            asked = xgboost.DMatrix(recipe.rows)
        expected = {"prediction": estimator.predict(asked)}
    elif hasattr(estimator, "classes_"):
        expected = {
            "label": estimator.predict(recipe.rows),
            "probabilities": estimator.predict_proba(recipe.rows),
        }
    else:
        expected = {"prediction": estimator.predict(recipe.rows)}
    assert list(found) == list(expected)
    for output, want in expected.items():
        have = found[output]
        assert have.shape == (len(want), want.shape[1] if want.ndim == 2 else 1)
        if output == "label":
            labels = [v.decode() if isinstance(v, bytes) else v for v in have[:, 0]]
            assert labels == list(want)
        else:
            np.testing.assert_allclose(have, want.reshape(have.shape), rtol=1e-5, atol=1e-6)


def test_columns_of_numbers_are_one_tensor(tmp_path: Path, request_for: Requests) -> None:
    """In the signature's order, as wide as its widest column; the manifest says so."""
    source, _ = log_table(tmp_path / "model", RECIPES["logistic"])
    manifest = build(request_for(source))
    (tensor,) = manifest.signature.inputs
    assert (tensor.name, tensor.dtype, tensor.shape) == ("input", DType.FP64, (3,))
    assert manifest.steps[0]["name"] == "pack-columns"
    assert "the columns age, income, score are one FP64 tensor" in manifest.steps[0]["reason"]
    narrow, _ = log_table(tmp_path / "narrow", RECIPES["scaled-ridge"])
    assert build(request_for(narrow, ordinal=2)).signature.inputs[0].dtype is DType.FP32


def test_with_text_every_column_is_a_tensor(tmp_path: Path, request_for: Requests) -> None:
    """Of its own name and type; labels of text are text."""
    source, _ = log_table(tmp_path / "model", RECIPES["columns-logistic"])
    signature = build(request_for(source)).signature
    assert [(t.name, t.dtype) for t in signature.inputs] == [
        (name, DType.BYTES if name == "city" else DType.INT64 if name == "kids" else DType.FP64)
        for name in MIXED.columns
    ]
    assert {t.shape for t in signature.inputs} == {(1,)}
    assert [t.dtype for t in signature.outputs] == [DType.BYTES, DType.FP32]


def test_unheard_categories_and_words_are_taken(tmp_path: Path, request_for: Requests) -> None:
    """As the source takes them: by zeros."""
    source, estimator = log_table(tmp_path / "model", RECIPES["columns-logistic"])
    request = request_for(source)
    build(request)
    rows = MIXED[:4].assign(city="Atlantis")
    found = served(request).run(wire(rows, np.float64))["probabilities"]
    np.testing.assert_allclose(found, estimator.predict_proba(rows), rtol=1e-5)
    source, estimator = log_table(tmp_path / "text", RECIPES["text"])
    request = request_for(source, ordinal=2)
    build(request)
    texts = np.array(["", "no such Zebra", "FOX fox éclair x y", TEXTS[0]], dtype=object)
    found = served(request).run(wire(texts, np.float64))["probabilities"]
    np.testing.assert_allclose(found, estimator.predict_proba(texts), rtol=1e-5)


def test_trees_inside_another_model_are_weak_evidence(
    tmp_path: Path, request_for: Requests
) -> None:
    """They are exact, but no rows stand at their splits, and the report says so."""
    recipe = Recipe(
        make=lambda: BaggingRegressor(n_estimators=3, random_state=0), rows=PEOPLE, answers=TWO
    )
    source, _ = log_table(tmp_path / "model", recipe)
    manifest = build(request_for(source))
    assert not manifest.strong
    assert any("parts of another model" in weakness for weakness in manifest.weaknesses)


def test_a_pickled_model_is_refused_unless_trusted(tmp_path: Path, request_for: Requests) -> None:
    """The default is no; the advice names both ways out."""
    source, _ = log_table(
        tmp_path / "model", RECIPES["logistic"], serialization_format="cloudpickle"
    )
    with pytest.raises(PickledModelError) as refusal:
        build(request_for(source))
    assert "serialization_format='skops'" in refusal.value.hint
    assert build(request_for(source, trust_pickles=True)).strong


def test_types_of_somebodys_own_are_refused(tmp_path: Path, request_for: Requests) -> None:
    """Although MLflow's note in the model says that they are trusted."""
    source, _ = log_table(tmp_path / "model", Recipe(make=Constant, rows=PEOPLE, answers=TWO))
    with pytest.raises(PickledModelError, match="Constant"):
        build(request_for(source))


def test_rarer_types_of_scikit_learn_are_taken_by_trust(
    tmp_path: Path, request_for: Requests
) -> None:
    """A function inside of a step is code; who trusts the model has it run."""
    recipe = Recipe(
        make=lambda: make_pipeline(SelectKBest(k=2), LogisticRegression(max_iter=500)),
        rows=PEOPLE,
        answers=TWO,
    )
    source, _ = log_table(tmp_path / "model", recipe)
    with pytest.raises(PickledModelError, match="f_classif"):
        build(request_for(source))
    assert build(request_for(source, trust_pickles=True)).strong


def test_a_tree_that_points_outside_is_refused(tmp_path: Path, request_for: Requests) -> None:
    """Before it is asked anything: scikit-learn would read foreign memory."""
    recipe = RECIPES["forest"]
    estimator = recipe.trained()
    tree = estimator.estimators_[3].tree_
    state = tree.__getstate__()
    state["nodes"]["left_child"][0] = 10**6
    tree.__setstate__(state)
    source, _ = log_table_unasked(tmp_path / "model", recipe, estimator)
    with pytest.raises(CorruptArtefactError, match="points outside of itself"):
        build(request_for(source))


@pytest.mark.parametrize(
    ("recipe", "error", "words"),
    [
        pytest.param(
            Recipe(make=lambda: KMeans(2), rows=PEOPLE, answers=TWO),
            UnsupportedGraphError,
            "neither a classifier nor a regressor",
            id="clusters",
        ),
        pytest.param(
            Recipe(make=SVR, rows=PEOPLE, answers=TWO),
            UnsupportedGraphError,
            "ONNX Runtime",
            id="no-kernel-in-float64",
        ),
    ],
)
def test_other_kinds_are_refused_in_words(
    recipe: Recipe, error: type[Exception], words: str, tmp_path: Path, request_for: Requests
) -> None:
    """Nothing is served by halves."""
    source, _ = log_table(tmp_path / "model", recipe)
    with pytest.raises(error, match=words):
        build(request_for(source))


def test_without_a_signature_nothing_is_built(tmp_path: Path, request_for: Requests) -> None:
    """There is nothing that says what the columns are."""
    import mlflow

    model = LogisticRegression().fit(PEOPLE, TWO)
    mlflow.sklearn.save_model(model, path=str(tmp_path / "model"), pip_requirements=[])
    with pytest.raises(MissingSignatureError):
        build(request_for(tmp_path / "model"))


def log_table_unasked(path: Path, recipe: Recipe, estimator: Any) -> tuple[Path, Any]:
    """Log a broken estimator: MLflow must not ask it, so a sound one is logged and replaced."""
    import skops.io

    log_table(path, recipe)
    skops.io.dump(estimator, path / "model.skops")
    return path, estimator


def test_the_classes_are_named_for_triton(tmp_path: Path, request_for: Requests) -> None:
    """The classification extension finds a label for each column of the probabilities."""
    recipe = RECIPES["columns-logistic"]
    source, estimator = log_table(tmp_path / "model", recipe)
    manifest = build(request_for(source))
    for flavour in ("portable", "native"):
        home = manifest.path / flavour / manifest.model
        config = parse((home / "config.pbtxt").read_text())
        (name,) = [tensor.label_filename for tensor in config.output if tensor.label_filename]
        assert (home / name).read_text().splitlines() == [str(c) for c in estimator.classes_]
        assert lint(config, triton="26.05-py3", folder=manifest.model, versions=(1,)) == ()
