"""Which slot a pod serves, told from its InferenceService and its name."""

from __future__ import annotations

import pytest

from conch.core import Ordinal, SlotName, TritonName
from conch.kserve.serving.records import Held, Record
from conch.kserve.traffic.canaries import CanaryTraffic
from conch.kserve.traffic.knative import KnativeTraffic
from conch.kserve.traffic.ports import Strategy
from conch.kserve.traffic.slots import SlotTraffic

A, B = SlotName("a"), SlotName("b")
LONG = "a-model-with-a-name-of-40-characters-xxx"


def record(model: str, **revisions: str) -> Record:
    """Return a record of two slots."""
    return Record(
        model=TritonName(model),
        namespace="models",
        slots={
            slot: Held(
                ordinal=Ordinal(1),
                build_id=f"build-{slot}",
                digest="",
                storage_uri="pvc://x",
                revision=revisions.get(slot, ""),
            )
            for slot in (A, B)
        },
    )


DIGITS = record("digits", a="digits-predictor-00001", b="digits-predictor-00012")
# md5 of "a-model-with-a-name-of-40-characters-xxx-predictor-00001", as Knative shortens names
HASHED = "a-model-with-a-name-" + "67d52e487d03abc4b82e97c35846c1bb"


@pytest.mark.parametrize(
    ("strategy", "of", "service", "pod", "slot"),
    [
        (SlotTraffic(), DIGITS, "digits-a", "digits-a-predictor-5d8f7c9b64-x7k2p", A),
        (SlotTraffic(), DIGITS, "digits-b", "digits-b-predictor-5d8f7c9b64-x7k2p", B),
        (SlotTraffic(), DIGITS, "digits-c", "digits-c-predictor-5d8f7c9b64-x7k2p", None),
        (SlotTraffic(), DIGITS, "digits", "digits-predictor-5d8f7c9b64-x7k2p", None),
        (CanaryTraffic(), DIGITS, "digits", "digits-a-predictor-5d8f7c9b64-x7k2p", A),
        (CanaryTraffic(), DIGITS, "digits", "digits-b-predictor-5d8f7c9b64-x7k2p", B),
        (CanaryTraffic(), DIGITS, "digits", "digits-predictor-5d8f7c9b64-x7k2p", None),
        (CanaryTraffic(), DIGITS, "other", "digits-a-predictor-5d8f7c9b64-x7k2p", None),
        (
            CanaryTraffic(),
            record(LONG),
            LONG,
            f"{LONG}-b-predictor-5d8f7c9b64-"[:58] + "x7k2p",
            B,
        ),
        (
            KnativeTraffic(),
            DIGITS,
            "digits",
            "digits-predictor-00001-deployment-5d8f7c9b64-x7k2p",
            A,
        ),
        (
            KnativeTraffic(),
            DIGITS,
            "digits",
            "digits-predictor-00012-deployment-5d8f7c9b64-x7k2p",
            B,
        ),
        (
            KnativeTraffic(),
            DIGITS,
            "digits",
            "digits-predictor-00002-deployment-5d8f7c9b64-x7k2p",
            None,
        ),
        (
            KnativeTraffic(),
            record("digits"),
            "digits",
            "digits-predictor-00001-deployment-5d8f7c9b64-x7k2p",
            None,
        ),
        (
            KnativeTraffic(),
            record(LONG, a=f"{LONG}-predictor-00001", b=f"{LONG}-predictor-00002"),
            LONG,
            f"{HASHED}-deployment-5d8f7c9b64-"[:58] + "x7k2p",
            A,
        ),
    ],
)
def test_the_slot_of_a_pod(
    strategy: Strategy, of: Record, service: str, pod: str, slot: SlotName | None
) -> None:
    """Names that Kubernetes and Knative shorten are known too."""
    assert strategy.slot_of(of, service=service, pod=pod) == slot
