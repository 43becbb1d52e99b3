"""From facts to findings; pure, so that every case is a line in a table of tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..registry import TOLERANCE_S
from .facts import DatabaseFacts, Facts, MlflowFacts, PlatformFacts, RuntimeFacts, WebhookFacts
from .findings import Finding, Severity

GIB: Final = 2**30
DISK_FULL_BYTES: Final = 1 * GIB
DISK_LOW_BYTES: Final = 5 * GIB
MEMORY_LOW_BYTES: Final = 2 * GIB
SKEW_S: Final = 10.0
RESTARTS: Final = 3

_OPEN: Final = 0o077
_READY: Final = "ready"
_WAL: Final = "wal"
_ORDER: Final = tuple(Severity)


def diagnose(facts: Facts) -> tuple[Finding, ...]:
    """Return what is not as it should be, the gravest first."""
    found = [
        *_home(facts),
        *_machine(facts),
        *(_runtime(facts.runtime) if facts.serves else ()),
        *_servers(facts),
        *_registry(facts),
        *_database(facts.database),
        *_platform(facts.platform),
    ]
    return tuple(sorted(found, key=lambda finding: _ORDER.index(finding.kind.severity)))


def _home(facts: Facts) -> Iterator[Finding]:
    if not facts.home_writable:
        yield Finding(code="home-unwritable", what=f"{facts.home_path} cannot be written.")
    if facts.home is not None and facts.home.mode & _OPEN:
        yield Finding(code="home-open", what=f"{facts.home.path} has mode {facts.home.mode:o}.")
    for key in facts.keys:
        if key.mode & _OPEN:
            yield Finding(code="key-open", what=f"{key.path} has mode {key.mode:o}.")
        if key.empty:
            yield Finding(code="key-empty", what=f"{key.path} is empty.")


def _machine(facts: Facts) -> Iterator[Finding]:
    free = facts.disk_free_bytes
    if free < DISK_LOW_BYTES:
        code = "disk-full" if free < DISK_FULL_BYTES else "disk-low"
        yield Finding(code=code, what=f"{_gib(free)} are free at {facts.home_path}.")
    available = facts.memory_available_bytes
    if available < MEMORY_LOW_BYTES:
        yield Finding(code="memory-low", what=f"{_gib(available)} of memory are available.")
    for gap in facts.unconfined:
        code = "build-same-user" if "a user of its own" in gap else "build-unconfined"
        yield Finding(code=code, what=f"Build workers run {gap}.")
    for port in facts.ports:
        if port.held:
            yield Finding(code="port-taken", what=f"{port.setting}: {port.held}")


def _runtime(runtime: RuntimeFacts | None) -> Iterator[Finding]:
    if runtime is None:
        yield Finding(code="runtime-missing", what="There is no serving runtime.")
        return
    for problem in runtime.problems:
        yield Finding(code="runtime-broken", what=problem)
    major = runtime.numpy.partition(".")[0]
    if major.isdecimal() and int(major) >= 2:
        yield Finding(code="runtime-numpy", what=f"{runtime.path} has numpy {runtime.numpy}.")


_SERVER_CODES: Final = {
    "server-unsuitable": "server-unsuitable",
    "tritonserver-unusable": "tritonserver-unusable",
    "slot-not-ready": "server-away",
}


def _servers(facts: Facts) -> Iterator[Finding]:
    for server in facts.servers:
        yield Finding(code=_SERVER_CODES.get(server.code, "server-unsuitable"), what=server.what)


def _registry(facts: Facts) -> Iterator[Finding]:
    if facts.mlflow_missing:
        yield Finding(code="mlflow-missing", what=f"Python {facts.python} has no MLflow server.")
    if (mlflow := facts.mlflow) is None:
        return
    if mlflow.problem:
        yield Finding(code="mlflow-unreachable", what=f"{mlflow.url}: {mlflow.problem}")
        return
    if mlflow.refused:
        yield Finding(code="mlflow-refused", what=f"{mlflow.url}: {mlflow.refused}")
    yield from _versions(mlflow)
    yield from _clock(mlflow)
    if mlflow.webhook is not None:
        yield from _webhook(mlflow.webhook)


def _versions(mlflow: MlflowFacts) -> Iterator[Finding]:
    def series(version: str) -> list[str]:
        return version.split(".")[:2]

    if mlflow.version and series(mlflow.version) != series(mlflow.client):
        yield Finding(
            code="mlflow-version",
            what=f"{mlflow.url} runs {mlflow.version}, the client is {mlflow.client}.",
        )


def _clock(mlflow: MlflowFacts) -> Iterator[Finding]:
    skew_s = mlflow.skew_s
    if skew_s is None or abs(skew_s) <= SKEW_S:
        return
    code = "clock-wrong" if abs(skew_s) > TOLERANCE_S else "clock-skew"
    way = "ahead of" if skew_s > 0 else "behind"
    yield Finding(code=code, what=f"{mlflow.url} is {abs(skew_s):.0f} s {way} this machine.")


def _webhook(webhook: WebhookFacts) -> Iterator[Finding]:
    if webhook.hidden:
        yield Finding(code="webhook-hidden", what=webhook.hidden)
    elif webhook.unreadable:
        yield Finding(code="webhook-unreadable", what=webhook.unreadable)
    elif not webhook.present:
        code = "webhook-unkept" if webhook.kept else "webhook-absent"
        yield Finding(code=code, what=f"There is no webhook to {webhook.url}.")
    elif webhook.differences:
        what = "; ".join(webhook.differences)
        yield Finding(code="webhook-differs", what=f"The webhook to {webhook.url}: {what}.")
    elif webhook.undelivered:
        what = f"{webhook.url}: {webhook.undelivered}"
        yield Finding(code="webhook-undelivered", what=what)


def _database(database: DatabaseFacts | None) -> Iterator[Finding]:
    if database is None:
        return
    if database.problem:
        yield Finding(code="database-unavailable", what=database.problem)
    if database.journal_mode not in (None, _WAL):
        what = f"{database.url} has the journal mode {database.journal_mode}."
        yield Finding(code="database-journal", what=what)
    if not database.known:
        what = f"{database.url} has the schema {database.revision}."
        yield Finding(code="database-newer", what=what)


def _platform(platform: PlatformFacts) -> Iterator[Finding]:
    if not platform.running:
        if platform.processes:
            names = ", ".join(process.name for process in platform.processes)
            yield Finding(code="supervisor-gone", what=f"Without a supervisor: {names}.")
        return
    for process in platform.processes:
        if process.phase != _READY:
            yield Finding(
                code="process-unready",
                what=f"{process.name} is {process.phase}. {process.last_exit}".strip(),
            )
        if process.restarts >= RESTARTS:
            what = f"{process.name} was started again {process.restarts} times: {process.last_exit}"
            yield Finding(code="process-restarts", what=f"{what}.")
    if platform.control_problem:
        yield Finding(code="control-unready", what=platform.control_problem)


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
