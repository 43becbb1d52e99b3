"""Predictions in friendly form; open, like the inference entry that they go through."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header

from conch.core import UNIT_HEADER, InvalidValueError

from ..predicting import (
    InferenceUnavailableError,
    NotServedError,
    Prediction,
    PredictionFailedError,
)
from ..tensor_inputs import InputsInvalidError
from . import examples
from .bodies import PredictBody
from .problems import documented
from .services import Given

LATEST = "latest"

router = APIRouter(prefix="/v1", tags=["predictions"])


@router.post(
    "/models/{name}/predict",
    summary="Ask a model",
    responses={
        **examples.answers("prediction"),
        **documented(
            NotServedError, InputsInvalidError, PredictionFailedError, InferenceUnavailableError
        ),
    },
)
def predict(
    name: str,
    body: PredictBody,
    given: Given,
    unit: Annotated[str | None, Header(alias=UNIT_HEADER)] = None,
) -> Prediction:
    """Predict for some rows and say which version answered.

    The inputs are checked against the signature of the version first; every misfit is named.
    """
    return given.predictor.predict(
        name, body.inputs, version=_pinned(body.version), unit=body.unit or _header_text(unit)
    )


def _header_text(value: str | None) -> str | None:
    """Return a header's bytes, which the server reads as Latin-1, as UTF-8."""
    return None if value is None else value.encode("latin-1").decode(errors="surrogateescape")


def _pinned(version: int | str) -> int | None:
    if version == LATEST:
        return None
    if isinstance(version, str) and not version.isdecimal():
        raise InvalidValueError(
            f"Version {version!r} is neither {LATEST!r} nor a number.",
            hint="Give the registry's integer.",
        )
    return int(version)
