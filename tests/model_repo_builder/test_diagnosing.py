"""What answers that differ look like, from arrays alone."""

from __future__ import annotations

import numpy as np
import pytest

from conch.model_repo_builder.comparing import EXACT, SINGLE, scale_of
from conch.model_repo_builder.diagnosing import WORDS, Compared, FaultKind, fault_kind

random = np.random.default_rng(1)
LOGITS = random.normal(size=(60, 4)).astype(np.float32)
OTHER = random.normal(size=(60, 4)).astype(np.float32)


def softmax(scores: np.ndarray, axis: int = 1) -> np.ndarray:
    powers = np.exp(scores)
    found: np.ndarray = powers / powers.sum(axis=axis, keepdims=True)
    return found.astype(np.float32)


def overflown() -> np.ndarray:
    found = LOGITS.copy()
    found[3, 1] = np.inf
    return found


def few_rows() -> np.ndarray:
    found = LOGITS.copy()
    found[[5, 9]] += 1
    return found


def compared(want: np.ndarray, have: np.ndarray) -> Compared:
    tolerance = SINGLE if want.dtype.kind == "f" else EXACT
    return Compared(expected=want, found=have, tolerance=tolerance, scale=scale_of([want]))


@pytest.mark.parametrize(
    ("want", "have", "kind"),
    [
        pytest.param(LOGITS, overflown(), FaultKind.OVERFLOW, id="infinite"),
        pytest.param(LOGITS, LOGITS[:, [1, 0, 2, 3]], FaultKind.COLUMN_ORDER, id="columns"),
        pytest.param(softmax(LOGITS), LOGITS, FaultKind.POST_PROCESSING, id="softmax-missing"),
        pytest.param(LOGITS, softmax(LOGITS), FaultKind.POST_PROCESSING, id="softmax-added"),
        pytest.param(softmax(LOGITS), softmax(LOGITS, 0), FaultKind.AXIS, id="axis"),
        pytest.param(LOGITS, 2 * LOGITS + 1, FaultKind.SCALE, id="factor"),
        pytest.param(LOGITS, few_rows(), FaultKind.BRANCH, id="few-rows"),
        pytest.param(LOGITS, OTHER, FaultKind.VALUES, id="other-weights"),
        pytest.param(
            LOGITS,
            LOGITS + 1e-3 * np.float32(1) * OTHER,
            FaultKind.ROUNDING,
            id="a-little-everywhere",
        ),
        pytest.param(
            np.arange(60) % 3, (np.arange(60) + 1) % 3, FaultKind.COLUMN_ORDER, id="labels-turned"
        ),
    ],
)
def test_a_difference_is_named(want: np.ndarray, have: np.ndarray, kind: FaultKind) -> None:
    """Each kind from the simplest answers that show it."""
    found = fault_kind("y", {"y": compared(want, have)})
    assert found is kind
    assert WORDS[found]


def test_swapped_outputs_are_named() -> None:
    """An output that answers what another one should."""
    outputs = {"a": compared(LOGITS, OTHER), "b": compared(OTHER, LOGITS)}
    assert fault_kind("a", outputs) is FaultKind.SWAPPED_OUTPUTS
