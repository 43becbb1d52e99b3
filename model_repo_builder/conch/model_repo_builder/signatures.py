"""The signature of a converted graph, and whether it is what the registry says."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto

from conch.core import DYNAMIC, DType, Signature, TensorSpec

from .errors import SignatureMismatchError
from .mlflow_models import DeclaredTensor
from .onnx_graphs import input_ports, output_ports
from .sources import Port

_PRECISION = (DType.FP16, DType.FP32, DType.FP64)


def ports_signature(
    inputs: tuple[Port, ...], outputs: tuple[Port, ...], *, batched: bool
) -> Signature:
    """Return what a variant takes and returns.

    Args:
        inputs: Its inputs.
        outputs: Its outputs.
        batched: Whether the first dimension of every tensor is the batch, which the signature
            leaves out.
    """
    return Signature(
        inputs=tuple(_spec(port, batched) for port in inputs),
        outputs=tuple(_spec(port, batched) for port in outputs),
        batched=batched,
    )


def coarsest_float(graph: Any) -> DType:
    """Return the coarsest floating-point type of a graph's tensors and weights; FP32 if none."""
    found = {port.dtype for port in (*input_ports(graph), *output_ports(graph))}
    kinds = {tensor.data_type for tensor in graph.graph.initializer}
    if kinds & {TensorProto.FLOAT16, TensorProto.BFLOAT16}:
        found.add(DType.FP16)
    if TensorProto.FLOAT in kinds:
        found.add(DType.FP32)
    return next((dtype for dtype in _PRECISION if dtype in found), DType.FP32)


def check_declared(
    taken: tuple[Port, ...],
    returned: tuple[Port, ...],
    inputs: tuple[DeclaredTensor, ...] | None,
    outputs: tuple[DeclaredTensor, ...] | None,
) -> tuple[str, ...]:
    """Compare what a converted model takes and returns with MLflow's signature.

    Returns:
        Remarks on what differs without harm, or could not be compared.

    Raises:
        SignatureMismatchError: A tensor is missing, or has another type or other dimensions.
    """
    if inputs is None:
        return ("The MLflow model has no signature; the graph's own is used.",)
    notes: list[str] = []
    for side, declared, ports in (
        ("input", inputs, taken),
        ("output", outputs or (), returned),
    ):
        if any(tensor.shape is None for tensor in declared):
            notes.append(f"MLflow's signature names columns, so {side}s were not compared with it.")
            continue
        by_name = {port.name: port for port in ports}
        if side == "input" and len(declared) != len(ports):
            raise _mismatch(f"it names {len(declared)} input(s), the graph takes {len(ports)}")
        for place, tensor in enumerate(declared):
            port = by_name.get(tensor.name) if tensor.name else None
            if port is None and (not tensor.name or len(ports) == 1) and place < len(ports):
                port = ports[place]
            if port is None:
                raise _mismatch(f"the graph has no {side} {tensor.name!r}, only {sorted(by_name)}")
            notes.extend(_compared(side, tensor, port))
    return tuple(notes)


def _compared(side: str, declared: DeclaredTensor, port: Port) -> list[str]:
    shape = declared.shape or ()
    what = f"{side} {port.name!r}"
    notes = []
    if declared.dtype is not port.dtype:
        if (declared.dtype, port.dtype) != (DType.FP64, DType.FP32):
            raise _mismatch(f"{what} is {declared.dtype} there and {port.dtype} in the graph")
        notes.append(f"MLflow's signature says FP64 for {what}; the graph has FP32.")
    if not port.dims and shape:
        return notes  # a graph that does not state an output's shape
    if len(shape) != len(port.dims):
        raise _mismatch(
            f"{what} has {len(shape)} dimension(s) there, {len(port.dims)} in the graph"
        )
    for place, (said, size) in enumerate(zip(shape, port.dims, strict=True)):
        if isinstance(size, str):
            if said != DYNAMIC:
                notes.append(
                    f"MLflow's signature says {said} for dimension {place} of {what}; the graph "
                    "takes any size."
                )
        elif said == DYNAMIC:
            advice = " Log the model with an example of two rows or more." if place == 0 else ""
            notes.append(
                f"MLflow's signature says any size for dimension {place} of {what}; the graph "
                f"has {size} only.{advice}"
            )
        elif said != size:
            raise _mismatch(f"dimension {place} of {what} is {said} there and {size} in the graph")
    return notes


def _spec(port: Port, batched: bool) -> TensorSpec:
    dims = tuple(size if isinstance(size, int) else DYNAMIC for size in port.dims)
    return TensorSpec(name=port.name, dtype=port.dtype, shape=dims[1:] if batched else dims)


def _mismatch(what: str) -> SignatureMismatchError:
    return SignatureMismatchError(
        f"MLflow's signature does not fit the model: {what}.",
        hint="Log the model again with a signature that fits it, for instance by "
        "mlflow.models.infer_signature.",
    )
