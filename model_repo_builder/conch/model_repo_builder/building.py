"""One build from beginning to end, in this process: load, convert, verify, lay out, publish."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .asking import Questions, ask, column_steps
from .confining import RESULT
from .converting import CONVERTERS, Converter
from .digests import folder_digest
from .errors import WeakEvidenceError
from .flavours import Selection, column_labels, lay_out, select
from .golden import choose_golden, write_golden
from .isolation import Confined
from .loading import LOADERS, Loader, load_source
from .manifests import MANIFEST, Manifest, write_manifest
from .mlflow_models import MlflowModel, read_mlflow_model
from .planning import plans
from .proving import Proof, Question, prove
from .publishing import staged
from .recorded_requirements import holds_code
from .reports import VerificationReport
from .repository import Layout, served_spec
from .requests import BuildRequest
from .steps import Step

REPORT: Final = "report.json"
Progress = Callable[[float, str], None]

_SCRATCH: Final = ".variants"
_PARTS: Final = {
    "load": 0.0,
    "ask": 0.15,
    "convert": 0.3,
    "verify": 0.5,
    "time": 0.8,
    "publish": 0.9,
}
"""How far a build is when a stage begins."""

_TOOLS: Final = {
    "conch": "conch",
    "keras": "keras",
    "lightgbm": "lightgbm",
    "nncf": "nncf",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "onnxscript": "onnxscript",
    "openvino": "openvino",
    "skl2onnx": "skl2onnx",
    "sklearn": "scikit-learn",
    "tensorflow": "tensorflow-cpu",
    "tf2onnx": "tf2onnx",
    "torch": "torch",
    "xgboost": "xgboost-cpu",
}
"""Distributions by the module that they install."""


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
        with clock.stage("load", "reading the model"):
            logged = read_mlflow_model(request.source, trusted=request.trust_pickles)
            source_digest = folder_digest(request.source)
            source = load_source(logged, loaders=loaders)
        with clock.stage("ask", "asking the registered model"):
            asked = ask(source, request, metadata=logged.metadata)
            question = Question(
                source=source,
                logged=logged,
                request=request,
                answered=asked.answered,
                batch=asked.batch,
                notes=asked.notes,
                labelled=asked.labelled,
            )
        scratch = folder / _SCRATCH
        plan = plans(converters)[request.profile]
        proofs, steps = prove(plan, question, scratch=scratch, stage=clock.stage)
        weaknesses = _weaknesses(proofs[0].report, asked, request)
        with clock.stage("time", "timing what was proven"):
            selection = select(proofs, question)
        with clock.stage("publish", "writing the Triton repository"):
            best = selection.order[0]
            report = _judged(best.report, weaknesses)
            golden = choose_golden(question.answered, report, max_batch_size=best.batching.rows)
            write_golden(golden, folder)
            layout = Layout(
                model=request.model,
                ordinal=request.ordinal,
                signature=best.variant.signature(batched=best.batching.rows > 0),
                spec=served_spec(request.spec, max_batch_size=best.batching.rows),
                warm_with=golden.cases[0],
                labels=column_labels(source),
            )
            flavours, laid = lay_out(folder, layout, selection, proofs)
            shutil.rmtree(scratch)
            choice = Step(name="choice", taken=True, reason=best.variant.name)
            said_by_all = (
                *_code_steps(request),
                *column_steps(source),
                *steps,
                best.batching.step,
                choice,
                *laid,
            )
            report_digest = _write_report(report, said_by_all, proofs, folder)
        manifest = Manifest(
            build_id=request.build_id,
            registered_name=request.registered_name,
            model=request.model,
            ordinal=request.ordinal,
            path=request.output,
            digest=folder_digest(folder, without=(MANIFEST,)),
            signature=layout.signature,
            max_batch_size=best.batching.rows,
            flavour=source.flavour,
            graph_digest=best.variant.structure,
            source_digest=source_digest,
            verification=report.summary(),
            strong=report.strong,
            weaknesses=report.weaknesses,
            steps=tuple(step.as_dict() for step in _explained(said_by_all, selection)),
            timings_s=dict(clock.seconds),
            tools=_tools(logged, best),
            variant=best.variant.name,
            profile=request.profile,
            flavours=flavours,
            variants=selection.timings,
            report_digest=report_digest,
            isolation=Confined.read(os.environ.get(RESULT)).said,
        )
        write_manifest(manifest, folder)
    progress(1.0, "published")
    return manifest


def _code_steps(request: BuildRequest) -> tuple[Step, ...]:
    """Whose word let stored code run, and in which environment."""
    if not request.trust_pickles or not holds_code(request.source):
        return ()
    trust = request.trusted_because or "whoever asked for the build trusts the model"
    own = request.environment_path is not None
    where = request.environment or "loaded with what is installed here; nobody compared versions"
    return (
        Step(name="stored-code", taken=True, reason=trust),
        Step(name="recorded-environment", taken=own, reason=where),
    )


@dataclass(slots=True)
class _Clock:
    """Times the stages of a build and announces them."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)
    part: float = 0.0

    @contextmanager
    def stage(self, name: str, text: str) -> Iterator[None]:
        self.part = max(self.part, _PARTS[name])  # one variant is verified, the next converted
        self.progress(self.part, text)
        begun = time.perf_counter()
        yield
        seconds = self.seconds.get(name, 0.0) + time.perf_counter() - begun
        self.seconds[name] = round(seconds, 4)


def _weaknesses(
    report: VerificationReport, asked: Questions, request: BuildRequest
) -> tuple[str, ...]:
    """Return why the rows prove little; refuse where the policy wants strong evidence."""
    weaknesses = (*report.weaknesses, *asked.doubts)
    if weaknesses and request.refuse_weak_evidence:
        raise WeakEvidenceError(
            f"The answers agree, but the rows prove little: {'; '.join(weaknesses)}.",
            hint="Log the model with an input_example of varied, typical rows.",
            report=_judged(report, weaknesses).as_dict(),
        )
    return weaknesses


def _judged(report: VerificationReport, weaknesses: tuple[str, ...]) -> VerificationReport:
    return VerificationReport.from_dict(
        {**report.as_dict(), "weaknesses": weaknesses, "strong": not weaknesses}
    )


def _explained(steps: tuple[Step, ...], selection: Selection) -> Iterator[Step]:
    """Add why the choice fell as it did: numbers that no two builds share."""
    for step in steps:
        if step.name == "choice":
            reason = f"{step.reason}: {selection.chosen.reason}"
            yield Step(name=step.name, taken=True, reason=reason)
        else:
            yield step


def _write_report(
    report: VerificationReport, steps: tuple[Step, ...], proofs: tuple[Proof, ...], folder: Path
) -> str:
    """Write `report.json`, and return its SHA-256."""
    value = {
        "verification": report.as_dict(),
        "steps": [step.as_dict() for step in steps],
        "variants": {one.variant.name: one.report.as_dict() for one in proofs},
    }
    text = json.dumps(value, indent=1, sort_keys=True)
    payload = (text + "\n").encode()
    (folder / REPORT).write_bytes(payload)
    return hashlib.sha256(payload).hexdigest()


def read_report(path: Path) -> VerificationReport:
    """Read the verification report of a published build.

    Args:
        path: The build's folder.
    """
    value = json.loads((path / REPORT).read_text(encoding="utf-8"))
    return VerificationReport.from_dict(value["verification"])


def _tools(logged: MlflowModel, best: Proof) -> dict[str, str]:
    """The versions of what is loaded here, and of what the variant is tied to."""
    found: dict[str, str] = {}
    for module, distribution in _TOOLS.items():
        if module in sys.modules:
            with suppress(importlib.metadata.PackageNotFoundError):  # another build of the same
                found[distribution] = importlib.metadata.version(distribution)
    return {
        "python": platform.python_version(),
        "mlflow": logged.mlflow_version,
        **found,
        **best.variant.tools,
    }
