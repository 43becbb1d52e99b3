"""Triton's own schema of `config.pbtxt`, loaded without a gRPC client.

`tritonclient` ships the generated module `tritonclient/grpc/model_config_pb2.py`. Importing it in
the usual way runs `tritonclient.grpc.__init__`, which imports gRPC and registers the service
messages; those collide with the ones of the KServe SDK, so that a process can hold only one of
the two. The schema of the configuration collides with nothing. The generated file is therefore
executed by its path, which registers that one schema and costs about 20 ms. If the client is
imported later it finds the same file registered and gets the same classes.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

from .errors import TritonConfigError

_GENERATED = "tritonclient.grpc.model_config_pb2"


@cache
def model_config_class() -> Any:
    """Return the protobuf class `inference.ModelConfig` of the installed Triton client.

    Raises:
        TritonConfigError: The client is not installed, or not with its gRPC parts.
    """
    if _GENERATED in sys.modules:
        return sys.modules[_GENERATED].ModelConfig
    package = importlib.util.find_spec("tritonclient")
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder, "grpc", "model_config_pb2.py")
        if path.is_file():
            return _execute(path).ModelConfig
    raise TritonConfigError(
        "Triton's schema of config.pbtxt is not installed.",
        hint="Install tritonclient[grpc].",
    )


def _execute(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("conch_triton_model_config_pb2", path)
    if spec is None or spec.loader is None:  # pragma: no cover - a .py file always has a loader
        raise TritonConfigError(f"{path} cannot be loaded.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
