"""Inputs and outputs of real requests, captured beside them and never in their way."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
from capture_processes import CaptureProcess, capturing
from platform_fixtures import A, B, LocalPlatform, X, ask, split_of, until

from conch.core import BuildRef, Mirror
from conch.events import hash_unit

pytestmark = pytest.mark.real
MODEL = "captured"


@pytest.fixture(scope="module")
def builds(local_platform: LocalPlatform) -> tuple[BuildRef, BuildRef]:
    """Version 1 in slot a, version 2 in slot b."""
    one, two = local_platform.build(MODEL, 1), local_platform.build(MODEL, 2)
    local_platform.target.load(one, A, timeout_s=60)
    local_platform.target.load(two, B, timeout_s=60)
    return one, two


@pytest.fixture(scope="module")
def capture(
    local_platform: LocalPlatform,
    builds: tuple[BuildRef, BuildRef],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[CaptureProcess]:
    """A capture process; afterwards nothing is captured any more."""
    folder = tmp_path_factory.mktemp("capture")
    text = '[capture]\nredact = ["captured/s", "t"]\nlargest_bytes = 4096\n'
    with capturing(folder, local_platform, settings=text) as process:
        yield process
    local_platform.target.set_routes([])


def grpc_infer(platform: LocalPlatform, *, unit: str, values: np.ndarray = X) -> np.ndarray:
    """Ask over gRPC with an unmodified client."""
    tensor = grpc_client.InferInput("x", list(values.shape), "FP32")
    tensor.set_data_from_numpy(values)
    with grpc_client.InferenceServerClient(platform.address) as client:
        answer = client.infer(MODEL, [tensor], headers={"x-conch-unit": unit})
        found: np.ndarray = answer.as_numpy("y")
        return found


def test_requests_and_answers_are_kept(
    local_platform: LocalPlatform, capture: CaptureProcess, builds: tuple[BuildRef, BuildRef]
) -> None:
    """JSON, binary HTTP and gRPC alike: tensors by name, who answered whom, redacted as told."""
    split = split_of(MODEL, ("b", builds[1], 0), ("a", builds[0], 10_000), captured=10_000)
    local_platform.target.set_routes([split])
    since = capture.log.next_offset
    over_http = local_platform.infer(MODEL, unit="u1", headers={"x-conch-prediction": "p-1"})
    grpc_infer(local_platform, unit="u2", values=np.array([[1, 2, 3, np.nan]], np.float32))
    binary = http_client.InferInput("x", [1, 4], "FP32")
    binary.set_data_from_numpy(X, binary_data=True)
    strings = http_client.InferInput("s", [1, 1], "BYTES")
    strings.set_data_from_numpy(np.array([["secret"]], object), binary_data=True)
    with http_client.InferenceServerClient(local_platform.address) as http:
        http.infer(MODEL, [binary, strings], headers={"x-conch-unit": "u3"})
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1.0] * 4}
    large = json.dumps({"inputs": [tensor]}) + " " * 5000
    path, unit = f"/v2/models/{MODEL}/infer", {"x-conch-unit": "u4"}
    assert ask(local_platform.connection(), "POST", path, large, unit).status == 200

    found = {one.unit_hash: one for one in capture.predictions(4, since=since)}
    one, two, three, four = (found[hash_unit(f"u{number}")] for number in (1, 2, 3, 4))
    assert (one.model, one.slot, one.ordinal) == (MODEL, "a", 1)
    assert one.build_id == builds[0].build_id
    assert (one.event_id, one.request_id) == ("p-1", over_http.headers["x-request-id"])
    assert one.features == {"x": [[1.0] * 4]}
    assert one.output == {"y": [[3.0] * 4]}
    assert two.event_id == two.request_id
    assert two.features == {"x": [[1.0, 2.0, 3.0, None]]}
    assert isinstance(two.output, dict)
    assert two.output["y"] == [[3.0, 5.0, 7.0, None]]
    assert three.features == {"x": [[1.0] * 4], "s": "[redacted]"}
    assert (four.features, four.features_ref, four.output) == (None, "too large", None)
    assert "secret" not in (capture.folder / "captured.log").read_text()


def test_a_mirrored_request_is_captured_on_both_sides(
    local_platform: LocalPlatform, capture: CaptureProcess, builds: tuple[BuildRef, BuildRef]
) -> None:
    """The caller gets the live answer; the candidate's is kept under the same request id."""
    split = split_of(
        MODEL,
        ("b", builds[1], 0),
        ("a", builds[0], 10_000),
        mirror=Mirror(slot=B, share=10_000, release="r-9"),
    )
    local_platform.target.set_routes([split])
    since = capture.log.next_offset
    for number in range(10):
        assert local_platform.infer(MODEL, unit=f"u{number}").version == 1
        assert grpc_infer(local_platform, unit=f"u{number}")[0, 0] == 3
    found = capture.predictions(40, since=since)
    sides = {
        shadow: {
            one.request_id: one for one in found if one.event_id.startswith("shadow-") == shadow
        }
        for shadow in (False, True)
    }
    assert sides[False].keys() == sides[True].keys()
    assert len(sides[True]) == 20
    for request_id, live in sides[False].items():
        copy = sides[True][request_id]
        assert (live.ordinal, copy.ordinal, copy.slot, copy.release) == (1, 2, "b", "r-9")
        assert copy.features == live.features
        assert (live.output, copy.output) == ({"y": [[3.0] * 4]}, {"y": [[4.0] * 4]})


def test_a_share_is_captured_and_changes_nobodys_version(
    local_platform: LocalPlatform, capture: CaptureProcess, builds: tuple[BuildRef, BuildRef]
) -> None:
    """A coin for each request decides about capture; the unit alone decides about the version."""
    split = split_of(MODEL, ("b", builds[1], 4000), ("a", builds[0], 6000), captured=2500)
    local_platform.target.set_routes([split])
    since, connection = capture.log.next_offset, local_platform.connection()
    for number in range(400):
        answer = local_platform.infer(MODEL, unit=f"s{number}", connection=connection)
        assert answer.version == split.arm_of(f"s{number}").ordinal
    # 100 expected; ten standard deviations of 8.7 to either side.
    count = len(capture.predictions(15, since=since))
    assert count <= 190


def test_requests_go_on_while_capture_is_away_or_frozen(
    local_platform: LocalPlatform, capture: CaptureProcess, builds: tuple[BuildRef, BuildRef]
) -> None:
    """Killed or stopped, the process costs copies and no request; started again, it goes on."""
    split = split_of(MODEL, ("b", builds[1], 0), ("a", builds[0], 10_000), captured=10_000)
    local_platform.target.set_routes([split])
    connection = local_platform.connection()
    capture.process.send_signal(19)  # SIGSTOP
    try:
        for number in range(50):
            answer = local_platform.infer(MODEL, unit=f"u{number}", connection=connection)
            assert answer.status == 200
    finally:
        capture.process.send_signal(18)  # SIGCONT
    capture.kill()
    for number in range(50):
        answer = local_platform.infer(MODEL, unit=f"u{number}", connection=connection)
        assert answer.status == 200
    capture.start()
    since = capture.log.next_offset
    for number in range(20):
        local_platform.infer(MODEL, unit=f"again{number}", connection=connection)
    wanted = {hash_unit(f"again{number}") for number in range(20)}

    def arrived() -> set[str]:
        return {one.unit_hash for one in capture.predictions(0, since=since)} & wanted

    until(lambda: bool(arrived()))
    assert capture.status()["dropped"] == 0
