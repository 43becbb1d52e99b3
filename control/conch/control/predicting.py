"""Friendly predictions: checked inputs, sent through the inference entry, the version named.

The request takes the same road as any other: Envoy decides by the routes in force which version
answers, and says so in headers that callers cannot forge.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
import numpy as np

from conch.core import UNIT_HEADER, ConchError, NotFoundError, Signature

from .prediction_ids import PREDICTION_HEADER, new_prediction_id
from .reading import View, find_model, find_version
from .state import Build, BuildStatus, Database, ServingStatus, Transaction
from .tensor_inputs import InputsInvalidError, checked_inputs

BUILD_HEADER: Final = "x-conch-build"
"""The response header in which the entry names the build that answered."""

_LOADED: Final = (ServingStatus.READY, ServingStatus.RETIRING)


class NotServedError(NotFoundError):
    """The model, or the version asked for, is not loaded anywhere."""

    code = "not-served"


class InferenceUnavailableError(ConchError):
    """The inference entry, or every server behind it, did not answer."""

    code = "inference-unavailable"
    retryable = True


class PredictionFailedError(ConchError):
    """A model server answered a prediction with an error, or with something unreadable."""

    code = "prediction-failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction(View):
    """What a model answered.

    Attributes:
        prediction: The only output; where there are several, all of them by name.
        outputs: Nested lists by output name; a number that is not finite is null.
        model_version: The registry's integer of the version that answered.
        prediction_id: A UUID of version 7: feedback and metrics refer to it.
        latency_ms: From sending to the whole answer, in milliseconds.
    """

    prediction: Any
    outputs: Mapping[str, Any]
    model_name: str
    model_version: int
    semantic_version: str | None
    build_id: str
    prediction_id: str
    latency_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Road:
    """Where a request goes and what it is checked against."""

    path: str
    signature: Signature
    max_batch_size: int


class Predictor:
    """Answers predictions by way of the inference entry.

    Args:
        database: Says what a model takes and which version a build came from.
        http: A client whose base URL is the inference entry.
    """

    def __init__(self, *, database: Database, http: httpx.Client) -> None:
        self._database = database
        self._http = http

    def predict(
        self,
        name: str,
        inputs: Mapping[str, Any] | Sequence[Any],
        *,
        version: int | None = None,
        unit: str | None = None,
    ) -> Prediction:
        """Ask a model.

        Args:
            name: The registered name.
            inputs: See `tensor_inputs.checked_inputs`.
            version: The registry's integer, to ask that version; None for the one that the
                traffic split gives the unit.
            unit: Whom the prediction is for; the same unit gets the same version. None: any.

        Raises:
            NotFoundError: conch does not know the model or version.
            NotServedError: It is not loaded.
            InputsInvalidError: The inputs do not fit.
            InferenceUnavailableError: Nobody answered.
            PredictionFailedError: The server answered with an error.
        """
        with self._database.look() as tx:
            road = _road(tx, name, version)
        tensors = checked_inputs(inputs, road.signature, max_batch_size=road.max_batch_size)
        prediction_id = new_prediction_id()
        # Without a unit the prediction is its own: what is later reported of it can be joined.
        whom = prediction_id if unit is None else unit
        headers = [
            (UNIT_HEADER.encode(), whom.encode(errors="surrogateescape")),
            (PREDICTION_HEADER.encode(), prediction_id.encode()),
        ]
        start = time.perf_counter()
        try:
            response = self._http.post(road.path, json={"inputs": tensors}, headers=headers)
        except httpx.HTTPError as error:
            raise InferenceUnavailableError(
                f"The inference entry {self._http.base_url} did not answer: {error!r}.",
                hint="`conch status` shows whether it runs.",
            ) from error
        latency_ms = 1000 * (time.perf_counter() - start)
        if not response.is_success:
            raise _refusal(name, response)
        outputs = _outputs(name, response)
        build_id = response.headers.get(BUILD_HEADER, "")
        with self._database.look() as tx:
            build, number = _answered_by(tx, name, build_id)
        return Prediction(
            prediction=next(iter(outputs.values())) if len(outputs) == 1 else outputs,
            outputs=outputs,
            model_name=name,
            model_version=number,
            semantic_version=build.semantic_version,
            build_id=build.id,
            prediction_id=prediction_id,
            latency_ms=round(latency_ms, 3),
        )


def _road(tx: Transaction, name: str, number: int | None) -> _Road:
    model = find_model(tx, name)
    deployment = tx.deployments.first(model_id=model.id)
    live = deployment.live_build_id if deployment is not None else None
    if number is None:
        if live is None:
            raise NotServedError(
                f"{name!r} serves nothing yet.", hint=f"See `conch models show {name!r}`."
            )
        return _on(f"/v2/models/{model.triton_name}/infer", tx.builds.get(live))
    version = find_version(tx, name, number)
    servings = tx.servings.find(
        deployment_id=deployment.id if deployment else "", status=list(_LOADED)
    )
    loaded = tx.builds.find(
        id=[one.build_id for one in servings], version_id=version.id, status=BuildStatus.VERIFIED
    )
    if not loaded:
        raise NotServedError(
            f"Version {number} of {name!r} is not loaded.",
            hint=f"See `conch models versions {name!r}`; a release loads a version.",
        )
    build = max(loaded, key=lambda one: (one.id == live, one.ordinal))
    return _on(f"/v2/models/{model.triton_name}/versions/{build.ordinal}/infer", build)


def _on(path: str, build: Build) -> _Road:
    return _Road(
        path=path,
        signature=Signature.from_dict(build.manifest["signature"]),
        max_batch_size=int(build.manifest["max_batch_size"]),
    )


def _refusal(name: str, response: httpx.Response) -> ConchError:
    """Return what the entry's or the server's refusal means."""
    words = _said(response)
    match response.status_code:
        case httpx.codes.NOT_FOUND:
            return NotServedError(
                f"{name!r} is not served: {words}", hint=f"See `conch models show {name!r}`."
            )
        case httpx.codes.BAD_REQUEST | httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            return InputsInvalidError(f"{name!r} refused the inputs: {words}")
        case httpx.codes.SERVICE_UNAVAILABLE | httpx.codes.GATEWAY_TIMEOUT:
            return InferenceUnavailableError(
                f"No server could answer for {name!r}: {words}", hint="Try again in a moment."
            )
    return PredictionFailedError(
        f"{name!r} answered with an error: {words}", hint="The model server's log says more."
    )


def _said(response: httpx.Response) -> str:
    """Return the words of a refusal: Triton's `error`, a problem's `detail`, or the text."""
    try:
        value = response.json()
        return str(value.get("error") or value["detail"])
    except (ValueError, KeyError, AttributeError, TypeError):
        return response.text[:300] or response.reason_phrase


def _outputs(name: str, response: httpx.Response) -> dict[str, Any]:
    try:
        outputs = json.loads(response.content)["outputs"]
        return {one["name"]: _nested(one) for one in outputs}
    except (ValueError, KeyError, TypeError) as error:
        raise PredictionFailedError(f"The answer of {name!r} cannot be read: {error!r}.") from error


def _nested(output: Mapping[str, Any]) -> Any:
    """Return an output's flat data as nested lists; what is not finite becomes null."""
    flat = [
        None if isinstance(item, float) and not math.isfinite(item) else item
        for item in output["data"]
    ]
    array = np.empty(len(flat), dtype=object)
    array[:] = flat
    return array.reshape(output["shape"]).tolist()


def _answered_by(tx: Transaction, name: str, build_id: str) -> tuple[Build, int]:
    build = tx.builds.first(id=build_id)
    if build is None:
        raise PredictionFailedError(
            f"The answer of {name!r} names no build of this control plane ({build_id!r}).",
            hint="The inference entry must be the one that this control plane routes.",
        )
    return build, tx.versions.get(build.version_id).version
