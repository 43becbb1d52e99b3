"""A FastAPI server with an asyncio micro-batcher, as one would write it by hand.

Runs in an environment of its own: `python fastapi_server.py PORT MODEL.onnx WORKERS`.
"""

import asyncio
import os
import sys
from contextlib import asynccontextmanager

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request, Response
from orjson import dumps, loads
from pydantic import BaseModel

LARGEST_BATCH = 64


class Batcher:
    """Joins the rows of requests that wait together and runs the model once for all of them."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self._queue: asyncio.Queue = asyncio.Queue()

    async def run(self) -> None:
        """Answer what was put into the queue, for ever."""
        while True:
            waiting = [await self._queue.get()]
            await asyncio.sleep(0)  # lets requests in that have arrived; uvloop rounds 0.5 ms to 0
            while len(waiting) < LARGEST_BATCH and not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            rows = np.concatenate([rows for rows, _ in waiting])
            answers = self._session.run(["y"], {"x": rows})[0]
            start = 0
            for rows, answer in waiting:
                answer.set_result(answers[start : start + len(rows)])
                start += len(rows)

    async def infer(self, rows: np.ndarray) -> np.ndarray:
        """Return the model's answer for some rows."""
        answer = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((rows, answer))
        return await answer


@asynccontextmanager
async def lifespan(app: FastAPI):
    """Run the batcher beside the server."""
    app.state.batcher = Batcher(os.environ["MODEL"])
    task = asyncio.create_task(app.state.batcher.run())
    yield
    task.cancel()


app = FastAPI(lifespan=lifespan)


class Tensor(BaseModel):
    """One tensor of the Open Inference Protocol."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class InferRequest(BaseModel):
    """A request of that protocol."""

    inputs: list[Tensor]


class InferResponse(BaseModel):
    """Its answer."""

    model_name: str
    outputs: list[Tensor]


@app.post("/v2/models/mlp/infer")
async def infer(question: InferRequest, request: Request) -> InferResponse:
    """Answer as FastAPI's documentation teaches: bodies are models, and are validated."""
    tensor = question.inputs[0]
    rows = np.array(tensor.data, dtype=np.float32).reshape(tensor.shape)
    answer = await request.app.state.batcher.infer(rows)
    data, shape = answer.ravel().tolist(), list(answer.shape)
    output = Tensor(name="y", datatype="FP32", shape=shape, data=data)
    return InferResponse(model_name="mlp", outputs=[output])


@app.post("/raw/infer")
async def infer_raw(request: Request) -> Response:
    """Answer without validation, with orjson: the fastest that this framework was seen to do."""
    tensor = loads(await request.body())["inputs"][0]
    rows = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
    answer = await request.app.state.batcher.infer(rows)
    data, shape = answer.ravel().tolist(), list(answer.shape)
    output = {"name": "y", "datatype": "FP32", "shape": shape, "data": data}
    return Response(
        dumps({"model_name": "mlp", "outputs": [output]}), media_type="application/json"
    )


if __name__ == "__main__":
    port, path, workers = sys.argv[1:]
    os.environ["MODEL"] = path
    uvicorn.run(
        "fastapi_server:app",
        host="127.0.0.1",
        port=int(port),
        workers=int(workers),
        log_level="warning",
        access_log=False,
        loop="uvloop",
        http="httptools",
    )
