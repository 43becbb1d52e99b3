"""The root of every error that conch raises on purpose.

An error says *what* happened, to *which* object and *what to do*; it carries a stable code that
the API, the command line and the MLflow tag all show, so that one string finds the same page in
the documentation whichever surface a person looks at. HTTP numbers and exit codes are decided at
the edges, never here.
"""

from __future__ import annotations

from typing import Any, ClassVar


class ConchError(Exception):
    """An expected failure: one sentence, the object it concerns, and what to do about it.

    Subclasses set `code` (stable, kebab-case, prefixed by the part that raises it) and may set
    `retryable` when the same call can succeed later without anybody changing anything.

    Args:
        message: What happened, to which object, in one sentence.
        hint: What a person can do about it; empty when there is nothing to do.
        **details: Further facts as JSON-compatible values, shown by `--output json`.
    """

    code: ClassVar[str] = "conch-error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def as_dict(self) -> dict[str, Any]:
        """Return the error as the JSON-compatible object that every surface shows."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
            "details": self.details,
        }


class InvalidValueError(ConchError):
    """A value given by a caller is outside what its type allows."""

    code = "invalid-value"


class NotFoundError(ConchError):
    """The named object does not exist."""

    code = "not-found"


class ConflictError(ConchError):
    """The object changed since it was read, or is in a state that does not allow the request."""

    code = "conflict"
