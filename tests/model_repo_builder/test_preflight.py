"""The golden rows of a build tell a server that runs it from one that does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch.model_repo_builder import BuildRequest, PreflightError, build, preflight
from conch.model_repo_builder.golden import raw_bytes, read_golden, text_array

Infer = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


@pytest.fixture
def built(linear: Path, request_for: Callable[..., BuildRequest]) -> Path:
    return build(request_for(linear)).path


@pytest.fixture
def server(built: Path) -> Infer:
    """What answers as a server of the build would."""
    session = onnxruntime.InferenceSession(str(built / "portable/digits/1/model.onnx"))

    def infer(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        (answer,) = session.run(["z"], dict(inputs))
        return {"z": answer}

    return infer


def test_the_right_server_passes(built: Path, server: Infer) -> None:
    """Several batch sizes are asked, none above the largest."""
    result = preflight(built, server)
    assert result.batch_sizes == (1, 7, 16)
    assert result.rows > 16


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda z: z * np.float32(1.01), "worst is row", id="other-weights"),
        pytest.param(lambda z: z[::-1], "worst is row", id="rows-mixed-up"),
        pytest.param(lambda z: z[:, :3], "has shape", id="column-missing"),
        pytest.param(lambda z: z * np.nan, "worst is row", id="nan"),
    ],
)
def test_a_wrong_server_is_named(
    built: Path, server: Infer, change: Callable[[np.ndarray], np.ndarray], words: str
) -> None:
    """The error names the output, the case and the row."""
    with pytest.raises(PreflightError, match=words) as error:
        preflight(built, lambda inputs: {"z": change(server(inputs)["z"])})
    assert error.value.details["output"] == "z"


def test_a_missing_output_is_named(built: Path) -> None:
    """An answer without the output is no answer."""
    with pytest.raises(PreflightError, match="'z'"):
        preflight(built, lambda inputs: {})


def test_golden_answers_are_the_sources(built: Path, linear_graph: object) -> None:
    """They come from the registered model, not from what was converted."""
    source = onnxruntime.InferenceSession(linear_graph.SerializeToString())  # type: ignore[attr-defined]
    for case in read_golden(built).cases:
        (answer,) = source.run(["z"], dict(case.inputs))
        np.testing.assert_allclose(case.expected["z"], answer, rtol=1e-4, atol=1e-4)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=6))
def test_text_survives_the_wire_format(items: list[bytes]) -> None:
    """Any bytes, zeros included."""
    array = np.empty(len(items), dtype=object)
    array[:] = items
    assert text_array(raw_bytes(array), (len(items),)).tolist() == items
