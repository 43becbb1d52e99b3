"""Which loader reads which flavour of MLflow model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from . import booster_models, onnx_models, pytorch_models, sklearn_models
from .errors import UnknownFlavourError
from .mlflow_models import MlflowModel
from .sources import SourceModel

Loader = Callable[[MlflowModel], SourceModel]

LOADERS: Final[Mapping[str, Loader]] = {
    onnx_models.FLAVOUR: onnx_models.load_onnx,
    pytorch_models.FLAVOUR: pytorch_models.load_pytorch,
    sklearn_models.FLAVOUR: sklearn_models.load_sklearn,
    booster_models.XGBOOST: booster_models.load_xgboost,
    booster_models.LIGHTGBM: booster_models.load_lightgbm,
}
"""By MLflow's name of the flavour; a model with several is loaded by the first one here."""


def load_source(model: MlflowModel, *, loaders: Mapping[str, Loader] = LOADERS) -> SourceModel:
    """Load an MLflow model by the framework that it was logged with.

    Raises:
        UnknownFlavourError: There is no loader for any of its flavours.
        BuildError: See the loader.
    """
    for flavour, load in loaders.items():
        if flavour in model.flavours:
            return load(model)
    raise UnknownFlavourError(
        f"The model has the flavour(s) {', '.join(sorted(model.flavours)) or 'none'}; "
        f"conch converts {', '.join(loaders)}.",
        hint="Log it with one of these flavours, for instance as ONNX.",
    )
