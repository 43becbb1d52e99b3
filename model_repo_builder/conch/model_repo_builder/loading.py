"""Which loader reads which flavour of MLflow model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from . import (
    booster_models,
    onnx_models,
    pyfunc_models,
    pytorch_models,
    sklearn_models,
    tensorflow_models,
)
from .archives import check_archives
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
    tensorflow_models.KERAS: tensorflow_models.load_keras,
    tensorflow_models.TENSORFLOW: tensorflow_models.load_tensorflow,
    pyfunc_models.FLAVOUR: pyfunc_models.load_pyfunc,  # which every model has: the last
}
"""By MLflow's name of the flavour; a model with several is loaded by the first one here."""


def load_source(model: MlflowModel, *, loaders: Mapping[str, Loader] = LOADERS) -> SourceModel:
    """Load an MLflow model by the framework that it was logged with.

    Raises:
        UnknownFlavourError: There is no loader for any of its flavours.
        CorruptArtefactError: An archive in it is a trap.
        BuildError: See the loader.
    """
    check_archives(model.path)
    for flavour, load in loaders.items():
        if flavour in model.flavours:
            return load(model)
    raise UnknownFlavourError(
        f"The model has the flavour(s) {', '.join(sorted(model.flavours)) or 'none'}; "
        f"conch converts {', '.join(loaders)}.",
        hint="Log it with one of these flavours, for instance as ONNX.",
    )
