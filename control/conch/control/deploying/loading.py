"""The load job: put a build into its slot, warm it, and ask it for what it is known to answer."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from conch.core import (
    BuildRef,
    ConchError,
    ConflictError,
    ServerState,
    ServerStatus,
    Signature,
    TritonName,
)
from conch.model_repo_builder import check_digest, preflight

from ..jobs import JobContext
from ..ports import Target
from ..state import Build, Database, Json, Model, Serving, ServingStatus, Transaction


class NoServerError(ConchError):
    """No server of the slot is ready to take a build."""

    code = "no-server-ready"
    retryable = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadJob:
    """Handles jobs of the kind `load`; the subject is a serving's id.

    Attributes:
        timeout_s: How long a load, its warm-up included, may take.
    """

    database: Database
    target: Target
    timeout_s: float
    _turns: defaultdict[str, threading.Lock] = field(
        default_factory=lambda: defaultdict(threading.Lock)
    )

    def __call__(self, context: JobContext) -> Json:
        with self.database.begin() as tx:
            _, _, model = _subject(tx, context.job.subject)
        with self._turns[model.id]:  # two builds of one model never load at once
            return self._load(context)

    def _load(self, context: JobContext) -> Json:
        serving, build, model = context.commit(lambda tx: _subject(tx, context.job.subject))
        path = Path(build.path)
        context.progress(0.05, "checking the build's digest")
        check_digest(path)
        servers = [
            server
            for server in self.target.observe().in_slot(serving.slot)
            if server.state is ServerState.READY
        ]
        if not servers:
            raise NoServerError(f"No server of slot {serving.slot!r} is ready.")
        context.progress(0.2, f"loading and warming in slot {serving.slot}")
        self.target.load(build_ref(build, model), serving.slot, timeout_s=self.timeout_s)
        try:
            rows = self._preflight(context, servers, serving, model, path)
            context.commit(lambda tx: _ready(tx, serving))
        except ConchError:
            self.target.unload(TritonName(model.triton_name), serving.slot)
            raise
        return {"slot": serving.slot, "replicas": len(servers), "preflight_rows": rows}

    def _preflight(
        self,
        context: JobContext,
        servers: list[ServerStatus],
        serving: Serving,
        model: Model,
        path: Path,
    ) -> int:
        rows = 0
        for server in servers:
            context.progress(0.7, f"preflight of slot {serving.slot}, replica {server.replica}")
            ask = partial(self._ask, TritonName(model.triton_name), serving, server.replica)
            rows += preflight(path, ask).rows
        return rows

    def _ask(
        self, model: TritonName, serving: Serving, replica: int, inputs: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        return self.target.infer(
            model, serving.slot, inputs, replica=replica, timeout_s=self.timeout_s
        )


def build_ref(build: Build, model: Model) -> BuildRef:
    """Return as much of a build as a target needs."""
    return BuildRef(
        build_id=build.id,
        model=TritonName(model.triton_name),
        ordinal=build.ordinal,
        path=Path(build.path),
        digest=build.digest,
        signature=Signature.from_dict(build.manifest["signature"]),
        max_batch_size=int(build.manifest["max_batch_size"]),
    )


def _subject(tx: Transaction, serving_id: str) -> tuple[Serving, Build, Model]:
    serving = tx.servings.get(serving_id)
    build = tx.builds.get(serving.build_id)
    return serving, build, tx.models.get(build.model_id)


def _ready(tx: Transaction, serving: Serving) -> None:
    current = tx.servings.get(serving.id)
    if current.status is ServingStatus.RETIRING:
        raise ConflictError("The build was given up while it was loaded.")
    if current.status is ServingStatus.LOADING:
        tx.servings.change(current, status=ServingStatus.READY, reason=None)
