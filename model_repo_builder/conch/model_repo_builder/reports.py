"""What verification found, as a value that people, the console and the audit read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from .comparing import Tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstRow:
    """One of the rows that differ most.

    Attributes:
        case: The case that it is in.
        row: Its number in the batch, from 0.
        index: The element within the row that differs most.
        expected: The source's element, as text.
        found: The other's.
        excess: Difference over what is allowed; above 1 is a mismatch. Text `inf` where it is.
    """

    case: str
    row: int
    index: tuple[int, ...]
    expected: str
    found: str
    excess: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputReport:
    """One output.

    Attributes:
        name: Its name.
        dtype: Its type on the wire.
        tolerance: What was allowed, and why.
        scale: The output's typical magnitude, see `comparing`.
        values: Elements compared.
        max_abs: Largest absolute difference of elements that are finite on both sides.
        max_rel: The same relative to the expected element.
        mismatches: Elements outside the tolerance.
        non_finite: Elements that are NaN or infinite on one side only.
        label_agreement: Share of rows whose best column agrees; None if the output has no columns.
        labels_seen: How many different best columns the source gave; None likewise.
        worst: The rows that differ most, the worst first.
        problem: What is wrong other than elements, such as another shape; empty if nothing.
    """

    name: str
    dtype: str
    tolerance: Tolerance
    scale: float
    values: int
    max_abs: float
    max_rel: float
    mismatches: int
    non_finite: int
    label_agreement: float | None = None
    labels_seen: int | None = None
    worst: tuple[WorstRow, ...] = ()
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether every element agrees."""
        return not self.mismatches and not self.problem and self.label_agreement in (None, 1.0)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Read what `VerificationReport.as_dict` wrote."""
        worst = tuple(WorstRow(**{**row, "index": tuple(row["index"])}) for row in value["worst"])
        return cls(**{**value, "tolerance": Tolerance(**value["tolerance"]), "worst": worst})


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport:
    """The comparison of a converted model with its source.

    Attributes:
        rows: Rows compared, over all cases.
        cases: Names of the cases.
        batch_sizes: Batch sizes asked; empty for a model without a batch axis.
        axes: Sizes asked of every other dynamic axis.
        outputs: One report per output.
        strong: Whether the rows exercised the model.
        weaknesses: Why they did not, in words; empty if strong.
        notes: What a reader should know besides, such as why batching is off.
        seed: Seed of the generated rows.
    """

    rows: int
    cases: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    axes: dict[str, tuple[int, ...]]
    outputs: tuple[OutputReport, ...]
    strong: bool
    weaknesses: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seed: int = 0

    @property
    def passed(self) -> bool:
        """Whether every output of every row agrees."""
        return bool(self.outputs) and all(output.passed for output in self.outputs)

    def summary(self) -> str:
        """Return one sentence for a person."""
        verdict = "agree" if self.passed else "do not agree"
        evidence = "strong" if self.strong else "weak"
        worst = max((output.max_abs for output in self.outputs), default=0.0)
        return (
            f"{self.rows} rows in {len(self.cases)} cases {verdict} "
            f"(largest difference {worst:.2g}; evidence {evidence})."
        )

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form; `from_dict` reads it back."""
        return {
            **asdict(self),
            "cases": list(self.cases),
            "batch_sizes": list(self.batch_sizes),
            "axes": {name: list(sizes) for name, sizes in self.axes.items()},
            "outputs": [
                {
                    **asdict(output),
                    "worst": [{**asdict(row), "index": list(row.index)} for row in output.worst],
                }
                for output in self.outputs
            ],
            "weaknesses": list(self.weaknesses),
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Read what `as_dict` wrote."""
        return cls(
            rows=value["rows"],
            cases=tuple(value["cases"]),
            batch_sizes=tuple(value["batch_sizes"]),
            axes={name: tuple(sizes) for name, sizes in value["axes"].items()},
            outputs=tuple(OutputReport.from_dict(output) for output in value["outputs"]),
            strong=value["strong"],
            weaknesses=tuple(value["weaknesses"]),
            notes=tuple(value["notes"]),
            seed=value["seed"],
        )


COLUMNS = ("output", "type", "values", "max abs", "max rel", "labels", "mismatches", "verdict")
"""The heads of `rows`."""


def rows(report: VerificationReport) -> tuple[tuple[str, ...], ...]:
    """Return a report as table rows of text, one per output, under `COLUMNS`."""
    return tuple(
        (
            output.name,
            output.dtype,
            str(output.values),
            f"{output.max_abs:.2g}",
            f"{output.max_rel:.2g}",
            "-" if output.label_agreement is None else f"{output.label_agreement:.2%}",
            str(output.mismatches),
            "agrees" if output.passed else output.problem or "differs",
        )
        for output in report.outputs
    )
