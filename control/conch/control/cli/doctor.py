"""`conch doctor`: what stands in the way, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from .exits import Exit
from .printing import answer, facts
from .sessions import Home, Output, session_of

if TYPE_CHECKING:
    from ..doctor import Facts, Finding


def doctor(context: typer.Context, home: Home = None, output: Output = None) -> None:
    """Check machine, runtime, MLflow, database and servers; exits with 1 if anything is wrong.

    Notes do not count as wrong. Changes nothing; the findings are in docs/how-to/troubleshoot.md.
    """
    from dataclasses import asdict

    from ..doctor import Severity, diagnose, observe

    session = session_of(context, home, output)
    seen = observe(session.running())
    findings = diagnose(seen)
    wrong = [one for one in findings if one.kind.severity is not Severity.NOTE]
    value = {
        "ok": not wrong,
        "findings": [one.as_dict() for one in findings],
        "facts": asdict(seen),
    }
    answer(session, value, _looked_at(seen), "", *_told(findings))
    if wrong:
        raise typer.Exit(Exit.FAILED)


def _looked_at(seen: Facts) -> Any:
    mlflow, runtime, gib = seen.mlflow, seen.runtime, 2**30
    return facts(
        (
            ("conch", f"{seen.conch}, Python {seen.python}"),
            ("home", seen.home_path),
            (
                "free",
                f"{seen.disk_free_bytes / gib:.1f} GiB of disk, "
                f"{seen.memory_available_bytes / gib:.1f} GiB of memory",
            ),
            ("runtime", runtime and f"{runtime.path}, numpy {runtime.numpy}"),
            (
                "MLflow",
                mlflow
                and f"{mlflow.url}, server {mlflow.version or 'unknown'}, client {mlflow.client}",
            ),
            ("database", seen.database and seen.database.url),
            ("platform", "running" if seen.platform.running else "not running"),
        )
    )


def _told(findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return ["Nothing is wrong."]
    return [
        f"{one.kind.severity} [{one.code}] {one.what}\n  {one.kind.meaning}\n  Fix: {one.kind.fix}"
        for one in findings
    ]
