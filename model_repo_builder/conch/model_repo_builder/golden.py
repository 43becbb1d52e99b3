"""Golden rows: inputs with the answers of the *source* model, kept with every build.

They are what a live server is asked before it gets traffic. Two files: `golden.npz` holds arrays
`<case>/in/<n>` and `<case>/out/<n>`, `golden.json` says what they are and how far answers may
differ. Text lies in the arrays as Triton transfers it: each element's UTF-8 bytes behind their
number as a 4-byte little-endian integer (Triton, "Binary data" extension of the protocol).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from conch.core import DType

from .comparing import Tolerance
from .output_reports import Answered
from .reports import VerificationReport

ARRAYS: Final = "golden.npz"
FACTS: Final = "golden.json"
_LARGEST_BYTES: Final = 8 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenCase:
    """Rows that are asked in one request.

    Attributes:
        name: The case of the verification report that they are.
        rows: Size of the batch; 1 for a model without a batch dimension.
        inputs: Tensors by name, the batch dimension first.
        expected: The source's answers by output name.
        typical: See `rows.Case`.
    """

    name: str
    rows: int
    inputs: Mapping[str, np.ndarray]
    expected: Mapping[str, np.ndarray]
    typical: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """The golden rows of a build.

    Attributes:
        cases: Ascending in size.
        tolerances: By output name.
        scales: Each output's typical magnitude, see `comparing`.
        batched: Whether the server adds the batch dimension, see `Manifest.max_batch_size`.
    """

    cases: tuple[GoldenCase, ...]
    tolerances: Mapping[str, Tolerance]
    scales: Mapping[str, float]
    batched: bool


def choose_golden(
    answered: Sequence[Answered], report: VerificationReport, *, max_batch_size: int
) -> Golden:
    """Choose the cases to keep: those that one request may carry, up to 8 MB, one at least."""
    typical = any(output.tolerance.typical for output in report.outputs)
    inside = [a for a in answered if not a.case.beyond and (a.case.typical or not typical)]
    sendable = [a for a in inside if not max_batch_size or a.case.rows <= max_batch_size]
    kept: list[GoldenCase] = []
    total = 0
    for item in sorted(sendable, key=_bytes):
        total += _bytes(item)
        if kept and total > _LARGEST_BYTES:
            break
        kept.append(
            GoldenCase(
                name=item.case.name,
                rows=item.case.rows,
                inputs=item.case.inputs,
                expected=item.expected,
                typical=item.case.typical,
            )
        )
    return Golden(
        cases=tuple(kept),
        tolerances={output.name: output.tolerance for output in report.outputs},
        scales={output.name: output.scale for output in report.outputs},
        batched=max_batch_size > 0,
    )


def write_golden(golden: Golden, folder: Path) -> None:
    """Write both files into a folder."""
    arrays: dict[str, np.ndarray] = {}
    facts: list[dict[str, Any]] = []
    for number, case in enumerate(golden.cases):
        entry: dict[str, Any] = {"name": case.name, "rows": case.rows, "typical": case.typical}
        for side, tensors in (("in", case.inputs), ("out", case.expected)):
            entry[side] = []
            for place, (name, array) in enumerate(tensors.items()):
                dtype = DType.from_numpy(array.dtype)
                entry[side].append({"name": name, "dtype": dtype.value, "shape": list(array.shape)})
                arrays[f"{number}/{side}/{place}"] = (
                    np.frombuffer(raw_bytes(array), dtype=np.uint8)
                    if dtype is DType.BYTES
                    else array
                )
        facts.append(entry)
    with (folder / ARRAYS).open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    outputs = {
        name: {**tolerance.as_dict(), "scale": golden.scales[name]}
        for name, tolerance in golden.tolerances.items()
    }
    text = json.dumps(
        {"batched": golden.batched, "cases": facts, "outputs": outputs}, indent=1, sort_keys=True
    )
    (folder / FACTS).write_text(text + "\n", encoding="utf-8")


def read_golden(folder: Path) -> Golden:
    """Read what `write_golden` wrote."""
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    cases = []
    with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
        for number, entry in enumerate(facts["cases"]):
            sides: dict[str, dict[str, np.ndarray]] = {"in": {}, "out": {}}
            for side, tensors in sides.items():
                for place, tensor in enumerate(entry[side]):
                    array = arrays[f"{number}/{side}/{place}"]
                    if tensor["dtype"] == DType.BYTES:
                        array = text_array(array.tobytes(), tuple(tensor["shape"]))
                    tensors[tensor["name"]] = array
            cases.append(
                GoldenCase(
                    name=entry["name"],
                    rows=entry["rows"],
                    inputs=sides["in"],
                    expected=sides["out"],
                    typical=entry.get("typical", False),
                )
            )
    return Golden(
        cases=tuple(cases),
        tolerances={
            name: Tolerance.from_dict({k: v for k, v in value.items() if k != "scale"})
            for name, value in facts["outputs"].items()
        },
        scales={name: value["scale"] for name, value in facts["outputs"].items()},
        batched=facts["batched"],
    )


def raw_bytes(array: np.ndarray) -> bytes:
    """Return a tensor as Triton transfers it: little-endian elements in C order.

    >>> raw_bytes(np.array([b"ab", b""], dtype=object))
    b'\\x02\\x00\\x00\\x00ab\\x00\\x00\\x00\\x00'
    """
    if array.dtype.kind not in "OSU":
        return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    items = (v if isinstance(v, bytes) else str(v).encode() for v in array.reshape(-1))
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


def text_array(raw: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Return the text tensor that `raw_bytes` wrote, object[shape] of bytes.

    >>> text_array(raw_bytes(np.array([b"ab", b""], dtype=object)), (2,)).tolist()
    [b'ab', b'']
    """
    items, place = [], 0
    while place < len(raw):
        (length,) = struct.unpack_from("<I", raw, place)
        items.append(raw[place + 4 : place + 4 + length])
        place += 4 + length
    found = np.empty(len(items), dtype=object)
    found[:] = items
    return found.reshape(shape)


def _bytes(item: Answered) -> int:
    arrays = (*item.case.inputs.values(), *item.expected.values())
    return sum(32 * a.size if a.dtype.kind in "OSU" else a.nbytes for a in arrays)
