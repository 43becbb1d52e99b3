"""Taking a verified build to a cluster from the command line: find it, load it, prove it, divide.

This is the way by hand. Each step is one that the target can be asked again, so that a command that
was cut off is given again and goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from conch.core import (
    TOTAL_WEIGHT,
    Arm,
    BuildRef,
    ConchError,
    InvalidValueError,
    NotFoundError,
    SlotName,
    TrafficSplit,
)
from conch.kserve.serving.records import Record
from conch.kserve.serving.target import KServeTarget
from conch.model_repo_builder import check_digest, preflight, read_manifest

from .client import Client

_LOOK_S: Final = 1.0
_INFER_S: Final = 60.0


class NothingVerifiedError(NotFoundError):
    """A model has no verified version that could be taken to a cluster."""

    code = "nothing-verified"


class BuildElsewhereError(NotFoundError):
    """A build's folder is not on this machine."""

    code = "build-elsewhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """How a build stands on a cluster afterwards.

    Attributes:
        build: The build.
        slot: The slot that holds it.
        rows: Golden rows that its servers answered rightly; None where they were not asked.
        shares: Percent of the traffic by build.
    """

    build: BuildRef
    slot: SlotName
    rows: int | None
    shares: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form."""
        return {
            "model": self.build.model,
            "build": self.build.build_id,
            "ordinal": self.build.ordinal,
            "digest": self.build.digest,
            "slot": self.slot,
            "preflight_rows": self.rows,
            "shares": dict(self.shares),
        }


def read_build(folder: Path) -> BuildRef:
    """Return the build in a folder, of which every file is as it was published.

    Raises:
        DigestMismatchError: A file was changed, added or removed.
        CorruptArtefactError: It is no build folder.
    """
    manifest = read_manifest(folder)
    check_digest(folder)
    return manifest.ref


def find_build(client: Client, name: str, version: int | None) -> BuildRef:
    """Return the build of a model's version: a stated one, else the live one, else the newest.

    Raises:
        NothingVerifiedError: There is no such version, or it is not verified.
        BuildElsewhereError: The platform's files are not on this machine.
        ApiError: The platform does not know the model.
    """
    verified = [one for one in client.versions(name) if one["status"] == "verified"]
    wanted = [one for one in verified if version in (None, one["version"])]
    if not wanted:
        of = "version" if version is None else f"version {version}"
        raise NothingVerifiedError(
            f"{name!r} has no verified {of}.", hint=f"`conch models show {name}` says why."
        )
    chosen = max(wanted, key=lambda one: (bool(one["live"]), one["version"]))
    path = Path(client.build(chosen["build_id"])["path"])
    if not path.is_dir():
        raise BuildElsewhereError(
            f"The build of {name!r} version {chosen['version']} is in {path}, which is not here.",
            hint="Run the command where the platform runs, or name a copy with --build.",
        )
    return read_build(path)


def ship(
    target: KServeTarget,
    build: BuildRef,
    *,
    percent: float | None,
    prove: bool,
    timeout_s: float,
    told: Callable[[str], None],
) -> Shipped:
    """Load a build beside what serves, ask it its golden rows, and give it a share of the traffic.

    Args:
        target: The cluster.
        build: A verified build.
        percent: Its share; None: all where nothing else serves the model, else what it has.
        prove: Whether its servers are asked the golden rows before it gets a share.
        timeout_s: Longest wait for its servers, in seconds.
        told: Is told what is being done.

    Raises:
        ConchError: A step was refused or failed; traffic is as it was before that step.
    """
    slot = target.slot_for(build)
    told(f"loading into slot {slot}")
    with _reporting(target, build, slot, told):
        target.load(build, slot, timeout_s=timeout_s)
    rows = None
    if prove:
        told("asking its servers the golden rows")
        rows = preflight(build.path, _asking(target, build, slot)).rows
    split = split_for(target.held(build.model), build, slot, percent)
    if split is not None:
        told(
            "dividing the traffic: "
            + ", ".join(f"{a.slot} {a.weight / 100:g} %" for a in split.arms)
        )
        target.set_routes([split])
    return Shipped(build=build, slot=slot, rows=rows, shares=_shares(target.held(build.model)))


def split_for(
    record: Record, build: BuildRef, slot: SlotName, percent: float | None
) -> TrafficSplit | None:
    """Return how traffic is divided once a build has its share; None where nothing changes.

    The rest goes to the one other slot that has most of the traffic now.

    Raises:
        InvalidValueError: The share is no percentage, or there is nobody to take the rest.
    """
    weights = {name: record.weight(name) for name in record.slots if name != slot}
    if percent is None:
        if any(weights.values()) or record.weight(slot):
            return None
        percent = 100.0
    weight = round(percent * 100)
    if not 0 <= weight <= TOTAL_WEIGHT or abs(percent * 100 - weight) > 1e-6:
        raise InvalidValueError(
            f"{percent} % is no share of traffic.", hint="Give 0 to 100, with two decimals at most."
        )
    other = max(weights, key=lambda name: (weights[name], name), default=None)
    if other is None and weight < TOTAL_WEIGHT:
        raise InvalidValueError(
            f"Nothing but this build serves {build.model!r}, so that it has all of the traffic.",
            hint="Leave --percent out, or give 100.",
        )
    arms = [Arm(slot=slot, ordinal=build.ordinal, build_id=build.build_id, weight=weight)]
    if other is not None:
        held = record.slots[other]
        arms.append(
            Arm(
                slot=other,
                ordinal=held.ordinal,
                build_id=held.build_id,
                weight=TOTAL_WEIGHT - weight,
            )
        )
    salt = record.split.salt if record.split else build.build_id
    split = TrafficSplit(model=build.model, arms=tuple(arms), salt=salt)
    return None if record.split == split else split


def _shares(record: Record) -> dict[str, float]:
    arms = record.split.arms if record.split else ()
    return {arm.build_id: arm.weight / 100 for arm in arms}


def _asking(
    target: KServeTarget, build: BuildRef, slot: SlotName
) -> Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]:
    return lambda inputs: target.infer(build.model, slot, inputs, timeout_s=_INFER_S)


@contextmanager
def _reporting(
    target: KServeTarget, build: BuildRef, slot: SlotName, told: Callable[[str], None]
) -> Iterator[None]:
    """Tell, while the block runs, what the cluster says of the servers that are on their way."""
    over = threading.Event()

    def look() -> None:
        last = ""
        while not over.wait(_LOOK_S):
            why = _waiting_for(target, build, slot)
            if why and why != last:
                told(f"waiting: {why}")
            last = why or last

    thread = threading.Thread(target=look, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _waiting_for(target: KServeTarget, build: BuildRef, slot: SlotName) -> str:
    try:
        servers = target.observe().in_slot(slot)
    except ConchError as error:
        return error.message
    models = [each for server in servers for each in server.models if each.model == build.model]
    return next((each.reason for each in models if not each.ready), "")
