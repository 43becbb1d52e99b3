"""One supervised process as a value: where it is in its life, and what was seen of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from conch.core import SlotName

from .desired import DesiredLoad


class Kind(StrEnum):
    """What a process is."""

    TRITON = "triton"
    ENVOY = "envoy"
    SERVICE = "service"


class Phase(StrEnum):
    """Where a process is in its life.

    waiting -> starting -> loading (Triton only) -> ready -> draining -> stopping -> gone;
    from anywhere back to waiting when it ends by itself.
    """

    WAITING = "waiting"
    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A build that a server did not load when it was asked to again.

    Attributes:
        ordinal: The version.
        reason: The server's words.
        at: When, in seconds since the epoch.
    """

    ordinal: int
    reason: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One supervised process.

    Attributes:
        name: Unique: `envoy`, `triton-a-0`, or a service's name.
        kind: What it is.
        command: Digest of its command line; another one means a restart.
        slot: A Triton server's slot.
        replica: Its number within the slot.
        phase: Where it is in its life.
        since: When it entered the phase, in seconds since the epoch.
        pid: Its process; None while there is none.
        started: When it began, as `identities.Identity` has it; tells a reused pid from ours.
        host: Address that it listens on.
        ports: Its ports by protocol; kept across restarts.
        given: Whether somebody else runs it: then it has no process here.
        backends: What a given server offers; empty before it was examined.
        restarts: How often it was started again after it ended by itself.
        failures: Ends in a row without a minute of being ready between them.
        retry_at: When to start it next, while waiting.
        unready_since: Since when it does not answer although it was ready; None if it does.
        last_exit: Why it ended last.
        asserted: By model, the version that the supervisor saw loaded.
        refused: By model, what it refused.
    """

    name: str
    kind: Kind
    command: str
    slot: SlotName | None = None
    replica: int = 0
    phase: Phase = Phase.WAITING
    since: float = 0.0
    pid: int | None = None
    started: str = ""
    host: str = "127.0.0.1"
    ports: Mapping[str, int] = field(default_factory=dict)
    given: bool = False
    backends: tuple[str, ...] = ()
    restarts: int = 0
    failures: int = 0
    retry_at: float = 0.0
    unready_since: float | None = None
    last_exit: str = ""
    asserted: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, Refusal] = field(default_factory=dict)

    @property
    def grpc_address(self) -> str:
        """Where a Triton server takes gRPC, as `host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.ports['grpc']}"

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Instance:
        """Read what `as_dict` wrote."""
        refused = {model: Refusal(**item) for model, item in value["refused"].items()}
        slot = None if value["slot"] is None else SlotName(value["slot"])
        backends = tuple(value.get("backends", ()))  # older files have none
        given = {**value, "refused": refused, "slot": slot, "backends": backends}
        return cls(**{**given, "kind": Kind(value["kind"]), "phase": Phase(value["phase"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertionResult:
    """What came of asking a server to hold what it should."""

    asserted: Mapping[str, int]
    refused: Mapping[str, Refusal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was observed of one instance in this round.

    Attributes:
        alive: Whether its process runs and is ours.
        exit: How it ended, where that is known.
        fault: Whether it ended by a fault of its own rather than because somebody ended it.
        ready: Whether it answers; None where it was not asked in this round.
        idle: Whether a draining gateway has no request left.
        asserting: Whether loads are being asserted at present.
        culprit: The build that was being loaded, by us or by the target.
        assertion: What came of an assertion that ended in this round.
        backends: What a given server offers, where it was examined in this round.
        emptied: Whether a given server answers but lost what it was told to hold.
    """

    alive: bool = False
    exit: str = ""
    fault: bool = False
    ready: bool | None = None
    idle: bool = False
    asserting: bool = False
    culprit: DesiredLoad | None = None
    assertion: AssertionResult | None = None
    backends: tuple[str, ...] = ()
    emptied: bool = False
