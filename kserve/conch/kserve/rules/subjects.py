"""What a rule is and what it looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ..documents import Document
from ..findings import Severity
from ..structural import Path
from ..versions import MODE_ANNOTATION, DeploymentMode, KServeVersion
from .reading import FRAMEWORKS, Fields, at, fields, items, text


class Source(StrEnum):
    """Who enforces a rule, or ignores the field that it is about."""

    WEBHOOK = "KServe's validating webhook"
    CONTROLLER = "KServe's controller"
    KNATIVE = "Knative Serving"
    PRACTICE = "practice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One place where a rule applies; the linter turns it into a finding."""

    path: Path
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A document under the version and mode that it will meet.

    Attributes:
        document: The document.
        version: The stated KServe version.
        mode: The mode that its annotation selects, else the stated default of the cluster.
        explicit_mode: Whether the annotation selects it.
    """

    document: Document
    version: KServeVersion
    mode: DeploymentMode
    explicit_mode: bool

    @classmethod
    def of(cls, document: Document, version: KServeVersion, default: DeploymentMode) -> Subject:
        """Return a document with its effective mode."""
        written = text(at(document.body, "metadata", "annotations", MODE_ANNOTATION))
        mode = DeploymentMode.from_annotation(written, version)
        return cls(
            document=document,
            version=version,
            mode=mode or default,
            explicit_mode=mode is not None,
        )

    @property
    def standard(self) -> bool:
        """Whether the document runs in Standard mode."""
        return self.mode is DeploymentMode.STANDARD

    @property
    def annotations(self) -> Fields:
        """`metadata.annotations`."""
        return fields(self.get("metadata", "annotations"))

    def get(self, *path: str | int) -> object:
        """Return the value at a path, or None."""
        return at(self.document.body, *path)

    def components(self) -> Iterator[tuple[Path, Fields]]:
        """Yield predictor, transformer and explainer of an InferenceService, where present."""
        for name in ("predictor", "transformer", "explainer"):
            if component := fields(self.get("spec", name)):
                yield ("spec", name), component

    def canaries(self) -> Iterator[tuple[Path, Fields]]:
        """Yield the entries of `spec.canary`."""
        for index, canary in enumerate(items(self.get("spec", "canary"))):
            yield ("spec", "canary", index), fields(canary)


Check = Callable[[Subject], Iterator[Hit]]
SERVICE: Final = ("InferenceService",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule under a stable code.

    Attributes:
        code: Stable name.
        severity: What a finding of it means.
        kinds: Kinds that it looks at.
        source: Who enforces or ignores.
        summary: What it says, for the reference page.
        check: Yields every place where it applies.
        since: First KServe version that it holds for; None for every one.
    """

    code: str
    severity: Severity
    kinds: tuple[str, ...]
    source: Source
    summary: str
    check: Check
    since: KServeVersion | None = None

    def applies(self, subject: Subject) -> bool:
        """Tell whether the rule looks at this kind in this version."""
        return subject.document.kind in self.kinds and (
            self.since is None or subject.version.at_least(self.since)
        )


def refused(
    code: str,
    summary: str,
    check: Check,
    *,
    kinds: tuple[str, ...] = SERVICE,
    since: KServeVersion | None = None,
    source: Source = Source.WEBHOOK,
) -> Rule:
    """Return a rule about what is refused or cannot work."""
    return Rule(
        code=code,
        severity=Severity.ERROR,
        kinds=kinds,
        source=source,
        summary=summary,
        check=check,
        since=since,
    )


def ignored(
    code: str,
    summary: str,
    check: Check,
    *,
    kinds: tuple[str, ...] = SERVICE,
    since: KServeVersion | None = None,
    source: Source = Source.CONTROLLER,
) -> Rule:
    """Return a rule about what is accepted and then does something else than it says."""
    return Rule(
        code=code,
        severity=Severity.WARNING,
        kinds=kinds,
        source=source,
        summary=summary,
        check=check,
        since=since,
    )


def noted(
    code: str,
    summary: str,
    check: Check,
    *,
    kinds: tuple[str, ...] = SERVICE,
    since: KServeVersion | None = None,
    source: Source = Source.PRACTICE,
) -> Rule:
    """Return a rule about what is worth knowing."""
    return Rule(
        code=code,
        severity=Severity.NOTE,
        kinds=kinds,
        source=source,
        summary=summary,
        check=check,
        since=since,
    )


def containers(subject: Subject) -> Iterator[tuple[Path, Fields]]:
    """Yield every container of an InferenceService or a serving runtime that takes `env`."""
    if subject.document.kind == "InferenceService":
        for path, component in [*subject.components(), *_canary_predictors(subject)]:
            yield from _containers_of(path, component)
            for name in (*FRAMEWORKS, "model", "art"):
                if framework := fields(component.get(name)):
                    yield (*path, name), framework
    else:
        yield from _containers_of(("spec",), fields(subject.get("spec")))


def _canary_predictors(subject: Subject) -> Iterator[tuple[Path, Fields]]:
    for path, canary in subject.canaries():
        yield (*path, "predictor"), fields(canary.get("predictor"))


def _containers_of(path: Path, pod: Fields) -> Iterator[tuple[Path, Fields]]:
    for name in ("containers", "initContainers"):
        for index, container in enumerate(items(pod.get(name))):
            yield (*path, name, index), fields(container)
    if worker := fields(pod.get("workerSpec")):
        yield from _containers_of((*path, "workerSpec"), worker)
