"""What the linter says about a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How bad a finding is.

    An error is refused by the API server or KServe, or can never work. A warning is accepted and
    then does something else than it says. A note is worth knowing and leaves the text clean.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One remark about one place of one document.

    Attributes:
        code: Stable name of the rule; `docs/reference/kserve-lint.md` lists them all.
        severity: How bad it is.
        message: What is wrong, in one sentence.
        fix: What to write instead; empty where nothing is to be done.
        path: Where in the document, such as `spec.predictor.model`; empty for all of it.
        document: Number of the document in its text, from 0.
        kind: The document's kind.
        name: The document's `metadata.name`.
        line: Line of the text, from 1.
    """

    code: str
    severity: Severity
    message: str
    fix: str = ""
    path: str = ""
    document: int = 0
    kind: str = ""
    name: str = ""
    line: int = 1

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form for `--output json`."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "message": self.message,
            "fix": self.fix,
            "path": self.path,
            "document": self.document,
            "kind": self.kind,
            "name": self.name,
            "line": self.line,
        }
