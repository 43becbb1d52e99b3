"""What the supervisor saw last: a file for everybody who wants to know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from conch.core import SlotName

from .atomic_files import read_json, write_json
from .deciding import Crashes
from .envoy import Endpoint, on_trial
from .homes import Home
from .identities import Identity
from .instances import Instance, Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One look at everything under supervision.

    Attributes:
        supervisor: The process that wrote this.
        instances: By name.
        crashes: Builds that were being loaded when their server crashed.
        inference_port: Where the gateway listens; None before it was decided.
    """

    supervisor: Identity
    instances: Mapping[str, Instance] = field(default_factory=dict)
    crashes: Crashes = field(default_factory=lambda: Crashes(counts={}, reasons={}))
    inference_port: int | None = None

    def in_service(self) -> dict[SlotName, list[Endpoint]]:
        """Return the servers that should get traffic, by slot."""
        found: dict[SlotName, list[Endpoint]] = {}
        sizes = Counter(one.slot for one in self.instances.values())
        for one in self.instances.values():
            if one.slot is not None and one.phase is Phase.READY:
                endpoint = Endpoint(
                    host=one.host,
                    http_port=one.ports["http"],
                    grpc_port=one.ports["grpc"],
                    on_trial=on_trial(one.replica, sizes[one.slot]),
                )
                found.setdefault(one.slot, []).append(endpoint)
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form; `from_dict` reads it back."""
        return {
            "supervisor": {"pid": self.supervisor.pid, "started": self.supervisor.started},
            "instances": {name: one.as_dict() for name, one in self.instances.items()},
            "crashes": {"counts": dict(self.crashes.counts), "reasons": dict(self.crashes.reasons)},
            "inference_port": self.inference_port,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Observed:
        """Read what `as_dict` wrote."""
        return cls(
            supervisor=Identity(**value["supervisor"]),
            instances={name: Instance.from_dict(item) for name, item in value["instances"].items()},
            crashes=Crashes(**value["crashes"]),
            inference_port=value["inference_port"],
        )


def read_observed(home: Home) -> Observed | None:
    """Return what was seen last; None before anything was, or where the file cannot be read.

    The file is no more than a memory: without it a supervisor ends what it finds and starts anew.
    """
    try:
        value = read_json(home.observed)
        return None if value is None else Observed.from_dict(value)
    except (ValueError, KeyError, TypeError):
        return None


def write_observed(home: Home, observed: Observed) -> None:
    """Replace what was seen last."""
    write_json(home.observed, observed.as_dict())
