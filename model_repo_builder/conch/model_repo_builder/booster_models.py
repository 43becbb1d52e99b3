"""MLflow's `xgboost` and `lightgbm` flavours, read from the frameworks' own files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from .booster_trees import lightgbm_ensemble, xgboost_ensemble
from .errors import (
    CorruptArtefactError,
    FrameworkMissingError,
    PickledModelError,
    SignatureMismatchError,
    UnsupportedGraphError,
)
from .mlflow_models import MlflowModel
from .sklearn_models import read_skops, unpickled
from .tables import Table, example_of, table_of
from .tabular_models import LABEL, PREDICTION, PROBABILITIES, TabularModel, label_array
from .tree_ensembles import TreeEnsemble

XGBOOST: Final = "xgboost"
LIGHTGBM: Final = "lightgbm"
_LIGHTGBM_TYPES: Final = (
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
)
"""Their state is the text of the model and plain values."""

_Answer = Callable[[Any], dict[str, np.ndarray]]


def load_xgboost(model: MlflowModel) -> TabularModel:
    """Load the `xgboost` flavour of an MLflow model: `model.ubj` or `model.json`.

    Raises:
        FrameworkMissingError: XGBoost is not installed.
        PickledModelError: It is stored in a form that is not XGBoost's own.
        CorruptArtefactError: The file cannot be read.
        MissingSignatureError, SignatureMismatchError: See `load_sklearn`.
        UnsupportedGraphError: It is of another kind than the trees that are converted.
    """
    try:
        import xgboost
    except ImportError as error:
        raise _missing("XGBoost", XGBOOST) from error
    table = _numbers(model)
    flavour = model.flavours[XGBOOST]
    kind = str(flavour.get("model_class", "xgboost.core.Booster")).rpartition(".")[2]
    path = model.file(str(flavour.get("data", "model.ubj")))
    known = {"Booster", "XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor"}
    if kind not in known:
        raise UnsupportedGraphError(
            f"XGBoost's {kind} is not converted.", hint=f"Log one of {', '.join(sorted(known))}."
        )
    if path.suffix not in (".ubj", ".json"):
        raise PickledModelError(
            f"{path.name} is not in XGBoost's own format.", hint="Log it with model_format='ubj'."
        )
    estimator = getattr(xgboost, kind)()
    try:
        estimator.load_model(str(path))
    except Exception as error:  # XGBoost's error and its scikit-learn wrapper's
        raise _unreadable(path.name, "XGBoost", xgboost.__version__, error) from error
    if kind == "Booster":
        booster, rounds = estimator, None
        answer: _Answer = lambda rows: {PREDICTION: booster.predict(xgboost.DMatrix(rows))}  # noqa: E731
    else:
        booster = estimator.get_booster()
        stopped = booster.attr("best_iteration")
        rounds = None if stopped is None else int(stopped) + 1
        answer = _wrapped(estimator, classifier=kind.endswith("Classifier"))
    _check_width(table, booster.num_features())
    classes = label_array(estimator.classes_) if kind.endswith("Classifier") else None
    trees = xgboost_ensemble(booster, rounds=rounds)
    return _source(XGBOOST, model, table, estimator, answer, trees, classes)


def load_lightgbm(model: MlflowModel) -> TabularModel:
    """Load the `lightgbm` flavour of an MLflow model: `model.lgb`, or the wrapper by skops.

    Raises:
        FrameworkMissingError: LightGBM is not installed.
        PickledModelError: It is pickled and models are not trusted, or holds unknown types.
        CorruptArtefactError: The file cannot be read.
        MissingSignatureError, SignatureMismatchError: See `load_sklearn`.
        UnsupportedGraphError: It is of another kind than the trees that are converted.
    """
    try:
        import lightgbm
    except ImportError as error:
        raise _missing("LightGBM", LIGHTGBM) from error
    table = _numbers(model)
    flavour = model.flavours[LIGHTGBM]
    path = model.file(str(flavour.get("data", "model.lgb")))
    if path.suffix == ".lgb":
        try:
            estimator = lightgbm.Booster(model_file=str(path))
        except Exception as error:  # LightGBM's own error
            raise _unreadable(path.name, "LightGBM", lightgbm.__version__, error) from error
    elif flavour.get("serialization_format") == "skops":
        try:
            import skops.io  # noqa: F401
        except ImportError as error:
            raise _missing("skops", LIGHTGBM) from error
        estimator = read_skops(path, known=_LIGHTGBM_TYPES, trusted=model.trusted)
    elif model.trusted:
        estimator = unpickled(path)
    else:
        raise PickledModelError(
            "The model is pickled: loading it would run code that is stored in it.",
            hint="Log it with serialization_format='skops', or log its booster_.",
        )
    classifier = isinstance(estimator, lightgbm.LGBMClassifier)
    if isinstance(estimator, lightgbm.Booster):
        booster = estimator
        answer: _Answer = lambda rows: {PREDICTION: booster.predict(rows)}  # noqa: E731
    elif classifier or isinstance(estimator, lightgbm.LGBMRegressor):
        booster = estimator.booster_
        answer = _wrapped(estimator, classifier=classifier)
    else:
        raise UnsupportedGraphError(
            f"LightGBM's {type(estimator).__name__} is not converted.",
            hint="Log an LGBMClassifier, an LGBMRegressor, or the booster.",
        )
    _check_width(table, booster.num_feature())
    classes = label_array(estimator.classes_) if classifier else None
    trees = lightgbm_ensemble(booster)
    return _source(LIGHTGBM, model, table, estimator, answer, trees, classes)


def _source(
    flavour: str,
    model: MlflowModel,
    table: Table,
    estimator: Any,
    answer: _Answer,
    trees: TreeEnsemble,
    classes: np.ndarray | None,
) -> TabularModel:
    return TabularModel(
        flavour=flavour,
        estimator=estimator,
        table=table,
        answer=answer,
        widened=False,
        answers=(PREDICTION,) if classes is None else (LABEL, PROBABILITIES),
        columns_out=1 if classes is not None else trees.outputs,
        classes=classes,
        trees=trees,
        before=None,
        missing=True,
        example=example_of(model, table),
    )


def _wrapped(estimator: Any, *, classifier: bool) -> _Answer:
    if not classifier:
        return lambda rows: {PREDICTION: estimator.predict(rows)}
    return lambda rows: {
        LABEL: estimator.predict(rows),
        PROBABILITIES: estimator.predict_proba(rows),
    }


def _numbers(model: MlflowModel) -> Table:
    table = table_of(model)
    if table.flat or not table.packed or table.ports[0].dtype.numpy.kind not in "fiub":
        raise UnsupportedGraphError(
            "The signature has columns that are not numbers.",
            hint="Encode text as numbers in a scikit-learn pipeline around the model.",
        )
    return table


def _check_width(table: Table, width: int) -> None:
    if width != table.width:
        raise SignatureMismatchError(
            f"The signature names {table.width} column(s), the model takes {width}.",
            hint="Log the model again with a signature that fits it.",
        )


def _missing(name: str, flavour: str) -> FrameworkMissingError:
    return FrameworkMissingError(
        f"{name} is not installed, and the model is of the flavour {flavour}.",
        hint="Install it: pip install 'conch[trees]'.",
    )


def _unreadable(name: str, framework: str, version: str, error: Exception) -> CorruptArtefactError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return CorruptArtefactError(
        f"{name} cannot be read by {framework} {version}: {lines[0]:.300}",
        hint="Log the model again, or check that the download was complete.",
    )
