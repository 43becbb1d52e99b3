"""What the doctor can find; `docs/how-to/troubleshoot.md` has the same table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of finding.

    Attributes:
        meaning: What is wrong, and what comes of it.
        fix: What to do.
    """

    severity: Severity
    meaning: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        code: One of `KINDS`.
        what: What was seen, and where.
    """

    code: str
    what: str

    @property
    def kind(self) -> Kind:
        """What is known about every finding of this code."""
        return KINDS[self.code]

    def as_dict(self) -> dict[str, str]:
        """Return a JSON-compatible form."""
        return {
            "code": self.code,
            "severity": str(self.kind.severity),
            "what": self.what,
            "meaning": self.kind.meaning,
            "fix": self.kind.fix,
        }


def _error(meaning: str, fix: str) -> Kind:
    return Kind(severity=Severity.ERROR, meaning=meaning, fix=fix)


def _warning(meaning: str, fix: str) -> Kind:
    return Kind(severity=Severity.WARNING, meaning=meaning, fix=fix)


def _note(meaning: str, fix: str) -> Kind:
    return Kind(severity=Severity.NOTE, meaning=meaning, fix=fix)


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "home-unwritable": _error(
            "conch cannot write where it keeps its files.",
            "Give the folder to the user who runs conch, or choose another: `--home`.",
        ),
        "home-open": _warning(
            "Other users can list the home; the names of models are there to read.",
            "`chmod 700` the folder.",
        ),
        "key-open": _error(
            "A key can be read by others than its owner; conch refuses to use it.",
            "`chmod 600` the file. If others may have read it, remove it and `conch up` again.",
        ),
        "key-empty": _error(
            "A key has no content; conch refuses to use it.",
            "Remove the file; `conch up` makes a new one.",
        ),
        "disk-full": _error(
            "Less than 1 GiB is free where the home is; builds and the database will fail.",
            "Make room, or move the home.",
        ),
        "disk-low": _warning(
            "Less than 5 GiB is free where the home is; one large model can use that up.",
            "Make room, or move the home.",
        ),
        "memory-low": _warning(
            "Less than 2 GiB of memory is available; servers may be killed while they load.",
            "End other programs, or set fewer `serving.replicas`.",
        ),
        "build-unconfined": _warning(
            "A model that is being built can reach what it does not need; one that holds code "
            "could use that.",
            "Allow unprivileged user namespaces, or run conch as root; trust no models by "
            "`build.trust` until then.",
        ),
        "build-same-user": _note(
            "Build workers run as conch's own user: a trusted model's code can read conch's "
            "files, keys included.",
            "Run conch as root, with an interpreter that all users can read, or trust only models "
            "that could have your keys.",
        ),
        "port-taken": _error(
            "Another program holds a port that conch is to listen on.",
            "Stop that program, or name another port in `conch.toml`.",
        ),
        "runtime-missing": _error(
            "Triton and Envoy are not installed for this Python.", "`conch runtime install`."
        ),
        "runtime-broken": _error(
            "The serving runtime is not as it was installed.",
            "Remove the folder that `conch runtime path` names, then `conch runtime install`.",
        ),
        "runtime-numpy": _error(
            "The serving runtime has numpy 2 or newer, with which Triton's Python backend answers "
            "garbage without an error.",
            "Remove the folder that `conch runtime path` names, then `conch runtime install`.",
        ),
        "tritonserver-unusable": _error(
            "The `tritonserver` that the settings name cannot be run, or has no backend.",
            "Correct `serving.tritonserver` or `serving.backend_directory`.",
        ),
        "server-away": _error(
            "A Triton server that the settings name does not answer; its slot serves nothing.",
            "Start it, or correct `serving.servers`.",
        ),
        "server-unsuitable": _error(
            "A Triton server that the settings name answers, and conch cannot work with it.",
            "Start it with explicit model control and the slot's folder as its repository.",
        ),
        "mlflow-missing": _error(
            "conch is to start an MLflow server, which is not installed.",
            "`pip install 'conch[mlflow]'`, or name a server: `mlflow.uri`.",
        ),
        "mlflow-unreachable": _error(
            "MLflow does not answer. What is served stays served; nothing new is seen.",
            "Start the server, or correct `mlflow.uri`; `conch logs mlflow` for conch's own.",
        ),
        "mlflow-refused": _error(
            "MLflow answers, and does not let conch list its registry.",
            "Give conch credentials: `MLFLOW_TRACKING_USERNAME` and `_PASSWORD`, or `_TOKEN`.",
        ),
        "mlflow-version": _warning(
            "The MLflow server has another version than conch's client, a pair that was not "
            "tested.",
            "Bring the server to the version of the client where something does not work.",
        ),
        "clock-skew": _warning(
            "The clocks of MLflow and this machine differ by more than 10 s; times in logs and "
            "tables cannot be compared.",
            "Let both machines follow NTP.",
        ),
        "clock-wrong": _error(
            "The clocks of MLflow and this machine differ by more than 5 minutes; every webhook "
            "is refused as stale.",
            "Let both machines follow NTP.",
        ),
        "webhook-absent": _note(
            "MLflow does not call conch: what is registered is seen at the next sweep, some "
            "seconds later.",
            "`conch mlflow connect`, if that is too slow.",
        ),
        "webhook-hidden": _note(
            "MLflow does not let conch look at webhooks; with its auth app only administrators "
            "may.",
            "Have an administrator run `conch mlflow connect`, or do without.",
        ),
        "webhook-unkept": _warning(
            "The control plane should keep a webhook in MLflow, and there is none.",
            "`conch logs control` says why; `conch mlflow connect` tries at once.",
        ),
        "webhook-differs": _warning(
            "MLflow's webhook is not as conch would have it; deliveries are lost or refused.",
            "`conch mlflow connect`.",
        ),
        "webhook-unreadable": _warning(
            "MLflow cannot list its webhooks: it lost the key of their secrets, or each of its "
            "workers made up its own.",
            "Start the server with a fixed `MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY`, remove "
            "webhooks made without it, then `conch mlflow connect`.",
        ),
        "webhook-undelivered": _warning(
            "MLflow's test delivery did not arrive.",
            "Check that MLflow reaches the address (`mlflow.webhook_url`), and its "
            "`MLFLOW_WEBHOOK_ALLOWED_SCHEMES` and `MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS`.",
        ),
        "database-unavailable": _error(
            "The control database cannot be opened or written.",
            "Check that it runs, its disk has room, and the file belongs to conch's user.",
        ),
        "database-journal": _warning(
            "SQLite is not in WAL mode: readers stop writers. Some network file systems have none.",
            "Keep the home on a local disk, or name a PostgreSQL: `database_url`.",
        ),
        "database-newer": _error(
            "A newer conch made the database; this one does not know its schema.",
            "Install that version of conch again.",
        ),
        "supervisor-gone": _error(
            "Processes were under supervision, and their supervisor has ended; nobody starts them "
            "again.",
            "`conch up` takes over what still runs.",
        ),
        "process-unready": _error(
            "A process under supervision is not ready.", "`conch logs` with its name says why."
        ),
        "process-restarts": _warning(
            "A process ended by itself several times and was started again.",
            "`conch logs` with its name says why.",
        ),
        "control-unready": _error(
            "The control plane runs and is not fit to work, or does not answer.",
            "`conch status`, then `conch logs control`.",
        ),
    }
)
"""By code."""
