"""What verification found, as a value that people, the console and the audit read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

from .comparing import Tolerance

HISTOGRAM: Final = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Upper bounds of `OutputReport.histogram` behind its first count, of differences over the scale;
the last count has no bound."""


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
        inputs: The row that was asked, each input cut to its first elements, as text.
    """

    case: str
    row: int
    index: tuple[int, ...]
    expected: str
    found: str
    excess: str
    inputs: dict[str, str] = field(default_factory=dict)


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
        rows: Rows judged.
        rows_outside: Rows of them with an element outside the tolerance.
        failures: Why the output does not agree, in words; empty if it does.
        kind: What the difference looks like (`diagnosing.FaultKind`); empty if it agrees.
        rank_correlation: Least Spearman correlation of a column with the source's; None where
            there are too few rows, or none varies.
        drift: Mean share of a row's probability that moved; None where the output is none.
        near_border: Rows whose best two columns are close; None if the output has no columns.
        histogram: Elements whose difference over the scale is 0, then up to each of `HISTOGRAM`,
            then larger.
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
    rows: int = 0
    rows_outside: int = 0
    failures: tuple[str, ...] = ()
    kind: str = ""
    rank_correlation: float | None = None
    drift: float | None = None
    near_border: int | None = None
    histogram: tuple[int, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the output agrees."""
        return not self.problem and not self.failures

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Read what `VerificationReport.as_dict` wrote."""
        return cls(
            **{
                **value,
                "tolerance": Tolerance.from_dict(value["tolerance"]),
                "worst": tuple(
                    WorstRow(**{**row, "index": tuple(row["index"])}) for row in value["worst"]
                ),
                "failures": tuple(value.get("failures", ())),
                "histogram": tuple(value.get("histogram", ())),
            }
        )

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form; `from_dict` reads it back."""
        return {
            **asdict(self),
            "worst": [{**asdict(row), "index": list(row.index)} for row in self.worst],
            "failures": list(self.failures),
            "histogram": list(self.histogram),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BeyondReport:
    """A case beyond what the model was made for, where the two models answer differently.

    Attributes:
        case: Its name.
        output: The output; empty where the converted model does not answer.
        what: What differs, in words.
    """

    case: str
    output: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricReport:
    """A task metric on labelled rows.

    Attributes:
        name: Its name, as scikit-learn calls it.
        output: The output that it judges.
        rows: Labelled rows.
        source: The registered model's value.
        converted: The converted model's.
        allowed_loss: How much worse the converted model may be.
    """

    name: str
    output: str
    rows: int
    source: float
    converted: float
    allowed_loss: float
    greater_is_better: bool

    @property
    def loss(self) -> float:
        """How much worse the converted model is; negative where it is better."""
        return (
            self.source - self.converted
            if self.greater_is_better
            else (self.converted - self.source)
        )

    @property
    def passed(self) -> bool:
        """Whether the loss is allowed."""
        return self.loss <= self.allowed_loss


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
        precision: What the converted model computes in (`conch.core.Precision`).
        beyond: Where the two differ beyond what the model was made for; refuses nothing.
        metric: The task metric; None where no labelled rows were given.
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
    precision: str = "fp32"
    beyond: tuple[BeyondReport, ...] = ()
    metric: MetricReport | None = None

    @property
    def passed(self) -> bool:
        """Whether every output agrees, and the task metric too."""
        agree = bool(self.outputs) and all(output.passed for output in self.outputs)
        return agree and (self.metric is None or self.metric.passed)

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
            "outputs": [output.as_dict() for output in self.outputs],
            "beyond": [asdict(one) for one in self.beyond],
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
            precision=value.get("precision", "fp32"),
            beyond=tuple(BeyondReport(**one) for one in value.get("beyond", ())),
            metric=MetricReport(**value["metric"]) if value.get("metric") else None,
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
