"""Requests through a real Envoy reach the version that they should, and nothing else."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
import xxhash
from platform_fixtures import A, B, LocalPlatform, X, ask, split_of, until
from tritonclient.utils import InferenceServerException

from conch.core import BuildRef, InvalidValueError, TrafficSplit
from conch.events import AccessLogReader, EventLog, Exposure, hash_unit
from conch.local import RoutesRejectedError

pytestmark = pytest.mark.real
MODEL = "digits"
GRPC = "/inference.GRPCInferenceService"


@pytest.fixture(scope="module")
def builds(local_platform: LocalPlatform) -> tuple[BuildRef, BuildRef]:
    """Version 1 in slot a, version 2 in slot b; version 2 of another model in slot a only."""
    one, two = local_platform.build(MODEL, 1), local_platform.build(MODEL, 2)
    local_platform.target.load(one, A, timeout_s=60)
    local_platform.target.load(two, B, timeout_s=60)
    local_platform.target.load(local_platform.build("hidden", 5), A, timeout_s=60)
    return one, two


@pytest.fixture(scope="module")
def split(local_platform: LocalPlatform, builds: tuple[BuildRef, BuildRef]) -> TrafficSplit:
    """Thirty percent to the candidate in slot b."""
    split = split_of(MODEL, ("b", builds[1], 3000), ("a", builds[0], 7000), salt="rel\\17")
    local_platform.target.set_routes([split])
    return split


@pytest.fixture
def grpc(local_platform: LocalPlatform) -> Iterator[grpc_client.InferenceServerClient]:
    """An unmodified Triton client."""
    with grpc_client.InferenceServerClient(local_platform.address) as client:
        yield client


def _grpc_inputs() -> list[grpc_client.InferInput]:
    tensor = grpc_client.InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(X)
    return [tensor]


def _grpc_code(error: pytest.ExceptionInfo[InferenceServerException]) -> tuple[str, str]:
    return str(error.value.status()), str(error.value.message())


def test_every_unit_gets_its_arm_over_http_and_grpc(
    local_platform: LocalPlatform, split: TrafficSplit, grpc: grpc_client.InferenceServerClient
) -> None:
    """A thousand units reach the arm that `TrafficSplit.arm_of` names, with unmodified clients."""
    tensor = http_client.InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(X)
    wrong = []
    with http_client.InferenceServerClient(local_platform.address) as http:
        for number in range(1000):
            unit = f"unit {number} é"
            want = split.arm_of(unit).ordinal
            headers = {"x-conch-unit": unit.encode().decode("latin-1")}
            over_http = http.infer(MODEL, [tensor], headers=headers).as_numpy("y")[0, 0] - 2
            # gRPC metadata is ASCII, so the same unit cannot be sent there.
            plain = f"unit {number}"
            over_grpc = grpc.infer(MODEL, _grpc_inputs(), headers={"x-conch-unit": plain})
            pair = (int(over_http), int(over_grpc.as_numpy("y")[0, 0]) - 2)
            if pair != (want, split.arm_of(plain).ordinal):
                wrong.append((unit, pair))
    assert wrong == []


def test_answers_name_model_slot_build_and_version(
    local_platform: LocalPlatform, split: TrafficSplit
) -> None:
    """Response headers say who answered, and agree with the numbers."""
    for number in range(20):
        answer = local_platform.infer(MODEL, unit=f"u{number}")
        arm = split.arm_of(f"u{number}")
        assert answer.headers["x-conch-model"] == MODEL
        assert answer.headers["x-conch-slot"] == arm.slot
        assert answer.headers["x-conch-build"] == arm.build_id
        assert answer.headers["x-conch-version"] == str(arm.ordinal) == str(answer.version)


@pytest.mark.parametrize("unit", [None, ""], ids=["no header", "an empty header"])
def test_a_request_without_a_unit_gets_a_random_one(
    local_platform: LocalPlatform, split: TrafficSplit, unit: str | None
) -> None:
    """Without a unit, requests spread over the arms instead of all meeting one."""
    connection = local_platform.connection()
    versions = {
        local_platform.infer(MODEL, unit=unit, connection=connection).version for _ in range(60)
    }
    assert versions == {1, 2}


def test_a_unit_sent_twice_is_one_unit(local_platform: LocalPlatform, split: TrafficSplit) -> None:
    """Two unit headers count as their list, joined by a comma, as HTTP defines."""
    connection = local_platform.connection()
    for number in range(30):
        connection.putrequest("GET", f"/v2/models/{MODEL}/ready")
        connection.putheader("x-conch-unit", f"u{number}")
        connection.putheader("x-conch-unit", "v")
        connection.endheaders()
        answer = connection.getresponse()
        answer.read()
        assert answer.headers["x-conch-slot"] == split.arm_of(f"u{number},v").slot


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_pinned_over_http_is_the_one_that_answers(
    local_platform: LocalPlatform, split: TrafficSplit, version: int
) -> None:
    """`/versions/N` reaches the slot that holds N, whatever the unit."""
    path = f"/v2/models/{MODEL}/versions/{version}/infer"
    for number in range(10):
        assert local_platform.infer(MODEL, unit=f"u{number}", path=path).version == version


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_pinned_over_grpc_is_the_one_that_answers(
    split: TrafficSplit, grpc: grpc_client.InferenceServerClient, version: int
) -> None:
    """`model_version` in the message reaches the slot that holds it."""
    for number in range(10):
        answer = grpc.infer(
            MODEL, _grpc_inputs(), model_version=str(version), headers={"x-conch-unit": f"{number}"}
        )
        assert int(answer.as_numpy("y")[0, 0]) - 2 == version


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/v2/models/{MODEL}/versions/9/infer", 404, "version-not-served"),
        (f"/v2/models/{MODEL}/versions/1x/infer", 404, "version-not-served"),
        ("/v2/models/nobody/infer", 404, "model-not-served"),
        ("/v2/models/hidden/infer", 404, "model-not-served"),
        (f"/v2/models/{MODEL}x/infer", 404, "model-not-served"),
        ("/v2/models/stats", 404, "model-not-served"),
        ("/v2/repository/index", 403, "not-exposed"),
        (f"/v2/repository/models/{MODEL}/unload", 403, "not-exposed"),
        ("/v2/systemsharedmemory/status", 403, "not-exposed"),
        ("/v2/cudasharedmemory/region/r/register", 403, "not-exposed"),
        ("/v2/trace/setting", 403, "not-exposed"),
        (f"/v2/models/{MODEL}/trace/setting", 403, "not-exposed"),
        (f"/v2/models/{MODEL}/versions/1/trace/setting", 403, "not-exposed"),
        ("/v2/logging", 403, "not-exposed"),
        ("/v1/models", 404, "not-found"),
        ("/metrics", 404, "not-found"),
    ],
)
def test_what_is_not_served_is_a_problem_with_a_code(
    local_platform: LocalPlatform, split: TrafficSplit, path: str, status: int, code: str
) -> None:
    """Unknown models and versions are 404, server control is 403, each with a stable code."""
    answer = local_platform.infer(MODEL, path=path)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        f"/v2/models/{MODEL}/../../repository/index",
        f"/v2/models/{MODEL}/%2e%2e/%2e%2e/repository/index",
        f"/v2/models/{MODEL}/..%2f..%2frepository/index",
        f"/v2/models/{MODEL}/..%5c..%5crepository/index",
        "//v2//repository/index",
        "/v2/./repository/index",
        f"/v2/models/{MODEL}/../hidden/infer",
        f"/v2/models/{MODEL}/%2E%2E/hidden/infer",
        f"/v2/models/{MODEL}/..%2Fhidden/infer",
    ],
)
def test_no_spelling_of_a_path_reaches_what_is_closed(
    local_platform: LocalPlatform, split: TrafficSplit, path: str
) -> None:
    """Dot segments, escapes and doubled slashes end in the gateway's refusal, never at Triton."""
    answer = local_platform.infer(MODEL, path=path)
    assert answer.status in (400, 403, 404)
    assert "x-conch-slot" not in answer.headers
    if answer.body:
        assert answer.json["code"] in ("not-exposed", "model-not-served")


def test_unknown_models_and_versions_are_not_found_over_grpc(
    split: TrafficSplit, grpc: grpc_client.InferenceServerClient
) -> None:
    """gRPC callers get NOT_FOUND with the code in the message."""
    with pytest.raises(InferenceServerException) as error:
        grpc.infer("nobody", _grpc_inputs())
    assert _grpc_code(error)[0] == "StatusCode.NOT_FOUND"
    assert _grpc_code(error)[1].startswith("model-not-served")
    for version in ("9", "-1", "1x"):
        with pytest.raises(InferenceServerException) as error:
            grpc.infer(MODEL, _grpc_inputs(), model_version=version)
        assert _grpc_code(error)[1].startswith("version-not-served")


def test_server_control_is_denied_over_grpc(
    split: TrafficSplit, grpc: grpc_client.InferenceServerClient
) -> None:
    """Repository, shared memory, trace and log methods are PERMISSION_DENIED."""
    calls = [
        grpc.get_model_repository_index,
        lambda: grpc.unload_model(MODEL),
        lambda: grpc.load_model(MODEL),
        grpc.get_system_shared_memory_status,
        lambda: grpc.unregister_cuda_shared_memory("r"),
        grpc.get_trace_settings,
        grpc.get_log_settings,
    ]
    for call in calls:
        with pytest.raises(InferenceServerException) as error:
            call()
        assert _grpc_code(error)[0] == "StatusCode.PERMISSION_DENIED"


def test_questions_to_the_server_are_answered(
    local_platform: LocalPlatform, split: TrafficSplit, grpc: grpc_client.InferenceServerClient
) -> None:
    """Liveness, readiness, server and model metadata work over both protocols."""
    assert local_platform.get("/v2/health/live").status == 200
    assert local_platform.get("/v2/health/ready").status == 200
    assert local_platform.get("/v2").json["name"] == "triton"
    assert local_platform.get(f"/v2/models/{MODEL}").json["name"] == MODEL
    assert grpc.is_server_live()
    assert grpc.is_server_ready()
    assert grpc.get_server_metadata().name == "triton"
    assert grpc.is_model_ready(MODEL)
    assert grpc.is_model_ready(MODEL, "2")
    assert grpc.get_model_metadata(MODEL).name == MODEL
    assert grpc.get_model_config(MODEL).config.name == MODEL
    assert grpc.get_inference_statistics(MODEL).model_stats[0].name == MODEL


def test_forged_routing_headers_change_nothing(
    local_platform: LocalPlatform, split: TrafficSplit, grpc: grpc_client.InferenceServerClient
) -> None:
    """A client cannot name model, version or slot by header, over HTTP or gRPC."""
    forged = {"x-conch-model": "hidden", "x-conch-version": "1", "x-conch-slot": "a"}
    for number in range(20):
        unit = f"u{number}"
        want = split.arm_of(unit).ordinal
        assert local_platform.infer(MODEL, unit=unit, headers=forged).version == want
        answer = grpc.infer(MODEL, _grpc_inputs(), headers={**forged, "x-conch-unit": unit})
        assert int(answer.as_numpy("y")[0, 0]) - 2 == want
    with pytest.raises(InferenceServerException) as error:
        grpc.infer("hidden", _grpc_inputs(), headers={"x-conch-model": MODEL})
    assert _grpc_code(error)[0] == "StatusCode.NOT_FOUND"


def test_the_last_of_two_names_in_a_message_decides(
    local_platform: LocalPlatform, split: TrafficSplit
) -> None:
    """A message that names two models is routed by the one that a server would take."""

    def named(*names: str) -> bytes:
        fields = b"".join(b"\x0a" + bytes([len(name)]) + name.encode() for name in names)
        return b"\x00" + len(fields).to_bytes(4, "big") + fields

    # The gateway takes the method's path over HTTP/1.1 too, which lets a test write raw frames.
    headers = {"content-type": "application/grpc", "te": "trailers"}
    path = f"{GRPC}/ModelReady"
    good = ask(local_platform.connection(), "POST", path, named("hidden", MODEL), headers)
    assert good.headers.get("x-conch-model") == MODEL
    for names in [(MODEL, "hidden"), (MODEL, "../x"), (MODEL, "")]:
        bad = ask(local_platform.connection(), "POST", path, named(*names), headers)
        assert bad.headers["grpc-status"] == "5"
        assert "x-conch-slot" not in bad.headers


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"\x00\x00\x00\x00\x00",
        b"\x00\xff\xff\xff\xff\x0a",
        b"\x00\x00\x00\x00\x02\x0a\x7f",
        b"\x00\x00\x00\x00\x0b" + b"\xff" * 11,
        b"\x00\x00\x00\x00\x03\x0f\x00\x00",
    ],
    ids=["nothing", "half a frame", "empty", "long frame", "long field", "varint", "wire type"],
)
def test_broken_messages_are_refused(
    local_platform: LocalPlatform, split: TrafficSplit, body: bytes
) -> None:
    """A message that cannot be read reaches no model, even with forged headers."""
    headers = {"content-type": "application/grpc", "te": "trailers", "x-conch-model": MODEL}
    answer = ask(local_platform.connection(), "POST", f"{GRPC}/ModelReady", body, headers)
    assert "x-conch-slot" not in answer.headers
    assert answer.headers["grpc-status"] == "5"


def test_compressed_messages_are_refused_with_a_reason(
    split: TrafficSplit, grpc: grpc_client.InferenceServerClient
) -> None:
    """The gateway does not read compressed messages, and says so."""
    tensor = grpc_client.InferInput("s", [1, 1], "BYTES")  # large enough to be worth compressing
    tensor.set_data_from_numpy(np.array([[b"z" * 10_000]], object))
    with pytest.raises(InferenceServerException) as error:
        grpc.infer(MODEL, [*_grpc_inputs(), tensor], compression_algorithm="gzip")
    assert _grpc_code(error)[0] == "StatusCode.UNIMPLEMENTED"
    assert _grpc_code(error)[1].startswith("compressed-message")


def test_a_stream_is_routed_by_its_metadata(
    local_platform: LocalPlatform, split: TrafficSplit
) -> None:
    """`ModelStreamInfer` reaches the unit's arm of the model named in the metadata."""
    for number in range(6):
        unit = f"s{number}"
        got: list[int] = []
        with grpc_client.InferenceServerClient(local_platform.address) as client:
            client.start_stream(
                lambda result, error, got=got: got.append(
                    -1 if error else int(result.as_numpy("y")[0, 0]) - 2
                ),
                headers={"x-conch-model": MODEL, "x-conch-unit": unit},
            )
            for _ in range(3):
                client.async_stream_infer(MODEL, _grpc_inputs())
            client.stop_stream()
        assert got == [split.arm_of(unit).ordinal] * 3


def test_a_large_body_passes_and_a_larger_one_is_refused(
    local_platform: LocalPlatform, split: TrafficSplit
) -> None:
    """Bodies up to the limit are routed; above it the answer is 413 with a code."""
    path = f"/v2/models/{MODEL}/infer"
    padded = _nested(1) + b" " * 5_000_000
    allowed = ask(local_platform.connection(), "POST", path, padded, None)
    assert (allowed.status, allowed.version in (1, 2)) == (200, True)
    refused = ask(local_platform.connection(), "POST", path, b" " * (64 * 2**20 + 1), None)
    assert (refused.status, refused.json["code"]) == (413, "request-too-large")


def _nested(depth: int) -> bytes:
    data = "[" * depth + "1,1,1,1" + "]" * depth
    tensor = f'{{"name":"x","shape":[1,4],"datatype":"FP32","data":{data}}}'
    return f'{{"inputs":[{tensor}],"outputs":[{{"name":"y"}}]}}'.encode()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-encoding": "gzip"},
        {"inference-header-content-length": "999999999"},
        {"inference-header-content-length": "9999999e-9"},
    ],
    ids=["plain", "gzip", "stated length", "a length that is none"],
)
def test_nesting_that_would_crash_a_server_does_not_reach_it(
    local_platform: LocalPlatform, split: TrafficSplit, headers: dict[str, str]
) -> None:
    """JSON nested a million deep ends Triton's process; the gateway refuses it."""
    body = _nested(1_000_000)
    if "content-encoding" in headers:
        body = gzip.compress(body)
    path = f"/v2/models/{MODEL}/infer"
    pids = [local_platform.pid("triton-a-0"), local_platform.pid("triton-b-0")]
    answer = ask(local_platform.connection(), "POST", path, body, headers)
    assert (answer.status, answer.json["code"]) == (400, "json-too-deep")
    assert pids == [local_platform.pid("triton-a-0"), local_platform.pid("triton-b-0")]
    assert local_platform.infer(MODEL, unit="u").status == 200


@pytest.mark.parametrize(("depth", "code"), [(3000, "json-too-deep"), (200, None)])
def test_chunked_bodies_are_inspected_too(
    local_platform: LocalPlatform, split: TrafficSplit, depth: int, code: str | None
) -> None:
    """A body without a stated length is looked at like any other."""
    connection = local_platform.connection()
    body = _nested(depth)
    pieces = (body[at : at + 700] for at in range(0, len(body), 700))
    connection.request("POST", f"/v2/models/{MODEL}/infer", body=pieces, encode_chunked=True,
                       headers={"transfer-encoding": "chunked"})  # fmt: skip
    answer = connection.getresponse()
    assert json.loads(answer.read()).get("code") == code
    assert answer.status == (200 if code is None else 400)


def test_ordinary_nesting_brackets_in_strings_and_gzip_pass(
    local_platform: LocalPlatform, split: TrafficSplit
) -> None:
    """Nested data, a string of a thousand brackets, and a gzip body are answered by the model."""
    path = f"/v2/models/{MODEL}/infer"
    connection = local_platform.connection()
    assert ask(connection, "POST", path, _nested(3), None).status == 200
    assert ask(connection, "POST", path, _nested(200), None).headers["x-conch-model"] == MODEL
    squeezed = ask(
        connection, "POST", path, gzip.compress(_nested(2)), {"content-encoding": "gzip"}
    )
    assert squeezed.version in (1, 2)
    text = {"name": "s", "shape": [1, 1], "datatype": "BYTES", "data": ['\\"' + "[" * 1000]}
    x = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1.0] * 4}
    answer = ask(connection, "POST", path, json.dumps({"inputs": [x, text]}), None)
    assert answer.status == 200
    refused = ask(connection, "POST", path, b"x", {"content-encoding": "deflate"})
    assert (refused.status, refused.json["code"]) == (415, "unsupported-encoding")


def test_binary_tensors_pass_over_http(local_platform: LocalPlatform, split: TrafficSplit) -> None:
    """Tensors after the JSON header may hold any byte, brackets and quotes included."""
    tensor = http_client.InferInput("x", [8, 4], "FP32")
    values = np.frombuffer(b'[{["' * 32, np.float32).reshape(8, 4)
    tensor.set_data_from_numpy(np.array(values), binary_data=True)
    wanted = http_client.InferRequestedOutput("y", binary_data=True)
    with http_client.InferenceServerClient(local_platform.address) as http:
        answer = http.infer(MODEL, [tensor], outputs=[wanted], headers={"x-conch-unit": "u"})
    version = split.arm_of("u").ordinal
    np.testing.assert_array_equal(answer.as_numpy("y"), values * 2 + np.float32(version))


def test_large_tensors_pass_over_grpc(
    split: TrafficSplit, grpc: grpc_client.InferenceServerClient
) -> None:
    """Strings of eight megabytes in all go to Triton and back."""
    tensor = grpc_client.InferInput("s", [8, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[b"z" * 1_000_000]] * 8, object))
    rows = grpc_client.InferInput("x", [8, 4], "FP32")
    rows.set_data_from_numpy(np.ones((8, 4), np.float32))
    answer = grpc.infer(MODEL, [rows, tensor])
    assert [len(row[0]) for row in answer.as_numpy("t")] == [1_000_000] * 8


def test_the_access_log_says_who_served_whom_without_the_unit(
    local_platform: LocalPlatform, split: TrafficSplit, grpc: grpc_client.InferenceServerClient
) -> None:
    """Each request is one JSON line with arm, latency, status and the unit's hash."""
    units = [f"secret-person-{'x' * length}" for length in range(70)]
    for unit in units:
        local_platform.infer(MODEL, unit=unit)
    grpc.infer(MODEL, _grpc_inputs(), headers={"x-conch-unit": "secret-person-grpc"})
    wanted = {xxhash.xxh64_hexdigest(unit.encode()): unit for unit in units}
    wanted[xxhash.xxh64_hexdigest(b"secret-person-grpc")] = "secret-person-grpc"
    path = local_platform.home / "logs" / "access.log"
    deadline = time.monotonic() + 10
    found: dict[str, dict[str, object]] = {}
    while time.monotonic() < deadline and len(found) < len(wanted):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found = {line["unit"]: line for line in lines if line["unit"] in wanted}
        time.sleep(0.05)
    assert found.keys() == wanted.keys()
    assert "secret-person" not in path.read_text()
    for digest, line in found.items():
        arm = split.arm_of(wanted[digest])
        assert line["model"] == MODEL
        assert (line["slot"], line["build"]) == (arm.slot, arm.build_id)
        assert line["ordinal"] == str(arm.ordinal)
        assert line["status"] == 200
        assert line["unit_given"] is True
        assert isinstance(line["latency_us"], int)
        assert line["latency_us"] > 0


def test_the_access_log_says_what_assigned_each_request(
    local_platform: LocalPlatform,
    split: TrafficSplit,
    builds: tuple[BuildRef, BuildRef],
    tmp_path: Path,
) -> None:
    """Release, stage and propensity are those of the decision, also for the callers who left."""
    connection, mine = local_platform.connection(), "assigned"
    stages = [
        split_of(
            MODEL,
            ("b", builds[1], weight),
            ("a", builds[0], 10_000 - weight),
            release="r-7",
            stage=stage,
        )
        for stage, weight in enumerate((3000, 6000))
    ]
    with EventLog(tmp_path) as log:
        reader = AccessLogReader(local_platform.home / "logs" / "access.log", log)
        reader.poll()
        before = log.next_offset
        try:
            for stage in stages:
                local_platform.target.set_routes([stage])
                for number in range(60):
                    local_platform.infer(MODEL, unit=f"{mine}{number}", connection=connection)
            pinned = f"/v2/models/{MODEL}/versions/1/infer"
            local_platform.infer(MODEL, unit=mine, path=pinned, connection=connection)
        finally:
            local_platform.target.set_routes([split])
        until(lambda: reader.poll() is not None and log.next_offset >= before + 121)
        exposures = [s.event for s in log.read(before) if isinstance(s.event, Exposure)]
    hashes = {hash_unit(f"{mine}{number}"): f"{mine}{number}" for number in range(60)}
    assigned = [one for one in exposures if one.release]
    assert [one.release for one in assigned] == ["r-7"] * 120
    assert sum(one.unit_hash == hash_unit(mine) for one in exposures if not one.release) == 1
    for one in assigned:
        arm = stages[one.stage].arm_of(hashes[one.unit_hash])
        assert (one.slot, one.ordinal, one.build_id) == (arm.slot, arm.ordinal, arm.build_id)
        assert one.propensity == arm.weight / 10_000


def test_a_request_id_sent_by_a_client_is_not_believed(
    local_platform: LocalPlatform, split: TrafficSplit
) -> None:
    """Request ids are the gateway's, so that no client can make two requests collide."""
    for _ in range(3):
        local_platform.infer(MODEL, unit="ids", headers={"x-request-id": "mine"})
    path = local_platform.home / "logs" / "access.log"
    assert '"mine"' not in path.read_text()


def test_a_table_that_names_an_unknown_slot_is_rejected(
    local_platform: LocalPlatform, split: TrafficSplit, builds: tuple[BuildRef, BuildRef]
) -> None:
    """The gateway's refusal is an error with its words, and the previous table stays in force."""
    broken = split_of("other", ("z", builds[0], 10_000))
    with pytest.raises(RoutesRejectedError, match="slot-z"):
        local_platform.target.set_routes([split, broken])
    assert local_platform.target.observe().routes == {MODEL: split}
    assert local_platform.infer(MODEL, unit="u1").version == split.arm_of("u1").ordinal
    with pytest.raises(InvalidValueError):
        local_platform.target.set_routes([split, split])
    local_platform.target.set_routes([split])


def test_a_growing_candidate_keeps_its_units(
    local_platform: LocalPlatform, split: TrafficSplit, builds: tuple[BuildRef, BuildRef]
) -> None:
    """A unit once in the candidate stays there while its weight grows."""
    connection = local_platform.connection()
    before: set[str] = set()
    try:
        for weight in (500, 2000, 5000):
            ramp = split_of(MODEL, ("b", builds[1], weight), ("a", builds[0], 10_000 - weight))
            local_platform.target.set_routes([ramp])
            inside = {
                f"u{number}"
                for number in range(200)
                if local_platform.infer(MODEL, unit=f"u{number}", connection=connection).version
                == 2
            }
            assert before <= inside
            before = inside
    finally:
        local_platform.target.set_routes([split])
