"""The KServe Python SDK's model server with ONNX Runtime; it forms no batches of its own.

Runs in an environment of its own: `python kserve_server.py PORT MODEL.onnx WORKERS`.
"""

import logging
import sys
from functools import cached_property

import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Mlp(Model):
    """The network behind the SDK's data plane."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self._path = path
        self.ready = True

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        """Made in the process that uses it: the SDK pickles models for its workers."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(self._path, options, providers=["CPUExecutionProvider"])

    async def predict(self, payload: InferRequest, headers=None, response_headers=None):
        """Answer one request; the model takes microseconds, so no thread is worth its change."""
        answer = self._session.run(["y"], {"x": payload.inputs[0].as_numpy()})[0]
        output = InferOutput(
            name="y", shape=list(answer.shape), datatype="FP32", data=answer.ravel().tolist()
        )
        return InferResponse(
            response_id=payload.id or "", model_name=self.name, infer_outputs=[output]
        )


if __name__ == "__main__":
    port, path, workers = sys.argv[1:]
    logging.getLogger("kserve").setLevel(logging.WARNING)
    ModelServer(
        http_port=int(port),
        workers=int(workers),
        enable_grpc=False,
        enable_docs_url=False,
        access_log_format=None,
    ).start([Mlp("mlp", path)])
