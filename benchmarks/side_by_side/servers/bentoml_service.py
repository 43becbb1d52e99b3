"""A BentoML service with adaptive batching; the variable MODEL names the graph."""

import os

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(
    workers=int(os.environ.get("WORKERS", "1")),
    traffic={"timeout": 30},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Mlp:
    """The network behind BentoML's adaptive batching."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            os.environ["MODEL"], options, providers=["CPUExecutionProvider"]
        )

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def predict(self, x: np.ndarray) -> np.ndarray:
        """float32[n, 16] -> float32[n, 4]."""
        return self._session.run(["y"], {"x": x.astype(np.float32)})[0]
