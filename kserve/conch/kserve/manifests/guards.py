"""What surrounds the servers: an account, a network policy, a disruption budget."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ..profiles import Profile
from ..workloads import Slot, Workload
from .objects import (
    GRPC_PORT,
    HTTP_PORT,
    METRICS_PORT,
    SERVICE_LABEL,
    Manifest,
    metadata,
    service_name,
)

_NAMESPACE: Final = "kubernetes.io/metadata.name"
_KNATIVE: Final = "knative-serving"
_QUEUE_PROXY: Final = (8012, 8013, 8112, 9090, 9091)
"""Ports of Knative's queue proxy: HTTP/1, HTTP/2, TLS, and the two that its autoscaler reads."""
_AGENT_PORT: Final = 9081
"""Of KServe's agent, which a Service in Standard mode targets where there is a logger (KServe:
`InferenceServiceDefaultAgentPort`)."""


def service_account(profile: Profile, workload: Workload) -> Manifest:
    """Return the account of a workload's pods: it reads models and nothing else."""
    account: Manifest = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(
            profile, workload, workload.name, annotations=profile.storage.identity
        ),
        "automountServiceAccountToken": False,
    }
    if profile.storage.secret:
        account["secrets"] = [{"name": profile.storage.secret}]
    return account


def network_policy(profile: Profile, workload: Workload) -> Manifest:
    """Return the policy: callers reach the inference ports, Prometheus the metrics, no one else.

    Outwards, pods resolve names and fetch models, from conch too where a slot's come from there.
    Where the profile says so they tell conch what was asked and answered. A server that runs a
    model of yours opens no other connection.
    """
    callers = sorted({workload.namespace, *profile.ingress_namespaces, *_gateways(profile)})
    serving = _QUEUE_PROXY if profile.knative else _serving_ports(profile)
    ingress = [{"from": [_namespace(name) for name in callers], "ports": _ports(serving)}]
    if profile.monitoring is not None:
        ingress.append(
            {"from": [_namespace(profile.monitoring.namespace)], "ports": _ports([METRICS_PORT])}
        )
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(profile, workload, workload.name),
        "spec": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/part-of": workload.name}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": list(_egress(profile, workload)),
        },
    }


def disruption_budget(profile: Profile, workload: Workload, slot: Slot) -> Manifest:
    """Return the budget of a slot: a drain takes one server at a time."""
    service = service_name(profile, workload, slot)
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(profile, workload, service, slot=slot),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": {SERVICE_LABEL: service}},
        },
    }


def _egress(profile: Profile, workload: Workload) -> Iterator[Manifest]:
    storage = profile.storage
    yield {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
    if storage.ports:  # an empty list would open every port
        yield {"ports": _ports(storage.ports)}
    if storage.conch_port is not None and any(slot.scheme == "conch" for slot in workload.slots):
        to = {"to": [_namespace(storage.conch_namespace)]} if storage.conch_namespace else {}
        yield {**to, "ports": _ports([storage.conch_port])}
    if profile.payloads is not None:
        yield {"ports": _ports([profile.payloads.port])}


def _serving_ports(profile: Profile) -> tuple[int, ...]:
    """Return where requests arrive; with a payload logger, HTTP first reaches KServe's agent."""
    return (_AGENT_PORT if profile.payloads else HTTP_PORT, GRPC_PORT)


def _gateways(profile: Profile) -> Iterable[str]:
    if profile.gateway is not None:
        yield profile.gateway.namespace
    if profile.knative:
        yield _KNATIVE


def _namespace(namespace: str) -> Manifest:
    return {"namespaceSelector": {"matchLabels": {_NAMESPACE: namespace}}}


def _ports(numbers: Iterable[int]) -> list[Manifest]:
    return [{"port": number, "protocol": "TCP"} for number in numbers]
