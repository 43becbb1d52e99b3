"""What an update is refused for, and what it does besides what it says.

Source: `ValidateUpdate` of the webhooks of kserve/kserve; for the canary order, kserve issues 2130
and 1968.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ..findings import Severity
from ..quantities import quantity_or_none
from ..versions import MODE_ANNOTATION, DeploymentMode, KServeVersion
from .reading import at, fields, implementation, integer, storage_uri, text
from .subjects import Hit, Source, Subject

_REVISION_FIELDS: Final = (
    "minReplicas",
    "maxReplicas",
    "scaleTarget",
    "scaleMetric",
    "containerConcurrency",
    "timeout",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRule:
    """A rule about an old and a new state of one object; see `Rule` for the attributes."""

    code: str
    severity: Severity
    kinds: tuple[str, ...]
    source: Source
    summary: str
    check: Callable[[Subject, Subject], Iterator[Hit]]
    since: KServeVersion | None = None

    def applies(self, subject: Subject) -> bool:
        """Tell whether the rule looks at this kind in this version."""
        return subject.document.kind in self.kinds and (
            self.since is None or subject.version.at_least(self.since)
        )


def _mode(old: Subject, new: Subject) -> Iterator[Hit]:
    recorded = text(old.get("status", "deploymentMode"))
    before = DeploymentMode.from_annotation(recorded, old.version) if recorded else old.mode
    if new.explicit_mode and before is not None and new.mode is not before:
        yield Hit(
            path=("metadata", "annotations", MODE_ANNOTATION),
            message=f"changes the mode from {before} to {new.mode}",
            fix="Make a second object under another name and move the traffic.",
        )


def _predictor_name(old: Subject, new: Subject) -> Iterator[Hit]:
    before, after = (fields(side.get("spec", "predictor")) for side in (old, new))
    if before.get("name") != after.get("name") and storage_uri(before) == storage_uri(after):
        yield Hit(
            path=("spec", "predictor", "name"),
            message="changes while the model stays the same",
            fix="Change the name only together with storageUri, to promote a canary.",
        )


def _memory(old: Subject, new: Subject) -> Iterator[Hit]:
    before, after = (side.get("spec", "model", "memory") for side in (old, new))
    sizes = [quantity_or_none(value) for value in (before, after)]
    if None not in sizes and sizes[0] != sizes[1]:
        yield Hit(
            path=("spec", "model", "memory"),
            message=f"changes from {before} to {after}; it is immutable",
            fix="Delete the trained model and make it again.",
        )


def _worker(old: Subject, new: Subject) -> Iterator[Hit]:
    if fields(old.get("spec", "workerSpec")) and not fields(new.get("spec", "workerSpec")):
        yield Hit(path=("spec", "workerSpec"), message="is removed, which is refused")


def _scaling_revision(old: Subject, new: Subject) -> Iterator[Hit]:
    if new.standard or _model_changes(old, new):
        return
    for path, component in new.components():
        before = fields(old.get(*path))
        for name in _REVISION_FIELDS:
            if before and component.get(name) != before.get(name):
                yield Hit(
                    path=(*path, name),
                    message="changes the revision's template: a new revision, hence a new canary "
                    "candidate, of the same model",
                    fix="Change scaling while no canary is under way.",
                )


def _canary_jump(old: Subject, new: Subject) -> Iterator[Hit]:
    percent = integer(new.get("spec", "predictor", "canaryTrafficPercent"))
    running = old.get("spec", "predictor", "canaryTrafficPercent") is not None
    if new.standard or not _model_changes(old, new):
        return
    if percent or (percent is None and running):
        share = "all traffic" if percent is None else f"{percent} %"
        yield Hit(
            path=("spec", "predictor", "canaryTrafficPercent"),
            message=f"gives {share} to whatever revision is the latest ready one, which is the "
            "previous candidate until the new model is ready",
            fix="Apply the new model with canaryTrafficPercent 0, wait until it is ready, raise.",
        )


def _model_changes(old: Subject, new: Subject) -> bool:
    before, after = (fields(side.get("spec", "predictor")) for side in (old, new))
    return implementation(before) != implementation(after) or at(before, "containers") != at(
        after, "containers"
    )


_SERVICE: Final = ("InferenceService",)

UPDATE_RULES: Final = (
    UpdateRule(
        code="update-mode",
        severity=Severity.ERROR,
        kinds=_SERVICE,
        source=Source.WEBHOOK,
        summary="The deployment mode changes.",
        check=_mode,
    ),
    UpdateRule(
        code="update-predictor-name",
        severity=Severity.ERROR,
        kinds=_SERVICE,
        source=Source.WEBHOOK,
        summary="`predictor.name` changes without the model.",
        check=_predictor_name,
        since=KServeVersion.V0_20,
    ),
    UpdateRule(
        code="update-memory",
        severity=Severity.ERROR,
        kinds=("TrainedModel",),
        source=Source.WEBHOOK,
        summary="A trained model's `memory` changes.",
        check=_memory,
    ),
    UpdateRule(
        code="update-worker",
        severity=Severity.ERROR,
        kinds=("ServingRuntime", "ClusterServingRuntime"),
        source=Source.WEBHOOK,
        summary="A runtime's `workerSpec` is removed.",
        check=_worker,
    ),
    UpdateRule(
        code="update-new-revision",
        severity=Severity.WARNING,
        kinds=_SERVICE,
        source=Source.KNATIVE,
        summary="A scaling field changes alone, which makes a new canary candidate.",
        check=_scaling_revision,
    ),
    UpdateRule(
        code="update-canary-jump",
        severity=Severity.WARNING,
        kinds=_SERVICE,
        source=Source.CONTROLLER,
        summary="A new model and a share of traffic above 0 come in one update.",
        check=_canary_jump,
    ),
)
