"""The gateway benchmark's load: what is sent, what counts as a right answer, where servers live."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from side_by_side.environments import Environment
from side_by_side.grpc_load import is_right, merged, write_calls
from side_by_side.network import (
    INPUT,
    OUTPUT,
    TOLERANCE,
    Network,
    inference_answer,
    inference_body,
    make_network,
    plain_answer,
    plain_body,
)
from side_by_side.peers import PEERS, Peer
from tritonclient.grpc import service_pb2


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """The graph that every server runs."""
    return make_network(tmp_path_factory.mktemp("network"))


def _message(numbers: np.ndarray) -> bytes:
    """A server's answer over gRPC."""
    output = service_pb2.ModelInferResponse.InferOutputTensor(
        name=OUTPUT, datatype="FP32", shape=[1, 4]
    )
    message = service_pb2.ModelInferResponse(
        model_name="mlp",
        model_version="1",
        outputs=[output],
        raw_output_contents=[numbers.astype("<f4").tobytes()],
    )
    found: bytes = message.SerializeToString()
    return found


def test_answers_depend_on_the_row(network: Network) -> None:
    """A server that answers all rows alike, or with zeros, cannot pass the check."""
    spread = network.answers.std(axis=0)
    assert (spread > 100 * TOLERANCE).all()
    assert network.answers.shape == (256, 4)


def test_bodies_carry_the_row_exactly(network: Network) -> None:
    """Both forms of a request hold the same float32 numbers."""
    row = network.rows[3]
    tensor = json.loads(inference_body(row))["inputs"][0]
    assert (tensor["name"], tensor["shape"], tensor["datatype"]) == (INPUT, [1, 16], "FP32")
    np.testing.assert_array_equal(np.array(tensor["data"], np.float32), row)
    np.testing.assert_array_equal(np.array(json.loads(plain_body(row))[INPUT][0], np.float32), row)


def test_answers_are_read_from_both_forms() -> None:
    """The Open Inference Protocol's outputs, and a plain list of rows."""
    assert inference_answer(b'{"outputs":[{"name":"y","data":[1.5,2]}]}') == [1.5, 2]
    assert plain_answer(b"[[1.5,2]]") == [1.5, 2]


@given(
    numbers=st.lists(st.floats(-100, 100, width=32), min_size=4, max_size=4),
    place=st.integers(0, 3),
)
def test_a_wrong_number_over_grpc_is_noticed(numbers: list[float], place: int) -> None:
    """Right numbers pass; one that is off by more than the tolerance does not."""
    assert is_right(_message(np.array(numbers)), numbers)
    off = list(numbers)
    off[place] += 0.01
    assert not is_right(_message(np.array(off)), numbers)
    assert not is_right(b"", numbers)


def test_prepared_calls_are_the_rows_with_their_answers(network: Network, tmp_path: Path) -> None:
    """Each line is a serialised request and what must come back for it."""
    lines = write_calls(tmp_path / "calls", network).read_text().splitlines()
    assert len(lines) == len(network.rows)
    text, answer = json.loads(lines[7])
    message = service_pb2.ModelInferRequest.FromString(bytes.fromhex(text))
    assert message.model_name == "mlp"
    assert message.raw_input_contents[0] == network.rows[7].tobytes()
    np.testing.assert_allclose(answer, network.answers[7])


def test_processes_of_one_load_are_one_run() -> None:
    """Requests and failures add up; the slowest process says how long it took."""
    run = merged(
        [
            {"latencies_us": [1000] * 98, "failed": 1, "seconds": 2.0},
            {"latencies_us": [9000] * 2, "failed": 2, "seconds": 4.0},
        ]
    )
    assert (run.requests, run.failed, run.seconds, run.rps) == (100, 3, 4.0, 25.0)
    assert run.p50_ms == 1.0
    assert run.p99_ms == 9.0
    assert run.mean_ms == pytest.approx(1.16)


def test_an_environment_is_named_by_its_pins() -> None:
    """Other requirements are another folder, so that no run uses an old server by accident."""
    digests = {peer.environment.digest for peer in PEERS}
    assert len(digests) == len({peer.requirements for peer in PEERS})
    one = Environment(requirements=("kserve==0.21.0",))
    assert one.digest == Environment(requirements=("kserve==0.21.0",)).digest
    assert one.digest != Environment(requirements=("kserve==0.20.0",)).digest


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_is_pinned(peer: Peer) -> None:
    """The server itself is pinned exactly: figures name what they are of."""
    assert "==" in peer.requirements[0]
    assert "*" not in peer.requirements[0]
