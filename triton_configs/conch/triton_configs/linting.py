"""Reading a configuration as the stated Triton would, before it does."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from .configs import ModelConfig
from .releases import triton_release
from .rules import backends, ensembles, identity, placement, scheduling, tensors, warmup
from .rules.books import Rule, Severity, Subject

RULES: tuple[Rule, ...] = tuple(
    rule
    for module in (identity, tensors, scheduling, placement, backends, warmup, ensembles)
    for rule in module.book.rules
)
"""Every rule, by concern. Codes are stable within a minor version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that the stated Triton refuses or ignores, or that needs something else.

    Attributes:
        code: The rule, such as `preferred-batch-range`.
        severity: What it means for the model.
        path: Where, in the words of the text: `dynamic_batching.preferred_batch_size[1]`.
        message: What is the matter.
        fix: What to do.
    """

    code: str
    severity: Severity
    path: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.severity} {self.code} at {self.path}: {self.message} {self.fix}"


def lint(
    config: ModelConfig,
    *,
    triton: str,
    folder: str = "",
    versions: Collection[int] | None = None,
    members: Mapping[str, ModelConfig] | None = None,
) -> tuple[Finding, ...]:
    """Return what a stated Triton would refuse or ignore, errors first.

    The server is taken to run with auto-completion off.

    Args:
        config: The configuration.
        triton: A container tag (`26.05-py3`) or a server version (`2.51.0-python`); see
            `triton_release`.
        folder: Name of the model's folder, where it is known.
        versions: The version folders that exist, where they are known.
        members: Configurations of the models that an ensemble may name, where they are known.

    Raises:
        UnknownTritonError: `triton` names no release.

    >>> config = ModelConfig(name="digits", backend="tensorflow", max_batch_size=8)
    >>> [str(f) for f in lint(config, triton="26.05-py3") if f.code == "backend-removed"]
    ... # doctest: +ELLIPSIS
    ['error backend-removed at backend: 26.05-py3 has no TensorFlow backend; ...']
    """
    subject = Subject(
        config=config,
        triton=triton_release(triton),
        folder=folder,
        versions=None if versions is None else frozenset(versions),
        members=members,
    )
    findings = [
        Finding(code=rule.code, severity=rule.severity, **problem._asdict())
        for rule in RULES
        for problem in rule.check(subject)
    ]
    order = list(Severity)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))
