"""Envoy's documents as values: what a route table means, checked by walking it as Envoy does."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch.core import TOTAL_WEIGHT, Arm, Ordinal, SlotName, TrafficSplit, TritonName
from conch.local import LocalSettings
from conch.local.envoy import (
    Endpoint,
    bootstrap,
    clusters,
    endpoints,
    listeners,
    route_configuration,
)

SETTINGS = LocalSettings(slots={"a": 1, "b": 2, "c": 1}, control_address="127.0.0.1:9000")
GRPC = "/inference.GRPCInferenceService"


@st.composite
def splits(draw: st.DrawFn) -> list[TrafficSplit]:
    """Routing tables: models with one to three arms in different slots."""
    names = draw(
        st.lists(st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True), max_size=4, unique=True)
    )
    table = []
    for name in names:
        slots = draw(st.permutations(["a", "b", "c"]))[: draw(st.integers(1, 3))]
        cuts = sorted(
            draw(
                st.lists(
                    st.integers(0, TOTAL_WEIGHT), min_size=len(slots) - 1, max_size=len(slots) - 1
                )
            )
        )
        edges = [0, *cuts, TOTAL_WEIGHT]
        ordinals = draw(
            st.lists(st.integers(1, 99), min_size=len(slots), max_size=len(slots), unique=True)
        )
        arms = tuple(
            Arm(
                slot=SlotName(slot),
                ordinal=Ordinal(ordinal),
                build_id=f"{name}-{ordinal}",
                weight=high - low,
            )
            for slot, ordinal, low, high in zip(slots, ordinals, edges, edges[1:], strict=False)
        )
        salt = draw(st.text(st.sampled_from("azAZ09 -_.:;%$\\{}"), max_size=6))
        table.append(TrafficSplit(model=TritonName(name), arms=arms, salt=salt))
    return table


def _routes(table: list[TrafficSplit]) -> list[dict[str, Any]]:
    document = route_configuration(table, SETTINGS)
    routes: list[dict[str, Any]] = document["resources"][0]["virtual_hosts"][0]["routes"]
    return routes


def _first(
    routes: list[dict[str, Any]], path: str, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return the route that Envoy would take: the first whose every condition holds."""
    for route in routes:
        match = route["match"]
        fits = (
            ("path" in match and path == match["path"])
            or ("prefix" in match and path.startswith(match["prefix"]))
            or (
                "path_separated_prefix" in match
                and (path + "/").startswith(match["path_separated_prefix"] + "/")
            )
            or ("safe_regex" in match and re.fullmatch(match["safe_regex"]["regex"], path))
        )
        if fits and all(_holds(condition, headers or {}) for condition in match.get("headers", ())):
            return route
    raise AssertionError(f"no route for {path}")


def _holds(condition: dict[str, Any], headers: dict[str, str]) -> bool:
    value = headers.get(condition["name"])
    if "present_match" in condition:
        return bool((value is not None) == condition["present_match"])
    return bool(value == condition["string_match"]["exact"])


@given(splits())
def test_each_model_goes_to_its_weighted_slots(table: list[TrafficSplit]) -> None:
    """Over HTTP, gRPC and streams the arms appear in order with their weights and identity."""
    routes = _routes(table)
    for split in table:
        found = [
            ("http", _first(routes, f"/v2/models/{split.model}/infer")),
            ("http", _first(routes, f"/v2/models/{split.model}")),
            ("grpc", _first(routes, f"{GRPC}/ModelInfer", {"x-conch-model": split.model})),
            ("grpc", _first(routes, f"{GRPC}/ModelStreamInfer", {"x-conch-model": split.model})),
        ]
        for protocol, route in found:
            weighted = route["route"]["weighted_clusters"]
            assert weighted["use_hash_policy"] is True
            assert [(one["name"], one["weight"]) for one in weighted["clusters"]] == [
                (f"slot-{arm.slot}--{protocol}", arm.weight) for arm in split.arms
            ]
            for arm, cluster in zip(split.arms, weighted["clusters"], strict=True):
                assert _identity(cluster) == {
                    "x-conch-model": split.model,
                    "x-conch-slot": arm.slot,
                    "x-conch-build": arm.build_id,
                    "x-conch-version": str(arm.ordinal),
                }


def _identity(where: dict[str, Any]) -> dict[str, str]:
    return {
        one["header"]["key"]: one["header"]["value"] for one in where["response_headers_to_add"]
    }


@given(splits(), st.integers(1, 120))
def test_a_version_goes_to_the_slot_that_holds_it_or_nowhere(
    table: list[TrafficSplit], version: int
) -> None:
    """A pinned version never falls back to another one."""
    routes = _routes(table)
    for split in table:
        held = {int(arm.ordinal): arm.slot for arm in split.arms}
        headers = {"x-conch-model": str(split.model), "x-conch-version": str(version)}
        pinned = [
            ("http", _first(routes, f"/v2/models/{split.model}/versions/{version}/infer")),
            ("grpc", _first(routes, f"{GRPC}/ModelInfer", headers)),
            ("grpc", _first(routes, f"{GRPC}/ModelStreamInfer", headers)),
        ]
        for protocol, route in pinned:
            if version in held:
                assert route["route"]["cluster"] == f"slot-{held[version]}--{protocol}"
            else:
                assert route["direct_response"]["status"] == 404
                body = route["direct_response"]["body"]["inline_string"]
                assert "version-not-served" in body


@given(splits(), st.from_regex(r"[a-z]{1,12}", fullmatch=True))
def test_models_without_a_split_are_refused(table: list[TrafficSplit], name: str) -> None:
    """No prefix of a name, and no other name, reaches a server."""
    routes = _routes(table)
    if name in {split.model for split in table}:
        return
    assert _first(routes, f"/v2/models/{name}/infer")["direct_response"]["status"] == 404
    route = _first(routes, f"{GRPC}/ModelInfer", {"x-conch-model": name})
    assert route["direct_response"]["status"] == 404
    assert {
        one["header"]["key"]: one["header"]["value"] for one in route["response_headers_to_add"]
    }["grpc-status"] == "5"


@given(splits())
def test_server_control_is_closed_whatever_is_served(table: list[TrafficSplit]) -> None:
    """No table opens repository, shared memory, trace or log endpoints."""
    routes = _routes(table)
    for path in (
        "/v2/repository/index",
        "/v2/systemsharedmemory/status",
        "/v2/cudasharedmemory/region/r/register",
        "/v2/trace/setting",
        "/v2/logging",
        *(f"/v2/models/{split.model}/trace/setting" for split in table),
        f"{GRPC}/RepositoryModelLoad",
        f"{GRPC}/LogSettings",
    ):
        forged = {"x-conch-model": str(table[0].model)} if table else {}
        assert _first(routes, path, forged)["direct_response"]["status"] == 403


@given(splits())
def test_equal_tables_have_equal_versions(table: list[TrafficSplit]) -> None:
    """The version depends on the table, not on its order; another salt is another version."""
    version = route_configuration(table, SETTINGS)["version_info"]
    assert route_configuration(table[::-1], SETTINGS)["version_info"] == version
    for split in table:
        salted = TrafficSplit(model=split.model, arms=split.arms, salt=split.salt + "x")
        others = [one for one in table if one is not split]
        assert route_configuration([*others, salted], SETTINGS)["version_info"] != version


def test_only_what_a_release_divides_carries_its_assignment() -> None:
    """The route that a release divides names release, stage and arms; pinned ones name nothing."""
    arms = tuple(
        Arm(slot=SlotName(slot), ordinal=Ordinal(number), build_id=f"b{number}", weight=weight)
        for slot, number, weight in (("b", 2, 500), ("a", 1, 9500))
    )
    split = TrafficSplit(model=TritonName("m"), arms=arms, salt="s", release="r-1", stage=3)
    plain = TrafficSplit(model=TritonName("n"), arms=arms, salt="s")
    for path, headers in (
        ("/v2/models/m/infer", {}),
        (f"{GRPC}/ModelInfer", {"x-conch-model": "m"}),
    ):
        found = _first(_routes([split, plain]), path, headers)["metadata"]["filter_metadata"]
        assert found["conch"] == {
            "release": "r-1",
            "stage": 3,
            "model": "m",
            "arms": {
                "b": {"weight": 500, "ordinal": 2, "build": "b2"},
                "a": {"weight": 9500, "ordinal": 1, "build": "b1"},
            },
        }
    for path in ("/v2/models/m/versions/2/infer", "/v2/models/n/infer"):
        assert "metadata" not in _first(_routes([split, plain]), path)


@given(splits())
def test_every_cluster_of_a_route_exists(table: list[TrafficSplit]) -> None:
    """A route names only clusters that the cluster document defines."""
    known = {one["name"] for one in clusters(SETTINGS)["resources"]}
    for route in _routes(table):
        action = route.get("route", {})
        weighted = action.get("weighted_clusters", {}).get("clusters", [])
        named = {one["name"] for one in weighted}
        if "cluster" in action:
            named.add(action["cluster"])
        assert named <= known


def test_the_friendly_api_is_routed_only_where_there_is_one() -> None:
    """`/v1/` goes to the control address; without one it is a 404."""
    assert _first(_routes([]), "/v1/models/m/predict")["route"]["cluster"] == "control"
    alone = route_configuration([], LocalSettings())
    routes = alone["resources"][0]["virtual_hosts"][0]["routes"]
    assert _first(routes, "/v1/models/m/predict")["direct_response"]["status"] == 404
    assert "control" not in {one["name"] for one in clusters(LocalSettings())["resources"]}


def test_streaming_can_be_closed() -> None:
    """Without streaming, `ModelStreamInfer` reaches nobody, even with metadata."""
    arm = Arm(slot=SlotName("a"), ordinal=Ordinal(1), build_id="b", weight=TOTAL_WEIGHT)
    split = TrafficSplit(model=TritonName("m"), arms=(arm,), salt="s")
    document = route_configuration([split], LocalSettings(streaming=False))
    routes = document["resources"][0]["virtual_hosts"][0]["routes"]
    route = _first(routes, f"{GRPC}/ModelStreamInfer", {"x-conch-model": "m"})
    assert route["direct_response"]["status"] == 403


def test_endpoints_are_one_file_for_each_cluster() -> None:
    """Every cluster of servers has its file; gRPC endpoints are checked on the HTTP port."""
    tried = Endpoint(http_port=1, grpc_port=2, on_trial=True)
    in_service = {SlotName("a"): [tried, Endpoint(http_port=3, grpc_port=4)], SlotName("b"): []}
    found = endpoints(in_service)
    assert found.keys() == {
        f"{name}--{protocol}"
        for name in ("slot-a", "slot-a--trial", "slot-b", "slot-b--trial", "any")
        for protocol in ("http", "grpc")
    }
    assert all(len(document["resources"]) == 1 for document in found.values())
    members = found["slot-a--grpc"]["resources"][0]["endpoints"][0]["lb_endpoints"]
    assert members[0]["endpoint"]["address"]["socket_address"]["port_value"] == 2
    assert members[0]["endpoint"]["health_check_config"] == {"port_value": 1}
    assert found["slot-b--http"]["resources"][0]["endpoints"] == [{"lb_endpoints": []}]
    on_trial = found["slot-a--trial--grpc"]["resources"][0]["endpoints"][0]["lb_endpoints"]
    assert on_trial == members[:1]


def test_an_unreachable_server_is_avoided_and_a_removed_one_let_go() -> None:
    """Cluster options that keep `kill -9` and draining from losing requests are all set."""
    servers = [one for one in clusters(LocalSettings())["resources"] if one["type"] == "EDS"]
    assert len(servers) >= 4
    for cluster in servers:
        assert cluster["ignore_health_on_host_removal"] is True
        assert cluster["common_lb_config"]["healthy_panic_threshold"] == {"value": 0}
        assert cluster["health_checks"][0]["no_traffic_interval"] == "0.5s"
        assert "retry_budget" in cluster["circuit_breakers"]["thresholds"][0]


SENT_AGAIN = [
    {
        "header": {"key": "x-envoy-retry-on", "value": "reset"},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
]


@pytest.mark.parametrize("resets", [True, False])
def test_only_what_is_baked_is_sent_again_after_a_reset(resets: bool) -> None:
    """Each arm says so for itself, weighted and pinned; stateful models can turn it off for all."""
    arms = (
        Arm(slot=SlotName("b"), ordinal=Ordinal(2), build_id="n", weight=1000, baked=False),
        Arm(slot=SlotName("a"), ordinal=Ordinal(1), build_id="o", weight=9000),
    )
    split = TrafficSplit(model=TritonName("m"), arms=arms, salt="s")
    document = route_configuration([split], LocalSettings(retry_resets=resets))
    host = document["resources"][0]["virtual_hosts"][0]
    policy = host["retry_policy"]
    safe = ["connect-failure", "refused-stream", "reset-before-request"]
    assert policy["retry_on"].split(",") == safe
    assert policy["num_retries"] == 1
    routes: list[dict[str, Any]] = host["routes"]
    weighted = _first(routes, "/v2/models/m/infer")["route"]["weighted_clusters"]["clusters"]
    pinned = [_first(routes, f"/v2/models/m/versions/{n}/infer") for n in (2, 1)]
    for places in (weighted, pinned):
        candidate, baked = (place.get("request_headers_to_add") for place in places)
        assert candidate is None
        assert baked == (SENT_AGAIN if resets else None)


@pytest.mark.parametrize(
    ("weight", "baked", "replicas", "cluster"),
    [
        (1000, False, 2, "slot-b--trial--http"),
        (5000, False, 2, "slot-b--trial--http"),
        (5001, False, 2, "slot-b--http"),
        (1000, True, 2, "slot-b--http"),
        (1000, False, 1, "slot-b--http"),
    ],
)
def test_what_is_on_trial_reaches_half_of_the_servers(
    weight: int, baked: bool, replicas: int, cluster: str
) -> None:
    """With at most half of the traffic, where the slot has servers to spare."""
    arms = (
        Arm(slot=SlotName("b"), ordinal=Ordinal(2), build_id="n", weight=weight, baked=baked),
        Arm(slot=SlotName("a"), ordinal=Ordinal(1), build_id="o", weight=10_000 - weight),
    )
    split = TrafficSplit(model=TritonName("m"), arms=arms, salt="s")
    settings = LocalSettings(slots={"a": replicas, "b": replicas})
    host = route_configuration([split], settings)["resources"][0]["virtual_hosts"][0]
    found = _first(host["routes"], "/v2/models/m/infer")["route"]["weighted_clusters"]["clusters"]
    assert [one["name"] for one in found] == [cluster, "slot-a--http"]
    pinned = _first(host["routes"], "/v2/models/m/versions/2/infer")["route"]["cluster"]
    assert pinned == cluster
    assert cluster in {one["name"] for one in clusters(settings)["resources"]}


def test_the_listener_normalises_paths_and_limits_bodies() -> None:
    """All three path settings are on; the size limit comes before everything that reads bodies."""
    document = listeners(LocalSettings(max_request_bytes=4096), port=1234, access_log="/log")
    listener = document["resources"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["normalize_path"] is True
    assert manager["merge_slashes"] is True
    assert manager["path_with_escaped_slashes_action"] == "REJECT_REQUEST"
    assert manager["use_remote_address"] is True
    names = [one["name"].rpartition(".")[2] for one in manager["http_filters"]]
    assert names == ["decompressor", "buffer", "lua", "ext_proc", "router"]
    assert manager["http_filters"][1]["typed_config"]["max_request_bytes"] == 4096
    assert listener["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 1234}


def test_the_admin_interface_is_a_private_socket() -> None:
    """Only this user can reach Envoy's admin interface."""
    pipe = bootstrap()["admin"]["address"]["pipe"]
    assert pipe == {"path": "admin.sock", "mode": 0o600}


def test_documents_are_json() -> None:
    """Every document survives a trip through JSON unchanged."""
    for document in (
        bootstrap(),
        clusters(SETTINGS),
        listeners(SETTINGS, port=1, access_log="/log"),
        route_configuration([], SETTINGS),
    ):
        assert json.loads(json.dumps(document)) == document
