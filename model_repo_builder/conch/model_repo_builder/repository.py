"""Laying out the portable flavour of a Triton repository: one model folder, one version.

    <model>/config.pbtxt
    <model>/<ordinal>/model.onnx, model.py, __pycache__/model.cpython-3xx.pyc
    <model>/warmup/<input>

`model.py` is compiled before it is published: Triton's Python backend would write the cache after
the load and so change the folder's time, which makes the next load start this version again.
"""

from __future__ import annotations

import importlib.util
import py_compile
from dataclasses import replace
from pathlib import Path
from typing import Final

from conch.core import Ordinal, ServingSpec, Signature, TritonName
from conch.triton_configs import (
    WARMUP_FOLDER,
    WarmupFile,
    WarmupTensor,
    portable_onnx,
    render,
)

from .golden import GoldenCase, raw_bytes

PORTABLE: Final = "portable"
_TEMPLATE: Final = Path(__file__).with_name("portable_model.py")


def write_portable(
    folder: Path,
    *,
    graph: bytes,
    model: TritonName,
    ordinal: Ordinal,
    signature: Signature,
    spec: ServingSpec,
    warm_with: GoldenCase,
) -> None:
    """Write `portable/` into a folder.

    Args:
        folder: The build's folder.
        graph: The serialised `onnx.ModelProto`, the very bytes that were verified.
        model: The model's name on the wire.
        ordinal: The version directory.
        signature: See `Manifest`.
        spec: What `max_batch_size` says is what is served.
        warm_with: A golden case whose first row warms every instance, alone and as a full batch.

    Raises:
        TritonConfigError: Signature and options contradict each other.
    """
    home = folder / PORTABLE / model
    version = home / str(ordinal)
    (home / WARMUP_FOLDER).mkdir(parents=True)
    version.mkdir()
    (version / "model.onnx").write_bytes(graph)
    source = version / "model.py"
    source.write_bytes(_TEMPLATE.read_bytes())
    _compile(source)
    tensors = _warmup_tensors(home / WARMUP_FOLDER, signature, spec, warm_with)
    sizes = sorted({1, *spec.preferred_batch_sizes, max(1, spec.max_batch_size)})
    config = portable_onnx(
        model=model,
        ordinal=ordinal,
        signature=signature,
        spec=spec,
        warmup=[WarmupFile(name=f"batch-{n}", batch_size=n, tensors=tensors) for n in sizes],
        parameters={"intra_op_threads": "1"},
    )
    (home / "config.pbtxt").write_text(render(config), encoding="utf-8")


def served_spec(spec: ServingSpec, *, max_batch_size: int) -> ServingSpec:
    """Return the options with the batch size that can be served."""
    sizes = tuple(size for size in spec.preferred_batch_sizes if size <= max_batch_size)
    return replace(spec, max_batch_size=max_batch_size, preferred_batch_sizes=sizes)


def _compile(source: Path) -> None:
    cached = importlib.util.cache_from_source(str(source))
    # Unchecked: a copy of the folder has other times, and must not be compiled again there.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(source), cached, "model.py", doraise=True, invalidation_mode=mode)


def _warmup_tensors(
    folder: Path, signature: Signature, spec: ServingSpec, case: GoldenCase
) -> tuple[WarmupTensor, ...]:
    tensors = []
    for number, tensor in enumerate(signature.inputs):
        array = case.inputs[tensor.name]
        row = array[:1].reshape(array.shape[1:]) if spec.max_batch_size else array
        name = f"input-{number}"
        (folder / name).write_bytes(raw_bytes(row))
        tensors.append(
            WarmupTensor(input=tensor.name, file=name, dtype=tensor.dtype, dims=row.shape)
        )
    return tuple(tensors)
