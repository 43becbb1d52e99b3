"""Asking a server that somebody else runs whether conch can work with it, and what it offers.

Triton does not tell how models are controlled, which repository it sees, or which backends it has.
So a model that does nothing is put into the repository: a server that lists it sees the folder, one
that loads it lets itself be told, and what it says to a configuration for a backend tells whether
that is there.
"""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import Final

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from .errors import ServerUnsuitableError, SlotNotReadyError
from .offers import CONFIG, PYTHON

NATIVE_BACKENDS: Final = ("onnxruntime", "openvino", "pytorch", "tensorrt", "fil")
"""Those that are asked about."""

_PREFIX: Final = "conch_examination_"
_NO_BACKEND: Final = "unable to find backend library"
_NOT_EXPLICIT: Final = "explicit model load / unload is not allowed"
_TIMEOUT_S: Final = 20.0
_MODEL: Final = """class TritonPythonModel:
    def execute(self, requests):
        return []
"""


def examine(address: str, repository: Path) -> frozenset[str]:
    """Return the backends of a server, by name; leaves nothing behind.

    Args:
        address: `host:port` of its gRPC listener.
        repository: The folder that it should have as its model repository.

    Raises:
        SlotNotReadyError: It does not answer.
        ServerUnsuitableError: It sees another folder, does not load models when told to, or has no
            backend.
    """
    name = f"{_PREFIX}{uuid.uuid4().hex[:12]}"
    folder = _placed(repository, name)
    with triton.InferenceServerClient(address) as client:
        try:
            _check_sight(client, address, repository, name)
            offered = {PYTHON, *NATIVE_BACKENDS}
            found = frozenset(one for one in sorted(offered) if _offers(client, address, name, one))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    if not found:
        raise ServerUnsuitableError(
            f"The Triton server at {address} has none of the backends "
            f"{', '.join(sorted(offered))}.",
            hint="Start it with a --backend-directory that has one.",
        )
    return found


def is_examination(model: str) -> bool:
    """Tell whether a model is one of those that servers are examined with."""
    return model.startswith(_PREFIX)


def _placed(repository: Path, name: str) -> Path:
    staged, folder = repository.parent / f"{name}.new", repository / name
    (staged / "1").mkdir(parents=True)
    (staged / "1" / "model.py").write_text(_MODEL, encoding="utf-8")
    config = json.loads(_config(name, PYTHON))
    tensors = "".join(
        f'{kind} [ {{ name: "{config[kind][0]["name"]}" data_type: TYPE_FP32 dims: [ 1 ] }} ]\n'
        for kind in ("input", "output")
    )
    text = (
        f'name: "{name}"\nbackend: "{PYTHON}"\n{tensors}instance_group [ {{ kind: KIND_CPU }} ]\n'
    )
    (staged / CONFIG).write_text(text, encoding="utf-8")
    staged.rename(folder)
    return folder


def _config(name: str, backend: str) -> str:
    tensor = {"data_type": "TYPE_FP32", "dims": [1]}
    return json.dumps(
        {
            "name": name,
            "backend": backend,
            "input": [{"name": "x", **tensor}],
            "output": [{"name": "y", **tensor}],
            "instance_group": [{"kind": "KIND_CPU"}],
        }
    )


def _check_sight(
    client: triton.InferenceServerClient, address: str, repository: Path, name: str
) -> None:
    try:
        index = client.get_model_repository_index(client_timeout=_TIMEOUT_S)
    except InferenceServerException as error:
        raise SlotNotReadyError(
            f"The Triton server at {address} does not answer: {error.message()}"
        ) from error
    if name not in {one.name for one in index.models}:
        raise ServerUnsuitableError(
            f"The Triton server at {address} does not see the folder {repository}.",
            hint=f"Start it with --model-repository={repository}, mounted under that path where it "
            "runs in a container.",
        )


def _offers(client: triton.InferenceServerClient, address: str, name: str, backend: str) -> bool:
    """Load the examination with a backend; only its absence is an answer that says no."""
    try:
        client.load_model(name, config=_config(name, backend), client_timeout=_TIMEOUT_S)
    except InferenceServerException as error:
        if _NOT_EXPLICIT in error.message():
            raise ServerUnsuitableError(
                f"The Triton server at {address} does not load models when it is told to.",
                hint="Start it with --model-control-mode=explicit.",
            ) from error
        return _NO_BACKEND not in error.message()
    client.unload_model(name, client_timeout=_TIMEOUT_S)
    return True
