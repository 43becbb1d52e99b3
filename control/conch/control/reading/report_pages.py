"""Verification reports as JSON and as pages, of builds that were published and of those refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from conch.core import NotFoundError
from conch.model_repo_builder import Page, VerificationReport, render

from ..state import Build, Version

REPORT_NAME: Final = "report.json"
Json = dict[str, Any]


def report_of(build: Build) -> Json | None:
    """Return a build's report: the published file, or what the refusal carries; None if neither."""
    if build.path:
        try:
            found = json.loads((Path(build.path) / REPORT_NAME).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        assert isinstance(found, dict)
        return found
    details = (build.reason or {}).get("details") or {}
    if "report" in details:
        return {"verification": details["report"], "steps": []}
    return None


def must_have_report(build: Build) -> Json:
    """Return a build's report.

    Raises:
        NotFoundError: It has none.
    """
    found = report_of(build)
    if found is None:
        why = (build.reason or {}).get("message") or f"it is {build.status.value}"
        raise NotFoundError(
            f"Build {build.id} has no verification report: {why}",
            hint="A build has one once its answers were compared.",
        )
    return found


def page_of(build: Build, version: Version) -> str:
    """Return a build's report as HTML.

    Raises:
        NotFoundError: It has none.
    """
    report = must_have_report(build)
    manifest = build.manifest or {}
    facts = {
        "status": build.status.value,
        "semantic version": build.semantic_version or "",
        "variant": str(manifest.get("variant") or ""),
        "built": build.finished_at.isoformat(timespec="seconds") if build.finished_at else "",
        "build": build.id,
        "files": f"sha256:{build.digest}" if build.digest else "",
        "report": f"sha256:{manifest['report_digest']}" if manifest.get("report_digest") else "",
        "tools": ", ".join(f"{k} {v}" for k, v in sorted((manifest.get("tools") or {}).items())),
    }
    return render(
        Page(
            title=f"{version.name}, version {version.version}",
            verification=VerificationReport.from_dict(report["verification"]),
            steps=manifest.get("steps") or report.get("steps") or (),
            facts=facts,
            variants=manifest.get("variants") or (),
            reason=str((build.reason or {}).get("message") or ""),
        )
    )
