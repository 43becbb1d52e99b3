"""Which reference data set a model's versions are verified with: the operator's word. Pure.

A path is read by the builder, so that it is a setting and not a tag: who may register a model may
not have conch read any file of its machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from conch.model_repo_builder import TaskMetric


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceData:
    """Rows that a person trusts, for some models.

    Attributes:
        models: Globs of registered names.
        path: The file, see `conch.model_repo_builder.references`.
        task: What its labels are for; None: its rows are compared and no more.
    """

    models: tuple[str, ...]
    path: Path
    task: TaskMetric | None = None


def reference_for(given: Sequence[ReferenceData], model: str) -> ReferenceData | None:
    """Return the first data set that is for a model; None where none is.

    >>> rows = ReferenceData(models=("fraud-*",), path=Path("/data/fraud.parquet"))
    >>> reference_for([rows], "fraud-eu") is rows, reference_for([rows], "digits")
    (True, None)
    """
    return next(
        (one for one in given if any(fnmatchcase(model, glob) for glob in one.models)), None
    )
