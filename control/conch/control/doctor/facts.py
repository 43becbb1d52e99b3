"""What the doctor saw, as values. None means that there was nothing to look at."""

from __future__ import annotations

from dataclasses import dataclass

from ..platform import ProcessStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """A file or folder that should be its owner's alone.

    Attributes:
        mode: Permission bits.
        owned: Whether it belongs to the user who asks.
        empty: Whether a file has no content.
    """

    path: str
    mode: int
    owned: bool = True
    empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PortFacts:
    """A port that the platform needs; looked at only while the platform does not hold it itself.

    Attributes:
        setting: The setting that names it.
        held: Who holds it, in words; empty where it is free.
    """

    setting: str
    port: int
    held: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFacts:
    """The installed serving runtime.

    Attributes:
        problems: What is wrong with its files and programs.
        numpy: Its version of numpy; empty where that could not be read.
    """

    path: str
    problems: tuple[str, ...] = ()
    numpy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """A Triton that the settings name, and why it cannot be used.

    Attributes:
        code: The code of the problem.
        what: The problem, in words.
    """

    code: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookFacts:
    """MLflow's webhook to conch.

    Attributes:
        url: What it should call.
        kept: Whether the control plane keeps it by itself.
        present: Whether there is one.
        differences: What is not as it should be.
        hidden: Why MLflow does not let conch look at webhooks; empty if it does.
        unreadable: Why MLflow could not list its webhooks; empty if it could.
        undelivered: Why MLflow's test delivery failed; empty if it did not, or was not tried.
    """

    url: str
    kept: bool
    present: bool = True
    differences: tuple[str, ...] = ()
    hidden: str = ""
    unreadable: str = ""
    undelivered: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowFacts:
    """The registry.

    Attributes:
        problem: Why the server does not answer; empty if it does.
        refused: Why the registry could not be listed; empty if it could.
        version: The server's; empty where it does not tell.
        client: The version of the client that conch runs with.
        skew_s: How far the server's clock is ahead of this one, in seconds, known to one second.
        webhook: None where no webhooks are taken, or the registry was not reached.
    """

    url: str
    client: str
    problem: str = ""
    refused: str = ""
    version: str = ""
    skew_s: float | None = None
    webhook: WebhookFacts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """The control database.

    Attributes:
        url: Without its password.
        problem: Why it cannot be written; empty if it can.
        journal_mode: SQLite's; None for another engine.
        revision: The version of its schema; None where it has none yet.
        known: Whether this conch knows that version.
    """

    url: str
    problem: str = ""
    journal_mode: str | None = None
    revision: str | None = None
    known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformFacts:
    """What should run.

    Attributes:
        running: Whether a supervisor runs.
        processes: As a supervisor saw them last.
        control_problem: Why the control plane is not fit to work; empty if it is.
    """

    running: bool
    processes: tuple[ProcessStatus, ...] = ()
    control_problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One look at everything.

    Attributes:
        home: None where it was not made yet.
        home_writable: Whether the home, or the folder that it would be made in, can be written.
        keys: Those that are there.
        disk_free_bytes: Where the home is.
        memory_available_bytes: What can be had without swapping.
        unconfined: What build workers cannot be kept from on this machine, with the reason.
        mlflow_missing: Whether conch should start an MLflow server that is not installed.
        serves: Whether this machine serves models; where a cluster does, no runtime is needed.
        runtime: None where none is installed.
        servers: The Triton servers that the settings name and that cannot be used.
        mlflow: None where conch's own server is not running.
        database: None where there is none yet.
    """

    conch: str
    python: str
    home_path: str
    home: FileFacts | None
    home_writable: bool
    keys: tuple[FileFacts, ...]
    disk_free_bytes: int
    memory_available_bytes: int
    ports: tuple[PortFacts, ...]
    unconfined: tuple[str, ...]
    mlflow_missing: bool
    serves: bool
    runtime: RuntimeFacts | None
    mlflow: MlflowFacts | None
    database: DatabaseFacts | None
    platform: PlatformFacts
    servers: tuple[ServerFacts, ...] = ()
