"""Semantic versions of a served model: derived from what changed, never typed in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import total_ordering

from .errors import InvalidValueError
from .tensors import DYNAMIC, Signature, TensorSpec


@total_ordering
@dataclass(frozen=True, slots=True)
class SemanticVersion:
    """MAJOR.MINOR.PATCH as of semver.org 2.0.0, without pre-release and build parts."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    def __lt__(self, other: SemanticVersion) -> bool:
        return (self.major, self.minor, self.patch) < (other.major, other.minor, other.patch)

    @classmethod
    def parse(cls, text: str) -> SemanticVersion:
        """Read `"1.4.2"`.

        Raises:
            InvalidValueError: The text is not three non-negative integers joined by dots.
        """
        parts = text.split(".")
        if len(parts) != 3 or not all(part.isdecimal() for part in parts):
            raise InvalidValueError(f"{text!r} is not a MAJOR.MINOR.PATCH version.")
        major, minor, patch = (int(part) for part in parts)
        return cls(major, minor, patch)


FIRST = SemanticVersion(1, 0, 0)


def next_version(
    previous: SemanticVersion | None,
    *,
    before: Signature | None,
    after: Signature,
    same_graph: bool,
) -> SemanticVersion:
    """Return the version that follows from what changed since the previous one.

    MAJOR when a caller of the previous version could break, MINOR when the signature only gained
    something or the graph is another, PATCH when only the weights of the same graph changed.

    Args:
        previous: The highest version given so far; None for a model's first.
        before: The signature of that version; None for a model's first.
        after: The signature of the new version.
        same_graph: Whether both graphs are equal but for the values of their weights.

    >>> from .tensors import DType
    >>> x = TensorSpec(name="x", dtype=DType.FP32, shape=(4,))
    >>> y = TensorSpec(name="y", dtype=DType.FP32, shape=(2,))
    >>> s = Signature(inputs=(x,), outputs=(y,))
    >>> str(next_version(FIRST, before=s, after=s, same_graph=True))
    '1.0.1'
    """
    if previous is None or before is None:
        return FIRST
    if breaks_callers(before, after):
        return SemanticVersion(previous.major + 1, 0, 0)
    if before != after or not same_graph:
        return SemanticVersion(previous.major, previous.minor + 1, 0)
    return SemanticVersion(previous.major, previous.minor, previous.patch + 1)


def breaks_callers(before: Signature, after: Signature) -> bool:
    """Tell whether a request or reader written for `before` could fail with `after`."""
    if before.batched and not after.batched:
        return True
    inputs = {tensor.name: tensor for tensor in after.inputs}
    outputs = {tensor.name: tensor for tensor in after.outputs}
    known = {tensor.name for tensor in before.inputs}
    return (
        any(not _takes(inputs.get(old.name), old) for old in before.inputs)
        or any(not new.optional and new.name not in known for new in after.inputs)
        or any(not _gives(outputs.get(old.name), old) for old in before.outputs)
    )


def _takes(new: TensorSpec | None, old: TensorSpec) -> bool:
    """Whether every value valid for the old input is valid for the new one."""
    return (
        new is not None
        and new.dtype == old.dtype
        and (new.optional or not old.optional)
        and len(new.shape) == len(old.shape)
        and all(n in (DYNAMIC, o) for n, o in zip(new.shape, old.shape, strict=True))
    )


def _gives(new: TensorSpec | None, old: TensorSpec) -> bool:
    """Whether every value of the new output is one that a reader of the old one expects."""
    return (
        new is not None
        and new.dtype == old.dtype
        and len(new.shape) == len(old.shape)
        and all(o in (DYNAMIC, n) for n, o in zip(new.shape, old.shape, strict=True))
    )
