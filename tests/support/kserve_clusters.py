"""A KServe target on the real API server, with the stand-in for controllers behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kserve_answering import answering
from kserve_profiles import KNATIVE, STANDARD
from kserve_standin import StandIn
from kube_clients import Connect
from standin_threads import in_a_thread

from conch.core import (
    Arm,
    BuildRef,
    Ordinal,
    ServingSpec,
    Signature,
    SlotName,
    TrafficSplit,
    TritonName,
)
from conch.kserve import (
    Autoscaler,
    Environment,
    KServeVersion,
    Payloads,
    Profile,
    Storage,
    Traffic,
    TritonImage,
)
from conch.kserve.serving.operating import Blueprint
from conch.kserve.serving.storing import FolderStore
from conch.kserve.serving.target import KServeTarget

A, B = SlotName("a"), SlotName("b")
_LAB: dict[str, Any] = {
    "environment": Environment.DEV,
    "image": TritonImage(),
    "storage": Storage(schemes=frozenset({"pvc"})),
    "monitoring": None,
    "autoscaler": Autoscaler.NONE,
}
STRATEGIES: dict[Traffic, Profile] = {
    Traffic.PERCENT: replace(
        KNATIVE,
        environment=Environment.DEV,
        storage=Storage(schemes=frozenset({"pvc"})),
        knative_features=frozenset({"persistent-volume-claim"}),
    ),
    Traffic.CANARY: replace(STANDARD, **_LAB, version=KServeVersion.V0_21, traffic=Traffic.CANARY),
    Traffic.SLOTS: replace(STANDARD, **_LAB, version=KServeVersion.V0_19),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """One namespace with a target and the stand-in."""

    target: KServeTarget
    standin: StandIn
    namespace: str
    connect: Connect
    folder: Path
    new_target: Callable[..., KServeTarget]


@contextmanager
def lab(
    connect: Connect,
    namespace: str,
    strategy: Traffic,
    folder: Path,
    *,
    seed: int = 0,
    payloads: Payloads | None = None,
) -> Iterator[Lab]:
    """Run the stand-in, its servers' answers and a started target for the block."""
    profile = replace(STRATEGIES[strategy], payloads=payloads)
    store, uri = folder / "store", "pvc://models"
    with (
        playing(connect, namespace, seed=seed) as standin,
        answering(standin.hosts, store, uri) as gateway_url,
    ):

        def new_target(**given: Any) -> KServeTarget:
            stated: dict[str, Any] = {"connect": connect, "gateway_url": gateway_url} | given
            return KServeTarget(
                namespace=namespace,
                blueprint=Blueprint(profile=profile),
                store=FolderStore(folder=store, uri=uri),
                **stated,
            )

        with new_target() as target:
            yield Lab(
                target=target,
                standin=standin,
                namespace=namespace,
                connect=connect,
                folder=folder,
                new_target=new_target,
            )
        assert standin.errors == []


@contextmanager
def playing(connect: Connect, namespace: str, *, seed: int) -> Iterator[StandIn]:
    """Run the stand-in in a thread with a loop of its own for the block."""
    with in_a_thread(
        connect, lambda cluster: StandIn(cluster, namespace, seed=seed), manager="kserve"
    ) as standin:
        yield standin


def build(folder: Path, ordinal: int, *, model: str = "digits") -> BuildRef:
    """Return a build whose repository holds nothing but its name."""
    path = folder / "builds" / f"{model}-{ordinal}"
    (path / "native" / model).mkdir(parents=True, exist_ok=True)
    return BuildRef(
        build_id=f"{model}-build-{ordinal}",
        model=TritonName(model),
        ordinal=Ordinal(ordinal),
        path=path,
        digest=f"{ordinal:064x}",
        signature=Signature(inputs=(), outputs=()),
        max_batch_size=8,
    )


def divided(*arms: tuple[BuildRef, SlotName, int]) -> TrafficSplit:
    """Return a split of `(build, slot, percent)` arms, the candidate first."""
    return TrafficSplit(
        model=arms[0][0].model,
        arms=tuple(
            Arm(slot=slot, ordinal=each.ordinal, build_id=each.build_id, weight=percent * 100)
            for each, slot, percent in arms
        ),
        salt="s",
    )


__all__ = ["STRATEGIES", "A", "B", "Lab", "ServingSpec", "build", "divided", "lab", "playing"]
