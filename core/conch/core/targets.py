"""What a serving target shows of itself and is told to do, as values.

The same words serve one machine (Triton servers behind Envoy) and a cluster (KServe).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from .names import Ordinal, SlotName, TritonName
from .tensors import Signature
from .traffic import TrafficSplit


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRef:
    """A published build, as much of it as a target needs in order to serve it.

    Attributes:
        build_id: Identity of the build.
        model: The model's name on the wire.
        ordinal: The version directory within the repository.
        path: The published build's folder (see `conch.model_repo_builder`), readable here.
        digest: SHA-256 over the build's files, hexadecimal.
        signature: What it takes and returns.
        max_batch_size: Largest batch in rows; 0 without a batch dimension.
    """

    build_id: str
    model: TritonName
    ordinal: Ordinal
    path: Path
    digest: str
    signature: Signature
    max_batch_size: int


class ServerState(StrEnum):
    """Where one model server is in its life."""

    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model version that a server holds in memory.

    Attributes:
        model: The model on the wire.
        ordinal: The version.
        ready: Whether it answers.
        reason: The server's words where it does not.
    """

    model: TritonName
    ordinal: Ordinal
    ready: bool
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """One model server.

    Attributes:
        slot: The slot that it belongs to.
        replica: Its number within the slot, from 0.
        state: Where it is in its life.
        models: What it holds.
        restarts: How often it was started again after it ended by itself.
        reason: Why it is not ready, in words.
        endpoints: Addresses by protocol, such as `{"grpc": "127.0.0.1:18001"}`.
    """

    slot: SlotName
    replica: int
    state: ServerState
    models: tuple[LoadedModel, ...] = ()
    restarts: int = 0
    reason: str = ""
    endpoints: Mapping[str, str] = field(default_factory=dict)

    def holds(self, model: TritonName, ordinal: Ordinal) -> bool:
        """Tell whether this server answers for a version."""
        return any(m.model == model and m.ordinal == ordinal and m.ready for m in self.models)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetState:
    """A target at one moment.

    Attributes:
        servers: Every model server that should exist.
        routes: The traffic splits that the data plane has acknowledged, by model.
        inference_url: Where callers send inference, such as `http://127.0.0.1:8080`.
        gateway_ready: Whether the entry answers.
    """

    servers: tuple[ServerStatus, ...]
    routes: Mapping[TritonName, TrafficSplit]
    inference_url: str
    gateway_ready: bool

    def in_slot(self, slot: SlotName) -> tuple[ServerStatus, ...]:
        """Return the servers of one slot."""
        return tuple(server for server in self.servers if server.slot == slot)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form for people and `--output json`."""
        return {
            "inference_url": self.inference_url,
            "gateway_ready": self.gateway_ready,
            "servers": [
                {
                    "slot": server.slot,
                    "replica": server.replica,
                    "state": server.state.value,
                    "restarts": server.restarts,
                    "reason": server.reason,
                    "endpoints": dict(server.endpoints),
                    "models": [
                        {
                            "model": model.model,
                            "ordinal": model.ordinal,
                            "ready": model.ready,
                            "reason": model.reason,
                        }
                        for model in server.models
                    ],
                }
                for server in self.servers
            ],
            "routes": {
                name: [
                    {
                        "slot": arm.slot,
                        "ordinal": arm.ordinal,
                        "build_id": arm.build_id,
                        "weight": arm.weight,
                    }
                    for arm in split.arms
                ]
                for name, split in self.routes.items()
            },
        }
