"""One build from beginning to end, in this process: load, convert, verify, lay out, publish."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import onnx

from conch.core import Signature

from .converting import CONVERTERS, Converter, Step, convert
from .digests import folder_digest
from .errors import UnsupportedGraphError, WeakEvidenceError
from .golden import choose_golden, write_golden
from .loading import LOADERS, Loader, load_source
from .manifests import MANIFEST, Manifest, write_manifest
from .mlflow_models import MlflowModel, read_mlflow_model
from .onnx_graphs import graph_digest
from .onnx_sessions import OnnxSession
from .publishing import staged
from .reports import VerificationReport
from .repository import served_spec, write_portable
from .requests import BuildRequest
from .rows import Case, RowPlan, batch_sizes, make_cases, row_bytes
from .signatures import check_declared, coarsest_float, graph_signature
from .sources import Arrays, AxisRange, SourceModel, batch_axis
from .split_rows import column_rows, split_rows
from .tabular_models import TabularModel
from .ties import untied
from .verifying import (
    Answered,
    ask_source,
    batching_problem,
    compare,
    refuse_unless_passed,
)

REPORT: Final = "report.json"
Progress = Callable[[float, str], None]

_TOOLS: Final = {
    "conch": "conch",
    "lightgbm": "lightgbm",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "onnxscript": "onnxscript",
    "skl2onnx": "skl2onnx",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "xgboost": "xgboost-cpu",
}
"""Distributions by the module that they install."""

_STATIC_BATCH: Final = (
    "not every input starts with one dynamic axis, so the model is served without batching; log it "
    "with an input example of two rows or more, and -1 first in the signature, to have it"
)


def build(
    request: BuildRequest,
    *,
    progress: Progress = lambda part, text: None,
    loaders: Mapping[str, Loader] = LOADERS,
    converters: tuple[Converter, ...] = CONVERTERS,
) -> Manifest:
    """Build, verify and publish one version.

    Args:
        request: What to build.
        progress: Called with the part that is done, 0 to 1, and what is being done.
        loaders: Which loader reads which flavour.
        converters: The ways to ONNX, in the order of preference.

    Returns:
        The published build.

    Raises:
        BuildError: Why there is none; nothing is left at `request.output`.
        TritonConfigError: The serving options contradict the model.
    """
    with staged(request.output) as folder:
        clock = _Clock(progress)
        with clock.stage(0.0, "load", "reading the model"):
            logged = read_mlflow_model(request.source, trusted=request.trust_pickles)
            source_digest = folder_digest(request.source)
            source = load_source(logged, loaders=loaders)
        with clock.stage(0.15, "ask", "asking the registered model"):
            batch = _batch(source)
            cases, said = _cases(source, batch, request)
            answered, refused = ask_source(source.run, cases)
            answered = untied(answered)
        with clock.stage(0.3, "convert", "converting to ONNX"):
            graph, steps = convert(source, caps=request.caps, converters=converters)
            payload = _checked(graph)
            if not isinstance(source, TabularModel):  # whose tensors are made from the signature
                said = check_declared(graph, logged.inputs, logged.outputs)
            session = OnnxSession(payload)
        with clock.stage(0.7, "verify", "comparing the answers"):
            report = compare(
                answered,
                session.run,
                coarsest=coarsest_float(graph),
                seed=request.seed,
                batch=batch,
                notes=(*said, *refused),
            )
            report = _judged(report, source, request)
            batching = _batching(source, batch, request, answered, session, graph)
        with clock.stage(0.85, "publish", "writing the Triton repository"):
            signature = graph_signature(graph, batched=batching.rows > 0)
            golden = choose_golden(answered, report, max_batch_size=batching.rows)
            write_golden(golden, folder)
            write_portable(
                folder,
                graph=payload,
                model=request.model,
                ordinal=request.ordinal,
                signature=signature,
                spec=served_spec(request.spec, max_batch_size=batching.rows),
                warm_with=golden.cases[0],
            )
            all_steps = (*_columns(source), *steps, batching.step)
            _write_report(report, all_steps, folder)
        manifest = _manifest(
            request,
            logged,
            source,
            report,
            signature,
            batching.rows,
            all_steps,
            clock,
            folder=folder,
            graph=graph,
            source_digest=source_digest,
        )
        write_manifest(manifest, folder)
    progress(1.0, "published")
    return manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batching:
    """How many rows the server may join, and the step that says why."""

    rows: int
    step: Step


@dataclass(slots=True)
class _Clock:
    """Times the stages of a build and announces them."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, part: float, name: str, text: str) -> Iterator[None]:
        self.progress(part, text)
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begun, 4)


def _batch(source: SourceModel) -> str | None:
    """The batch axis, if the model takes one row of it."""
    batch = batch_axis(source.inputs)
    return batch if batch is not None and source.axes[batch].low <= 1 else None


def _cases(
    source: SourceModel, batch: str | None, request: BuildRequest
) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """The rows to ask, and remarks on them."""
    cases = make_cases(*_plan(source, batch, request))
    if not isinstance(source, TabularModel):
        return cases, ()
    cases += column_rows(source, seed=request.seed)
    found = split_rows(source, seed=request.seed)
    cases += () if found is None else found.cases
    if source.trees is None or source.before is not None:
        cases = tuple(replace(one, inputs=source.table.conform(one.inputs)) for one in cases)
    return cases, () if found is None else (found.note,)


def _columns(source: SourceModel) -> tuple[Step, ...]:
    """How the columns of a table travel, which callers have to know."""
    if not isinstance(source, TabularModel):
        return ()
    return (Step(name="pack-columns", taken=source.table.packed, reason=source.table.note),)


def _plan(
    source: SourceModel, batch: str | None, request: BuildRequest
) -> tuple[RowPlan, Callable[[Arrays], bool]]:
    allowed = source.axes[batch] if batch is not None else AxisRange(high=1)
    sizes = batch_sizes(request.spec.max_batch_size, allowed, row_bytes(source.inputs))

    def accepts(inputs: Arrays) -> bool:
        try:
            source.run(inputs)
        except Exception:  # whatever a framework raises for rows that it does not take
            return False
        return True

    plan = RowPlan(
        ports=source.inputs,
        axes=source.axes,
        batch=batch,
        batch_sizes=sizes,
        example=source.example,
        seed=request.seed,
    )
    return plan, accepts


def _checked(graph: Any) -> bytes:
    try:
        onnx.checker.check_model(graph)
        return bytes(graph.SerializeToString())
    except Exception as error:  # the checker's and protobuf's errors share no class
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise UnsupportedGraphError(
            f"The converted graph is not a valid ONNX file: {words[0]:.300}",
            hint="One file holds up to 2 GiB; a larger model needs half precision or a split.",
        ) from error


def _judged(
    report: VerificationReport, source: SourceModel, request: BuildRequest
) -> VerificationReport:
    """Refuse answers that differ, and weak evidence where the policy wants strong."""
    refuse_unless_passed(report)
    extra: tuple[str, ...] = (
        () if source.example else ("no input example was logged, so all rows are made up",)
    )
    if isinstance(source, TabularModel) and source.doubt:
        extra = (*extra, source.doubt)
    weaknesses = (*report.weaknesses, *extra)
    judged = VerificationReport.from_dict(
        {**report.as_dict(), "weaknesses": weaknesses, "strong": not weaknesses}
    )
    if weaknesses and request.refuse_weak_evidence:
        raise WeakEvidenceError(
            f"The answers agree, but the rows prove little: {'; '.join(weaknesses)}.",
            hint="Log the model with an input_example of varied, typical rows.",
            report=judged.as_dict(),
        )
    return judged


def _batching(
    source: SourceModel,
    batch: str | None,
    request: BuildRequest,
    answered: tuple[Answered, ...],
    session: OnnxSession,
    graph: Any,
) -> _Batching:
    wanted = request.spec.max_batch_size
    reason, rows = "", wanted
    if not wanted:
        reason = "the serving options set max_batch_size to 0"
    elif batch is None:
        reason = _STATIC_BATCH
    else:
        reason = batching_problem(answered, session.run, coarsest=coarsest_float(graph))
        high = source.axes[batch].high
        rows = wanted if high is None else min(wanted, high)
    if reason:
        return _Batching(rows=0, step=Step(name="batching", taken=False, reason=reason))
    taken = f"up to {rows} rows; no row's answer depends on its batch"
    return _Batching(rows=rows, step=Step(name="batching", taken=True, reason=taken))


def _write_report(report: VerificationReport, steps: tuple[Step, ...], folder: Path) -> None:
    value = {"verification": report.as_dict(), "steps": [step.as_dict() for step in steps]}
    text = json.dumps(value, indent=1, sort_keys=True)
    (folder / REPORT).write_text(text + "\n", encoding="utf-8")


def read_report(path: Path) -> VerificationReport:
    """Read the verification report of a published build.

    Args:
        path: The build's folder.
    """
    value = json.loads((path / REPORT).read_text(encoding="utf-8"))
    return VerificationReport.from_dict(value["verification"])


def _manifest(
    request: BuildRequest,
    logged: MlflowModel,
    source: SourceModel,
    report: VerificationReport,
    signature: Signature,
    rows: int,
    steps: tuple[Step, ...],
    clock: _Clock,
    *,
    folder: Path,
    graph: Any,
    source_digest: str,
) -> Manifest:
    return Manifest(
        build_id=request.build_id,
        registered_name=request.registered_name,
        model=request.model,
        ordinal=request.ordinal,
        path=request.output,
        digest=folder_digest(folder, without=(MANIFEST,)),
        signature=signature,
        max_batch_size=rows,
        flavour=source.flavour,
        graph_digest=graph_digest(graph),
        source_digest=source_digest,
        verification=report.summary(),
        strong=report.strong,
        weaknesses=report.weaknesses,
        steps=tuple(step.as_dict() for step in steps),
        timings_s=dict(clock.seconds),
        tools={"python": platform.python_version(), "mlflow": logged.mlflow_version, **_tools()},
    )


def _tools() -> dict[str, str]:
    """The versions of what is loaded here."""
    found: dict[str, str] = {}
    for module, distribution in _TOOLS.items():
        if module in sys.modules:
            with suppress(importlib.metadata.PackageNotFoundError):  # another build of the same
                found[distribution] = importlib.metadata.version(distribution)
    return found
