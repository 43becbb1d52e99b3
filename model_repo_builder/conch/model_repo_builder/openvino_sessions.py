"""OpenVINO on the CPU, as the generated `model.py` uses it: one thread, float32 arithmetic.

Without the precision hint OpenVINO computes in bfloat16 on CPUs that have it, and a model in FP32
would answer one thing here and another there (differences of 1e-3 instead of 1e-7).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .errors import UnsupportedGraphError
from .portable_model import OPENVINO_OPTIONS
from .sources import Arrays


class OpenvinoSession:
    """A loaded intermediate representation.

    Args:
        path: The `.xml` file; its weights lie beside it.

    Raises:
        UnsupportedGraphError: OpenVINO does not take it.
    """

    def __init__(self, path: Path) -> None:
        import openvino

        try:
            core = openvino.Core()
            model = core.read_model(path)
            compiled = core.compile_model(model, "CPU", OPENVINO_OPTIONS)
        except Exception as error:  # OpenVINO's errors share no public class
            raise refused("does not load the model", error) from error
        self._request = compiled.create_infer_request()
        # Compiling adds names of what it takes out; the file has one name for each.
        self._inputs = [port.any_name for port in model.inputs]
        self._outputs = [port.any_name for port in model.outputs]

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Answer rows; raises what OpenVINO raises for rows that the model does not take."""
        feed = {name: np.ascontiguousarray(inputs[name]) for name in self._inputs}
        answer: Any = self._request.infer(feed, share_inputs=True)
        return dict(zip(self._outputs, answer.to_tuple(), strict=True))


def refused(what: str, error: Exception) -> UnsupportedGraphError:
    """Return OpenVINO's refusal as an error of a build, with the line that says why."""
    import openvino

    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    words = lines[-1] if lines else type(error).__name__
    return UnsupportedGraphError(
        f"OpenVINO {openvino.get_version().split('-')[0]} {what}: {words:.300}",
        hint="The ONNX graph is served instead.",
    )
