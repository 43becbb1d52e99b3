"""Rules, what they look at and how they are collected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from ..configs import ModelConfig
from ..releases import TritonRelease

BACKEND_OF_PLATFORM: Final = {
    "tensorrt_plan": "tensorrt",
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
    "libtorch": "pytorch",
    "torch_aoti": "pytorch",
    "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow",
}
"""The older name of a backend and its model format (core: `constants.h`)."""


class Severity(StrEnum):
    """What a finding means for the model.

    ERROR: the server refuses the model, it cannot answer, or it reaches beyond its folder.
    WARNING: something in the text has no effect, or costs.
    INFO: something outside the text must be so as well.
    """

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Problem(NamedTuple):
    """One place where a rule applies."""

    path: str
    message: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a rule looks at.

    Attributes:
        config: The configuration.
        triton: The server that it is meant for.
        folder: Name of the model's folder; empty where it is not known.
        versions: The version folders that exist; None where they are not known.
        members: Configurations of the models that an ensemble may name; None where not known.
    """

    config: ModelConfig
    triton: TritonRelease
    folder: str = ""
    versions: frozenset[int] | None = None
    members: Mapping[str, ModelConfig] | None = None

    @property
    def ensemble(self) -> bool:
        """Whether it is a graph of models."""
        return self.config.platform == "ensemble" or self.config.ensemble_scheduling is not None

    @property
    def backend(self) -> str:
        """The backend, also where only the platform names it; empty where neither does."""
        return self.config.backend or BACKEND_OF_PLATFORM.get(self.config.platform, "")


Check = Callable[[Subject], Iterator[Problem]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that the linter looks for.

    Attributes:
        code: Stable name of its findings.
        severity: What they mean.
        check: Yields a problem for each place.
    """

    code: str
    severity: Severity
    check: Check

    @property
    def summary(self) -> str:
        """What it looks for, in one sentence."""
        return " ".join((self.check.__doc__ or "").split())


@dataclass(slots=True)
class RuleBook:
    """The rules of one module, in the order of their definition."""

    rules: list[Rule] = field(default_factory=list)

    def error(self, code: str) -> Callable[[Check], Check]:
        """Add a rule whose findings are errors."""
        return self._add(code, Severity.ERROR)

    def warning(self, code: str) -> Callable[[Check], Check]:
        """Add a rule whose findings are warnings."""
        return self._add(code, Severity.WARNING)

    def info(self, code: str) -> Callable[[Check], Check]:
        """Add a rule whose findings are informative."""
        return self._add(code, Severity.INFO)

    def _add(self, code: str, severity: Severity) -> Callable[[Check], Check]:
        def keep(check: Check) -> Check:
            self.rules.append(Rule(code=code, severity=severity, check=check))
            return check

        return keep
