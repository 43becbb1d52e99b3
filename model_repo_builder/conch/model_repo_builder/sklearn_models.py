"""MLflow's `sklearn` flavour: classifiers and regressors, read by skops.

A skops file names the types that it holds; only those that skops itself knows to be harmless, and
a few of this module's list, are built. A pickled model runs whatever code is stored in it, so it is
loaded only where the operator of conch has said that models are trusted.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from .errors import (
    CorruptArtefactError,
    FrameworkMissingError,
    PickledModelError,
    SignatureMismatchError,
    UnsupportedGraphError,
)
from .mlflow_models import MlflowModel
from .sklearn_parts import check_trees, holds_trees
from .sklearn_trees import sklearn_ensemble
from .tables import example_of, table_of
from .tabular_models import LABEL, PREDICTION, PROBABILITIES, TabularModel, label_array

FLAVOUR: Final = "sklearn"
_SKLEARN_TYPES: Final = (
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
)
"""Plain data. Trees are checked after loading, see `check_trees`."""

_HIDDEN: Final = (
    "its trees are parts of another model, so no rows were put at their splits; they are converted "
    "with exact thresholds all the same"
)

_RELOG: Final = (
    "Log it again with mlflow.sklearn.log_model(..., serialization_format='skops'), or let the "
    "operator allow pickled models."
)


def load_sklearn(model: MlflowModel) -> TabularModel:
    """Load the `sklearn` flavour of an MLflow model.

    Raises:
        FrameworkMissingError: scikit-learn or skops is not installed.
        PickledModelError: It is pickled, or holds types that are not known to be harmless.
        CorruptArtefactError: The file cannot be read.
        MissingSignatureError: The model has no MLflow signature.
        SignatureMismatchError: The signature does not fit the model.
        UnsupportedGraphError: It is neither a classifier nor a regressor.
    """
    try:
        import skl2onnx  # noqa: F401  a build needs it later
        import skops.io  # noqa: F401
        from sklearn import base, pipeline
    except ImportError as error:
        raise FrameworkMissingError(
            "scikit-learn, skops or skl2onnx is not installed, and the model is of the flavour "
            "sklearn.",
            hint="Install them: pip install 'conch[sklearn]'.",
        ) from error
    table = table_of(model)
    estimator = _load(model)
    classifier = base.is_classifier(estimator)
    if not (classifier or base.is_regressor(estimator)):
        raise UnsupportedGraphError(
            f"{type(estimator).__name__} is neither a classifier nor a regressor.",
            hint="Log a pipeline that ends in one, or export it to ONNX yourself.",
        )
    width = getattr(estimator, "n_features_in_", table.width)
    if width != table.width:
        raise SignatureMismatchError(
            f"The signature names {table.width} column(s), the model takes {width}.",
            hint="Log the model again with a signature that fits it.",
        )
    last = estimator.steps[-1][1] if isinstance(estimator, pipeline.Pipeline) else estimator
    trees = sklearn_ensemble(last)
    return TabularModel(
        flavour=FLAVOUR,
        estimator=estimator,
        table=table,
        answer=lambda rows: _answer(estimator, rows, classifier=classifier),
        widened=True,
        answers=_answers(estimator, classifier=classifier),
        columns_out=1 if classifier else _columns_out(last),
        classes=_classes(estimator) if classifier else None,
        trees=trees,
        before=None if last is estimator else (lambda rows: _before(estimator, rows)),
        missing="HistGradientBoosting" in type(last).__name__ and last is estimator,
        example=example_of(model, table),
        doubt=_HIDDEN if trees is None and holds_trees(estimator) else "",
    )


def _load(model: MlflowModel) -> Any:

    flavour = model.flavours[FLAVOUR]
    path = model.file(str(flavour.get("pickled_model", "model.skops")))
    if flavour.get("serialization_format") != "skops":
        if not model.trusted:
            raise PickledModelError(
                "The model is pickled: loading it would run code that is stored in it.",
                hint=_RELOG,
            )
        return unpickled(path)
    estimator = read_skops(path, known=_SKLEARN_TYPES, trusted=model.trusted)
    check_trees(estimator)
    return estimator


def read_skops(path: Any, *, known: tuple[str, ...], trusted: bool) -> Any:
    """Read a skops file whose types are all known to be harmless.

    Args:
        path: The file.
        known: Names of types that are, beside those of skops itself.
        trusted: Whether the operator lets any type be built.

    Raises:
        PickledModelError: It holds others; what MLflow noted to be trusted is not, since whoever
            made the model wrote that note.
        CorruptArtefactError: It cannot be read.
    """
    import skops.io

    try:
        foreign = sorted(set(skops.io.get_untrusted_types(file=path)) - set(known))
        if trusted or not foreign:
            return skops.io.load(path, trusted=[*known, *foreign])
    except Exception as error:  # skops raises what zip files, JSON and constructors raise
        raise CorruptArtefactError(
            f"{path.name} cannot be read by skops: {type(error).__name__}: {error!s:.300}",
            hint="Log the model again with the versions that conch has, or check the download.",
        ) from error
    raise PickledModelError(
        f"The model holds types that could run code of its own: {', '.join(foreign)}.",
        hint="Build it from scikit-learn's common classes, or let the operator trust such models.",
    )


def unpickled(path: Any) -> Any:
    """Unpickle a model that the operator trusts.

    Raises:
        CorruptArtefactError: It cannot be unpickled here.
    """
    import pickle

    try:
        with path.open("rb") as file:
            return pickle.load(file)
    except Exception as error:  # unpickling raises whatever the stored code raises
        raise CorruptArtefactError(
            f"{path.name} cannot be unpickled: {type(error).__name__}: {error!s:.300}",
            hint="Install what the model's own modules need, or log it with skops.",
        ) from error


def _classes(estimator: Any) -> np.ndarray:
    classes = estimator.classes_
    if isinstance(classes, list):
        raise UnsupportedGraphError(
            f"{type(estimator).__name__} answers several labels per row.",
            hint="Register one model per label.",
        )
    return label_array(classes)


def _answers(estimator: Any, *, classifier: bool) -> tuple[str, ...]:
    if not classifier:
        return (PREDICTION,)
    return (LABEL, PROBABILITIES) if hasattr(estimator, "predict_proba") else (LABEL,)


def _columns_out(regressor: Any) -> int:
    """How many numbers a regressor predicts, as the attributes of fitted ones tell."""
    if hasattr(regressor, "n_outputs_"):
        return int(regressor.n_outputs_)
    coefficients = getattr(regressor, "coef_", None)
    if coefficients is not None and np.ndim(getattr(regressor, "intercept_", 0.0)) == 1:
        return int(np.shape(regressor.intercept_)[0])
    return 1


def _answer(estimator: Any, rows: Any, *, classifier: bool) -> dict[str, np.ndarray]:
    asked = {LABEL: "predict", PROBABILITIES: "predict_proba", PREDICTION: "predict"}
    return {
        name: np.asarray(getattr(estimator, asked[name])(rows))
        for name in _answers(estimator, classifier=classifier)
    }


def _before(estimator: Any, rows: Any) -> np.ndarray:
    seen = estimator[:-1].transform(rows)
    dense = seen.toarray() if hasattr(seen, "toarray") else seen
    return np.asarray(dense, dtype=np.float64)
