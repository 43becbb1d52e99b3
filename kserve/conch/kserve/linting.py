"""Linting manifests for a stated KServe version and mode.

Three layers, each with its own codes: the text (`document-*`), the custom resource definition's
schema of that version (`schema-*`), and the rules of webhooks, controllers and practice (`rules`).
Pure functions of their arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .documents import Document, read_documents
from .findings import Finding, Severity
from .rules import RULES, UPDATE_RULES, Hit, Subject
from .rules.reading import fields
from .schemas import schemas_of
from .structural import Fault, Path, Schema, Violation, render_path, violations
from .versions import DeploymentMode, KServeVersion

KSERVE_GROUP: Final = "serving.kserve.io"

DOCUMENT_CODES: Final = {
    "document-repeated-key": (Severity.ERROR, "A key stands twice in one object."),
    "document-api-version": (Severity.ERROR, "The kind has no such apiVersion in this version."),
    "document-nameless": (Severity.ERROR, "`metadata.name` is missing."),
    "document-not-checked": (Severity.NOTE, "The kind is not one that the linter knows."),
    "document-other-object": (Severity.ERROR, "Old and new are not states of one object."),
    "schema-unknown-field": (Severity.ERROR, "The version has no such field."),
    "schema-missing-field": (Severity.ERROR, "A required field is missing."),
    "schema-wrong-type": (Severity.ERROR, "A value is of another type."),
    "schema-bad-value": (Severity.ERROR, "A value breaks an enum, pattern, bound or form."),
    "schema-duplicate-item": (Severity.ERROR, "Two items of a keyed list share their key."),
}
"""Codes that are not rules: severity and summary."""


def lint_documents(
    text: str, *, kserve_version: KServeVersion, mode: DeploymentMode
) -> tuple[Finding, ...]:
    """Return everything there is to say about the manifests of a YAML text, in its order.

    Args:
        text: One or several YAML documents.
        kserve_version: The version that will meet them.
        mode: The cluster's default mode; an object's own annotation wins.

    Raises:
        UnusableYamlError: The text is not YAML or holds something else than objects.
    """
    return tuple(
        finding
        for document in read_documents(text)
        for finding in _lint(Subject.of(document, kserve_version, mode))
    )


def lint_update(
    old_text: str, new_text: str, *, kserve_version: KServeVersion, mode: DeploymentMode
) -> tuple[Finding, ...]:
    """Return what there is to say about the step from old manifests to new ones.

    Objects are matched by kind, namespace and name; objects on one side only are no update. What
    the new manifests are by themselves is `lint_documents`' matter.

    Raises:
        UnusableYamlError: One of the texts is not YAML or holds something else than objects.
    """
    before = {_identity(document): document for document in read_documents(old_text)}
    found: list[Finding] = []
    matched = 0
    after = read_documents(new_text)
    for document in after:
        old = before.get(_identity(document))
        if old is not None:
            matched += 1
            subjects = [Subject.of(each, kserve_version, mode) for each in (old, document)]
            found += _lint_step(*subjects)
    if before and after and not matched:
        found.append(
            _finding(
                after[0],
                "document-other-object",
                ("metadata", "name"),
                "names no object of the old text",
                "Give the old and the new state of one object.",
            )
        )
    return tuple(found)


def _identity(document: Document) -> tuple[str, str, str]:
    return document.kind, document.namespace, document.name


def _lint(subject: Subject) -> Iterator[Finding]:
    document = subject.document
    for path in document.repeated:
        yield _finding(
            document,
            "document-repeated-key",
            path,
            "stands twice; the last one counts",
            "Remove one.",
        )
    kinds = schemas_of(subject.version).kinds
    if not document.api_version.startswith(KSERVE_GROUP + "/") or document.kind not in kinds:
        yield _finding(
            document,
            "document-not-checked",
            ("kind",),
            f"{document.kind or 'no kind'!r} of {document.api_version or 'no apiVersion'!r} is "
            "not checked here",
        )
        return
    schema = kinds[document.kind].get(document.api_version)
    if schema is None:
        yield _finding(
            document,
            "document-api-version",
            ("apiVersion",),
            f"{document.kind} has no {document.api_version} in KServe {subject.version}",
            f"Write {', '.join(kinds[document.kind])}.",
        )
        return
    yield from _lint_schema(subject, schema)
    for rule in RULES:
        if rule.applies(subject):
            for hit in rule.check(subject):
                yield _of_hit(document, rule.code, rule.severity, hit)


def _lint_schema(subject: Subject, schema: Schema) -> Iterator[Finding]:
    document = subject.document
    for violation in violations(document.body, schema):
        yield _finding(
            document,
            violation.fault.value,
            violation.path,
            violation.message,
            violation.fix or _advice(violation),
        )
    if not document.name and "generateName" not in fields(subject.get("metadata")):
        yield _finding(
            document, "document-nameless", ("metadata", "name"), "is missing", "Give a name."
        )


def _advice(violation: Violation) -> str:
    path = violation.path
    in_canary = path[:2] == ("spec", "canary") and path[-2:] == ("model", "name")
    if violation.fault is Fault.MISSING_FIELD and in_canary:
        return 'Write name: ""; a webhook adds it, the definition requires it.'
    return ""


def _lint_step(old: Subject, new: Subject) -> Iterator[Finding]:
    for rule in UPDATE_RULES:
        if rule.applies(new):
            for hit in rule.check(old, new):
                yield _of_hit(new.document, rule.code, rule.severity, hit)


def _of_hit(document: Document, code: str, severity: Severity, hit: Hit) -> Finding:
    return Finding(
        code=code,
        severity=severity,
        message=_sentence(hit.path, hit.message),
        fix=hit.fix,
        path=render_path(hit.path),
        document=document.index,
        kind=document.kind,
        name=document.name,
        line=document.line_of(hit.path),
    )


def _finding(document: Document, code: str, path: Path, message: str, fix: str = "") -> Finding:
    hit = Hit(path=path, message=message, fix=fix)
    return _of_hit(document, code, DOCUMENT_CODES[code][0], hit)


def _sentence(path: Path, message: str) -> str:
    """Return the message with its subject, the last field of the path, in front."""
    named = next((part for part in reversed(path) if isinstance(part, str)), "The object")
    return f"{named} {message}."
