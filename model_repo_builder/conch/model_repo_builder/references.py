"""A reference data set: rows that a person names, asked as they are, with labels if there are any.

Files: `.npz` (arrays by input name), `.csv` and `.parquet` (a column per input, or the columns of
one packed tensor in their order). Rows of one file are taken from the beginning, up to a limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from .errors import ReferenceDataError
from .onnx_models import fitted
from .requests import TaskMetric
from .rows import Case
from .sources import Arrays, SourceModel
from .tables import example_of_columns
from .tabular_models import TabularModel

_MOST_ROWS: Final = 2048
_LARGEST_BYTES: Final = 16 * 1024**2
CASE: Final = "reference-"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRows:
    """The rows of a reference data set.

    Attributes:
        cases: In the order of the file, named `reference-1`, `reference-2`, ...
        labels: One for each row; None where the file has none.
    """

    cases: tuple[Case, ...]
    labels: np.ndarray | None


def reference_rows(
    path: Path,
    source: SourceModel,
    *,
    batch: str | None,
    largest: int,
    task: TaskMetric | None = None,
) -> ReferenceRows:
    """Read a reference data set as cases.

    Args:
        path: The file that a person named.
        source: The model that is asked.
        batch: The batch axis.
        largest: Rows of one case.
        task: Says which column holds the labels; None where they are called `label`.

    Raises:
        ReferenceDataError: The file cannot be read, or does not fit the model's inputs.
    """
    if batch is None:
        raise ReferenceDataError(
            "The model takes one row at a time, and a reference data set needs a batch axis.",
            hint="Log the model with a dynamic first axis, or name no reference data set.",
        )
    columns = _read(path)
    labels = columns.pop("label" if task is None else task.labels, None)
    if task is not None and labels is None:
        raise ReferenceDataError(
            f"{path.name} has no column {task.labels!r} for {task.name}.",
            hint=f"It has: {', '.join(sorted(columns))}. "
            "Name it by `labels` in [[build.references]].",
        )
    rows = _fitted(columns, source)
    if rows is None:
        wanted = ", ".join(f"{port.name} {list(port.dims)}" for port in source.inputs)
        raise ReferenceDataError(
            f"{path.name} does not fit the model's inputs: {wanted}.",
            hint=f"It has: {', '.join(sorted(columns))}.",
        )
    total = len(next(iter(rows.values())))
    size = sum(_bytes(array) for array in rows.values()) / max(1, total)
    total = min(total, _MOST_ROWS, max(1, int(_LARGEST_BYTES / max(size, 1))))
    cases = []
    for number, begin in enumerate(range(0, total, largest), start=1):
        end = min(total, begin + largest)
        part = {name: array[begin:end] for name, array in rows.items()}
        cases.append(
            Case(
                name=f"{CASE}{number}",
                inputs=part,
                sizes={**_other_axes(part, source, batch), batch: end - begin},
                rows=end - begin,
                typical=True,
            )
        )
    return ReferenceRows(
        cases=tuple(cases), labels=None if labels is None else np.asarray(labels)[:total]
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        if path.suffix in (".csv", ".parquet"):
            import pandas as pd

            frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
            return {str(name): frame[name].to_numpy() for name in frame.columns}
    except Exception as error:  # pandas' and NumPy's readers raise errors of many kinds
        raise ReferenceDataError(
            f"The reference data set {path.name} cannot be read: {type(error).__name__}: {error}",
            hint="conch reads .npz without pickles, .csv and .parquet.",
        ) from error
    raise ReferenceDataError(
        f"The reference data set {path.name} is of no kind that is read.",
        hint="conch reads .npz, .csv and .parquet.",
    )


def _fitted(columns: dict[str, Any], source: SourceModel) -> Arrays | None:
    try:
        if isinstance(source, TabularModel):
            return example_of_columns(columns, source.table)
        return fitted(columns, source.inputs)
    except (TypeError, ValueError):  # columns that are no numbers, or of unequal lengths
        return None


def _other_axes(rows: Arrays, source: SourceModel, batch: str) -> dict[str, int]:
    return {
        size: int(rows[port.name].shape[place])
        for port in source.inputs
        for place, size in enumerate(port.dims)
        if isinstance(size, str) and size != batch
    }


def _bytes(array: np.ndarray) -> int:
    return 64 * array.size if array.dtype.kind == "O" else array.nbytes
