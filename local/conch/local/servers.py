"""One Triton server over gRPC: load, unload, what it holds, inference.

Loads never go over HTTP: an HTTP load freezes HTTP inference for as long as it takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from conch.core import DType, LoadedModel, Ordinal, TritonName

from .errors import InferenceFailedError, LoadFailedError, SlotNotReadyError
from .examining import is_examination

_QUESTION_S: Final = 5.0


class TritonServer:
    """A connection to one server; a context manager, since channels hold threads.

    Args:
        address: `host:port` of its gRPC listener.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._client = triton.InferenceServerClient(address)

    def __enter__(self) -> TritonServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def load(self, model: TritonName, ordinal: Ordinal, *, timeout_s: float) -> None:
        """Load what the repository holds of a model, and see that this version answers.

        Returns when the version is ready, warm-up included. What was loaded before serves until
        then, and goes on serving when this fails.

        Raises:
            LoadFailedError: Triton refused it, or the version is not ready afterwards.
            SlotNotReadyError: The server does not answer.
        """
        try:
            self._client.load_model(model, client_timeout=timeout_s)
        except InferenceServerException as error:
            self._raise_unreachable(error)
            raise LoadFailedError(
                f"Triton did not load {model} version {ordinal}: {error.message()}",
                hint="The log of the server has the details; the previous version still serves.",
                model=model,
                ordinal=ordinal,
            ) from error
        if not self.is_ready(model, ordinal):
            reason = next(
                (one.reason for one in self.models() if one.model == model and one.reason), ""
            )
            raise LoadFailedError(
                f"Triton loaded {model}, but version {ordinal} does not answer. {reason}".strip(),
                hint="The log of the server has the details; the previous version still serves.",
                model=model,
                ordinal=ordinal,
            )

    def unload(self, model: TritonName, *, timeout_s: float) -> None:
        """Let go of a model; one that is not loaded is fine.

        Raises:
            LoadFailedError: Triton refused.
            SlotNotReadyError: The server does not answer.
        """
        try:
            self._client.unload_model(model, client_timeout=timeout_s)
        except InferenceServerException as error:
            self._raise_unreachable(error)
            raise LoadFailedError(f"Triton did not unload {model}: {error.message()}") from error

    def is_ready(self, model: TritonName, ordinal: Ordinal) -> bool:
        """Tell whether a version answers; False where the server does not."""
        try:
            return bool(
                self._client.is_model_ready(model, str(ordinal), client_timeout=_QUESTION_S)
            )
        except InferenceServerException:
            return False

    def models(self) -> tuple[LoadedModel, ...]:
        """Return what the server holds, or failed to.

        Raises:
            SlotNotReadyError: The server does not answer.
        """
        try:
            index = self._client.get_model_repository_index(client_timeout=_QUESTION_S)
        except InferenceServerException as error:
            raise SlotNotReadyError(
                f"The Triton server at {self._address} does not answer: {error.message()}"
            ) from error
        return tuple(
            LoadedModel(
                model=TritonName(one.name),
                ordinal=Ordinal(int(one.version)),
                ready=one.state == "READY",
                reason=one.reason,
            )
            for one in index.models
            # Versions that were unloaded stay in the index; models never loaded have no version.
            if one.version and not (one.state == "UNAVAILABLE" and one.reason == "unloaded")
            if not is_examination(one.name)
        )

    def infer(
        self,
        model: TritonName,
        inputs: Mapping[str, np.ndarray[Any, Any]],
        *,
        timeout_s: float,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Run a model once.

        Args:
            model: The model; the version that the server holds of it.
            inputs: Arrays by tensor name, with the batch dimension where the model has one.
                Strings and bytes (dtype object, S or U) travel as BYTES.
            timeout_s: Longest wait, in seconds.

        Returns:
            Outputs by tensor name; BYTES as arrays of `bytes` objects.

        Raises:
            InferenceFailedError: Triton answered with an error, or not in time.
        """
        tensors = []
        for name, array in inputs.items():
            dtype = DType.from_numpy(array.dtype)
            tensor = triton.InferInput(name, list(array.shape), dtype.value)
            tensor.set_data_from_numpy(array.astype(object) if dtype is DType.BYTES else array)
            tensors.append(tensor)
        try:
            answer = self._client.infer(model, tensors, client_timeout=timeout_s)
        except InferenceServerException as error:
            raise InferenceFailedError(
                f"Triton at {self._address} did not run {model}: {error.message()}", model=model
            ) from error
        outputs = [output.name for output in answer.get_response().outputs]
        return {name: answer.as_numpy(name) for name in outputs}

    def _raise_unreachable(self, error: InferenceServerException) -> None:
        if error.status() == "StatusCode.UNAVAILABLE":
            raise SlotNotReadyError(
                f"The Triton server at {self._address} went away: {error.message()}",
                hint="See its log; the supervisor starts it again.",
            ) from error


@contextmanager
def connected(address: str) -> Iterator[TritonServer]:
    """Open a connection to a server for the length of a block."""
    with TritonServer(address) as server:
        yield server
