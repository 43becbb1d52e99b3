"""A workload on a profile as files: deterministic YAML and the kustomization that lists it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import yaml

from ..profiles import Autoscaler, Environment, Networking, Profile
from ..refusals import refuse
from ..workloads import Workload
from .autoscaling import scaled_object
from .guards import disruption_budget, network_policy, service_account
from .inference_services import inference_service
from .monitoring import monitor, prometheus_rule
from .objects import Manifest, rendered_slots
from .routes import http_route
from .serving_runtimes import serving_runtime
from .storage import storage_container

KUSTOMIZATION: Final = "kustomization.yaml"


def render(profile: Profile, workload: Workload) -> Mapping[str, str]:
    """Return the manifests of a workload by file name; equal arguments give equal text.

    Raises:
        RefusedError: The profile cannot do what the workload asks for.
    """
    objects = manifests(profile, workload)
    files = {name: as_yaml(body) for name, body in sorted(objects.items())}
    files[KUSTOMIZATION] = as_yaml(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": sorted(objects),
        }
    )
    return MappingProxyType(files)


def manifests(profile: Profile, workload: Workload) -> dict[str, Manifest]:
    """Return the objects of a workload by file name.

    Raises:
        RefusedError: The profile cannot do what the workload asks for.
    """
    refuse(profile, workload)
    slots = rendered_slots(profile, workload)
    found: dict[str, Manifest] = {
        "serving-runtime.yaml": serving_runtime(profile, workload),
        "service-account.yaml": service_account(profile, workload),
        "network-policy.yaml": network_policy(profile, workload),
    }
    for slot in slots:
        found[f"inference-service-{slot.slot}.yaml"] = inference_service(profile, workload, slot)
        if _needs_budget(profile, workload):
            found[f"disruption-budget-{slot.slot}.yaml"] = disruption_budget(
                profile, workload, slot
            )
        if profile.autoscaler is Autoscaler.KEDA:
            found[f"scaled-object-{slot.slot}.yaml"] = scaled_object(profile, workload, slot)
        if profile.monitoring is not None:
            found[f"monitor-{slot.slot}.yaml"] = monitor(profile, workload, slot)
    if profile.monitoring is not None:
        found["prometheus-rule.yaml"] = prometheus_rule(profile, workload, slots)
    if profile.networking is Networking.GATEWAY_API and not profile.one_service:
        found["http-route.yaml"] = http_route(profile, workload)
    if any(slot.scheme == "conch" for slot in slots):
        found["storage-container.yaml"] = storage_container(profile)
    return found


def as_yaml(body: Manifest) -> str:
    """Return an object as YAML text in the order in which it was built."""
    return yaml.dump(
        body,
        Dumper=_Plain,
        sort_keys=False,
        default_flow_style=False,
        width=100,
        allow_unicode=True,
    )


class _Plain(yaml.SafeDumper):
    """Writes repeated values out instead of as anchors, and list items below their key."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _needs_budget(profile: Profile, workload: Workload) -> bool:
    """A budget over a single server would block every drain; dev clusters drain as they like."""
    return profile.environment is not Environment.DEV and workload.scaling.least > 1
