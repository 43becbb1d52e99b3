"""Every finding, from facts to its code; the documentation has the same findings."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from conch.control.doctor import (
    KINDS,
    DatabaseFacts,
    Facts,
    FileFacts,
    MlflowFacts,
    PlatformFacts,
    PortFacts,
    RuntimeFacts,
    ServerFacts,
    Severity,
    WebhookFacts,
    diagnose,
)
from conch.control.platform import ProcessStatus

GIB = 2**30
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "troubleshoot.md"
HOOK = "http://127.0.0.1:8090/v1/hooks/mlflow"


def process(name: str = "triton-a-0", *, phase: str = "ready", restarts: int = 0) -> ProcessStatus:
    return ProcessStatus(
        name=name, phase=phase, pid=1, restarts=restarts, last_exit="killed by SIGKILL", log=""
    )


def mlflow(**changes: object) -> MlflowFacts:
    well = MlflowFacts(
        url="http://127.0.0.1:5000",
        client="3.17.2",
        version="3.17.2",
        skew_s=0.4,
        webhook=WebhookFacts(url=HOOK, kept=True),
    )
    return replace(well, **changes)  # type: ignore[arg-type]


def webhook(**changes: object) -> MlflowFacts:
    return mlflow(webhook=replace(WebhookFacts(url=HOOK, kept=True), **changes))  # type: ignore[arg-type]


def database(**changes: object) -> DatabaseFacts:
    well = DatabaseFacts(url="sqlite:////h/conch.db", journal_mode="wal", revision="0001")
    return replace(well, **changes)  # type: ignore[arg-type]


WELL = Facts(
    conch="0.1.0",
    python="3.11.2",
    home_path="/h",
    home=FileFacts(path="/h", mode=0o700),
    home_writable=True,
    keys=(FileFacts(path="/h/admin.key", mode=0o600),),
    disk_free_bytes=50 * GIB,
    memory_available_bytes=8 * GIB,
    ports=(PortFacts(setting="api.control_port", port=8090),),
    unconfined=(),
    mlflow_missing=False,
    serves=True,
    runtime=RuntimeFacts(path="/r", numpy="1.26.4"),
    mlflow=mlflow(),
    database=database(),
    platform=PlatformFacts(running=True, processes=(process(),)),
)

CASES: list[tuple[str, dict[str, object], str]] = [
    ("home-unwritable", {"home_writable": False}, "/h cannot"),
    ("home-open", {"home": FileFacts(path="/h", mode=0o755)}, "755"),
    ("key-open", {"keys": (FileFacts(path="/h/admin.key", mode=0o640),)}, "admin.key has mode 640"),
    ("key-empty", {"keys": (FileFacts(path="/h/k", mode=0o600, empty=True),)}, "/h/k is empty"),
    ("disk-full", {"disk_free_bytes": GIB - 1}, "1.0 GiB"),
    ("disk-low", {"disk_free_bytes": 5 * GIB - 1}, "5.0 GiB"),
    ("disk-low", {"disk_free_bytes": GIB}, "1.0 GiB"),
    (
        "build-unconfined",
        {"unconfined": ("without no network: Operation not permitted",)},
        "network",
    ),
    ("build-same-user", {"unconfined": ("without a user of its own: x",)}, "of its own: x"),
    ("memory-low", {"memory_available_bytes": GIB}, "1.0 GiB"),
    (
        "port-taken",
        {"ports": (PortFacts(setting="mlflow.port", port=5000, held="by airplay."),)},
        "mlflow.port: by airplay.",
    ),
    ("runtime-missing", {"runtime": None}, "no serving runtime"),
    ("runtime-broken", {"runtime": RuntimeFacts(path="/r", problems=("x is gone.",))}, "x is gone"),
    ("runtime-numpy", {"runtime": RuntimeFacts(path="/r", numpy="2.0.1")}, "numpy 2.0.1"),
    (
        "tritonserver-unusable",
        {"servers": (ServerFacts(code="tritonserver-unusable", what="/opt/x is no program."),)},
        "/opt/x",
    ),
    (
        "server-away",
        {"servers": (ServerFacts(code="slot-not-ready", what="Nobody at 10.0.0.5:8001."),)},
        "10.0.0.5:8001",
    ),
    (
        "server-unsuitable",
        {"servers": (ServerFacts(code="server-unsuitable", what="It sees another folder."),)},
        "another folder",
    ),
    ("mlflow-missing", {"mlflow_missing": True}, "3.11.2"),
    ("mlflow-unreachable", {"mlflow": mlflow(problem="refused")}, "refused"),
    ("mlflow-refused", {"mlflow": mlflow(refused="403", webhook=None)}, "403"),
    ("mlflow-version", {"mlflow": mlflow(version="3.4.0")}, "3.4.0"),
    ("clock-skew", {"mlflow": mlflow(skew_s=-11.0)}, "11 s behind"),
    ("clock-skew", {"mlflow": mlflow(skew_s=300.0)}, "300 s ahead"),
    ("clock-wrong", {"mlflow": mlflow(skew_s=301.0)}, "301 s ahead"),
    ("webhook-absent", {"mlflow": webhook(present=False, kept=False)}, HOOK),
    ("webhook-unkept", {"mlflow": webhook(present=False)}, HOOK),
    ("webhook-differs", {"mlflow": webhook(differences=("it is disabled",))}, "it is disabled"),
    ("webhook-hidden", {"mlflow": webhook(hidden="403")}, "403"),
    ("webhook-unreadable", {"mlflow": webhook(unreadable="InvalidToken")}, "InvalidToken"),
    ("webhook-undelivered", {"mlflow": webhook(undelivered="private")}, "private"),
    ("database-unavailable", {"database": database(problem="locked")}, "locked"),
    ("database-journal", {"database": database(journal_mode="delete")}, "delete"),
    ("database-newer", {"database": database(revision="9999", known=False)}, "9999"),
    (
        "supervisor-gone",
        {"platform": PlatformFacts(running=False, processes=(process("envoy"),))},
        "envoy",
    ),
    (
        "process-unready",
        {"platform": PlatformFacts(running=True, processes=(process(phase="waiting"),))},
        "triton-a-0 is waiting. killed by SIGKILL",
    ),
    (
        "process-restarts",
        {"platform": PlatformFacts(running=True, processes=(process(restarts=3),))},
        "3 times",
    ),
    (
        "control-unready",
        {"platform": PlatformFacts(running=True, control_problem="sweep: long ago")},
        "long ago",
    ),
]


@pytest.mark.parametrize(("code", "changes", "words"), CASES, ids=[case[0] for case in CASES])
def test_each_fact_has_its_finding(code: str, changes: dict[str, object], words: str) -> None:
    """One thing is wrong, and exactly that is found, with what was seen."""
    [finding] = diagnose(replace(WELL, **changes))  # type: ignore[arg-type]
    assert finding.code == code
    assert words in finding.what


def test_every_finding_has_a_case() -> None:
    """No finding is in the table of findings and in none of the cases above."""
    assert {code for code, _, _ in CASES} == set(KINDS)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"home": None, "keys": (), "database": None, "mlflow": None},
        {"platform": PlatformFacts(running=False)},
        {"mlflow": mlflow(version="3.17.9")},
        {"mlflow": mlflow(version="", skew_s=None, webhook=None)},
        {"mlflow": mlflow(skew_s=-10.0)},
        {"database": database(url="postgresql://h/d", journal_mode=None)},
        {"runtime": RuntimeFacts(path="/r", numpy="")},
        {"platform": PlatformFacts(running=True, processes=(process(restarts=2),))},
    ],
    ids=["well", "new", "down", "patch", "silent", "skew", "postgres", "numpy", "restarts"],
)
def test_nothing_is_found_where_nothing_is_wrong(changes: dict[str, object]) -> None:
    """A machine before the first start, and a platform that is down, are not ill."""
    assert diagnose(replace(WELL, **changes)) == ()  # type: ignore[arg-type]


def test_the_gravest_comes_first() -> None:
    """Errors come before warnings, and warnings before notes."""
    facts = replace(
        WELL,
        disk_free_bytes=2 * GIB,
        runtime=None,
        mlflow=webhook(present=False, kept=False),
        database=database(problem="locked"),
    )
    severities = [finding.kind.severity for finding in diagnose(facts)]
    assert severities == [Severity.ERROR, Severity.ERROR, Severity.WARNING, Severity.NOTE]


def test_the_page_has_every_finding() -> None:
    """docs/how-to/troubleshoot.md lists the same codes, severities, meanings and fixes."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (.+) \| (.+) \|$", PAGE.read_text(), re.M)
    kinds = {code: (str(k.severity), k.meaning, k.fix) for code, k in KINDS.items()}
    assert {code: (severity, meaning, fix) for code, severity, meaning, fix in rows} == kinds
    assert [row[0] for row in rows] == list(KINDS)


def test_where_a_cluster_serves_no_runtime_is_missed() -> None:
    """Triton and Envoy are wanted on the machine that serves."""
    assert diagnose(replace(WELL, serves=False, runtime=None)) == ()
