"""Linting files: pairs of old and new states, the outcome, and its text for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .errors import KServeError, UnusableYamlError
from .findings import Finding, Severity
from .linting import lint_documents, lint_update
from .schemas import schemas_of
from .versions import DeploymentMode, KServeVersion

CLEAN: Final = 0
FINDINGS: Final = 1
UNUSABLE: Final = 2
_OLD, _NEW = ".old", ".new"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLint:
    """What was found in one file.

    Attributes:
        path: The file.
        findings: Everything that was said about it, in its order.
        compared_with: The file with the old state, where there is one.
        error: Why it could not be read, else None.
    """

    path: Path
    findings: tuple[Finding, ...] = ()
    compared_with: Path | None = None
    error: KServeError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LintRun:
    """The outcome of linting some files.

    Attributes:
        version: The KServe version that was stated.
        mode: The default mode that was stated.
        origin: Where the schemas come from.
        files: One entry per file, in the order given.
    """

    version: KServeVersion
    mode: DeploymentMode
    origin: str
    files: tuple[FileLint, ...]

    @property
    def exit_code(self) -> int:
        """0 without errors and warnings, 1 with some, 2 where a file could not be read."""
        if any(file.error for file in self.files):
            return UNUSABLE
        bad = any(f.severity is not Severity.NOTE for file in self.files for f in file.findings)
        return FINDINGS if bad else CLEAN

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form for `--output json`."""
        return {
            "kserve_version": self.version.value,
            "mode": self.mode.value,
            "schemas": self.origin,
            "exit_code": self.exit_code,
            "files": [
                {
                    "path": str(file.path),
                    "compared_with": str(file.compared_with) if file.compared_with else None,
                    "error": file.error.as_dict() if file.error else None,
                    "findings": [finding.as_dict() for finding in file.findings],
                }
                for file in self.files
            ],
        }


def run(files: Iterable[Path], *, kserve_version: KServeVersion, mode: DeploymentMode) -> LintRun:
    """Lint files of manifests.

    `NAME.new.yaml` is also compared with `NAME.old.yaml` where that lies beside it; the old state
    is then not linted by itself.

    Args:
        files: Files to read; each is named in the outcome, readable or not.
        kserve_version: The version that will meet the manifests.
        mode: The cluster's default mode; an object's own annotation wins.
    """
    paths = list(files)
    partners = {_old_beside(path) for path in paths} - {None}
    return LintRun(
        version=kserve_version,
        mode=mode,
        origin=schemas_of(kserve_version).origin,
        files=tuple(
            _lint_file(path, kserve_version, mode) for path in paths if path not in partners
        ),
    )


def render(outcome: LintRun, *, notes: bool = True) -> str:
    """Return the outcome as text: one line per finding, then one line that sums up.

    Args:
        outcome: What `run` returned.
        notes: Whether notes are shown; they are counted in any case.
    """
    lines = [line for file in outcome.files for line in _file_lines(file, notes=notes)]
    counts = Counter(f.severity for file in outcome.files for f in file.findings)
    unusable = sum(file.error is not None for file in outcome.files)
    summary = ", ".join(f"{counts[severity]} {severity}(s)" for severity in Severity)
    lines.append(
        f"{len(outcome.files)} file(s) against KServe {outcome.version}, {outcome.mode} mode: "
        f"{summary}, {unusable} unusable."
    )
    if outcome.version is KServeVersion.V0_21:
        lines.append(f"Schemas of 0.21 are a snapshot: {outcome.origin}.")
    return "\n".join(lines) + "\n"


def _file_lines(file: FileLint, *, notes: bool) -> Iterator[str]:
    if file.error:
        yield f"{file.path}: {file.error.code}: {file.error}"
    for finding in file.findings:
        if notes or finding.severity is not Severity.NOTE:
            where = f"{file.path}:{finding.line}"
            at = f" [{finding.path}]" if finding.path else ""
            advice = f" {finding.fix}" if finding.fix else ""
            yield f"{where}: {finding.severity} {finding.code}: {finding.message}{at}{advice}"


def _old_beside(path: Path) -> Path | None:
    if not path.stem.endswith(_NEW):
        return None
    old = path.with_name(path.stem.removesuffix(_NEW) + _OLD + path.suffix)
    return old if old.is_file() else None


def _lint_file(path: Path, version: KServeVersion, mode: DeploymentMode) -> FileLint:
    old = _old_beside(path)
    try:
        text = _read(path)
        findings = lint_documents(text, kserve_version=version, mode=mode)
        if old is not None:
            findings += lint_update(_read(old), text, kserve_version=version, mode=mode)
    except KServeError as error:
        return FileLint(path=path, compared_with=old, error=error)
    return FileLint(path=path, findings=findings, compared_with=old)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableYamlError(
            f"{path} cannot be read: {error}.", hint="Name a readable file in UTF-8."
        ) from error
