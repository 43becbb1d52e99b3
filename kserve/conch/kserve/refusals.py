"""What a profile cannot do, why, and the nearest thing that works.

Kubernetes accepts much that then does nothing. Every rule here turns such a silence, or an error
that would come only from the cluster, into a refusal before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from conch.core import TOTAL_WEIGHT

from .errors import RefusedError
from .profiles import Autoscaler, Environment, Networking, Profile, Traffic
from .versions import KServeVersion
from .workloads import Workload

MOST_ROUTE_RULES: Final = 16
"""Source: Gateway API v1, `HTTPRouteSpec.rules`, `maxItems`."""

_PERCENT: Final = TOTAL_WEIGHT // 100
_OCI_SINCE: Final = {
    "oci+native": KServeVersion.V0_20,
    "oci+fetch": KServeVersion.V0_21,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One thing that a profile cannot do.

    Attributes:
        code: Stable name.
        what: What was asked for.
        reason: Why it cannot be.
        nearest: The nearest thing that works.
    """

    code: str
    what: str
    reason: str
    nearest: str

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form."""
        return asdict(self)


def refuse(profile: Profile, workload: Workload | None = None) -> None:
    """Raise unless the profile can do what is asked.

    Raises:
        RefusedError: With every refusal, not only the first.
    """
    found = refusals(profile, workload)
    if found:
        first = found[0]
        more = f" ({len(found) - 1} more)" if len(found) > 1 else ""
        raise RefusedError(
            f"Profile {profile.name!r} cannot do this: {first.what}, because {first.reason}.{more}",
            hint=first.nearest,
            refusals=[refusal.as_dict() for refusal in found],
        )


def refusals(profile: Profile, workload: Workload | None = None) -> tuple[Refusal, ...]:
    """Return everything that a profile, or a workload on it, asks for in vain."""
    found = list(_of_profile(profile))
    if workload is not None:
        found += _of_traffic(profile, workload)
        found += _of_placement(profile, workload)
        found += _of_storage(profile, workload)
    return tuple(found)


def route_rules(workload: Workload) -> int:
    """Return how many rules a workload's route has: per model, per held version, and one more."""
    held = {(served.model, served.ordinal) for slot in workload.slots for served in slot.models}
    return len(workload.models) + (len(held) if len(workload.slots) > 1 else 0) + 1


def _of_profile(profile: Profile) -> Iterator[Refusal]:
    if profile.knative is not (profile.networking is Networking.KNATIVE):
        yield Refusal(
            code="networking-mode",
            what=f"{profile.networking} networking in {profile.mode} mode",
            reason="Knative mode routes through Knative, and Standard mode never does",
            nearest="Use knative with Knative mode, gateway-api or ingress with Standard mode.",
        )
    if profile.networking is Networking.GATEWAY_API and profile.gateway is None:
        yield Refusal(
            code="gateway-unnamed",
            what="Gateway API without a gateway",
            reason="a route attaches to a gateway by name",
            nearest="Give `gateway` with name, namespace and domain.",
        )
    if profile.knative and profile.autoscaler in (Autoscaler.HPA, Autoscaler.KEDA):
        yield Refusal(
            code="autoscaler-mode",
            what=f"autoscaler {profile.autoscaler} in Knative mode",
            reason="KServe ignores it there: Knative has an autoscaler of its own",
            nearest="Use kpa, or Standard mode.",
        )
    if not profile.knative and profile.autoscaler is Autoscaler.KPA:
        yield Refusal(
            code="autoscaler-mode",
            what="autoscaler kpa in Standard mode",
            reason="it is part of Knative",
            nearest="Use hpa, keda or none.",
        )
    yield from _of_strategy(profile)
    if profile.autoscaler is Autoscaler.KEDA and profile.monitoring is None:
        yield Refusal(
            code="keda-prometheus",
            what="KEDA without a Prometheus",
            reason="it scales by a query that Prometheus answers",
            nearest="Give `monitoring` with prometheus_url, or use hpa.",
        )
    if profile.environment is Environment.PROD and not profile.image.by_digest:
        yield Refusal(
            code="prod-image",
            what=f"the image {profile.image.reference} in prod",
            reason="a tag can be moved, so that two pods of one slot differ",
            nearest="Name the image by digest (@sha256:...).",
        )
    if "conch" in profile.storage.schemes and not profile.storage.conch_image:
        yield Refusal(
            code="conch-image",
            what="conch:// storage without an image that fetches it",
            reason="KServe knows the scheme only through a ClusterStorageContainer",
            nearest="Give `storage.conch_image`, or copy builds to s3, gs or a volume.",
        )
    if "conch" in profile.storage.schemes and not profile.storage.conch_url:
        yield Refusal(
            code="conch-url",
            what="conch:// storage without the control plane's address",
            reason="the container that fetches has to ask it",
            nearest="Give `storage.conch_url` as pods reach it, such as http://conch.conch:8090.",
        )
    for scheme, since in _OCI_SINCE.items():
        if scheme in profile.storage.schemes and not profile.version.at_least(since):
            yield Refusal(
                code="oci-version",
                what=f"{scheme}:// in KServe {profile.version}",
                reason=f"it exists from {since} on, and nothing refuses it before",
                nearest="Use oci, or a newer KServe.",
            )


def _of_strategy(profile: Profile) -> Iterator[Refusal]:
    if profile.knative is not (profile.strategy is Traffic.PERCENT):
        yield Refusal(
            code="traffic-mode",
            what=f"traffic by {profile.strategy} in {profile.mode} mode",
            reason="percentages are Knative's, and it takes nothing else",
            nearest="Leave `traffic` out.",
        )
    if profile.strategy is not Traffic.CANARY:
        return
    if not profile.version.at_least(KServeVersion.V0_21):
        yield Refusal(
            code="traffic-canary-version",
            what=f"traffic by spec.canary in KServe {profile.version}",
            reason="0.20 makes its pods and routes nothing to them, earlier ones do not know it",
            nearest="Use slots.",
        )
    if profile.networking is not Networking.GATEWAY_API:
        yield Refusal(
            code="traffic-canary-network",
            what=f"traffic by spec.canary behind {profile.networking}",
            reason="KServe divides it in its Gateway API route only",
            nearest="Use Gateway API.",
        )
    if profile.autoscaler is Autoscaler.KEDA:
        yield Refusal(
            code="traffic-canary-keda",
            what="KEDA with spec.canary",
            reason="KServe sets the number of a canary's servers itself",
            nearest="Use hpa or none, or slots.",
        )


def _of_traffic(profile: Profile, workload: Workload) -> Iterator[Refusal]:
    rules = route_rules(workload)
    if profile.networking is Networking.GATEWAY_API and rules > MOST_ROUTE_RULES:
        yield Refusal(
            code="route-rules",
            what=f"a route with {rules} rules",
            reason=f"a HTTPRoute has at most {MOST_ROUTE_RULES}: one per model and per version",
            nearest="Divide the models between several workloads.",
        )
    if len(workload.slots) == 1:
        return
    if profile.networking is Networking.INGRESS:
        yield Refusal(
            code="split-ingress",
            what="traffic divided between slots behind a plain Ingress",
            reason="an Ingress has no weights, and KServe sends everything to one service",
            nearest="Use Gateway API, or one slot at a time.",
        )
    if not profile.one_service:
        return
    where = "in Knative mode" if profile.knative else "by spec.canary"
    if profile.knative and len(workload.slots) > 2:
        yield Refusal(
            code="split-knative-slots",
            what=f"{len(workload.slots)} slots in Knative mode",
            reason="one InferenceService divides between its last two revisions only",
            nearest="Use two slots, or Standard mode with Gateway API.",
        )
    shares = {
        tuple(sorted((arm.slot, arm.weight) for arm in split.arms)) for split in workload.splits
    }
    if len(shares) > 1 or len(workload.splits) not in (0, len(workload.models)):
        yield Refusal(
            code="split-models" if not profile.knative else "split-knative-models",
            what=f"models of one server with splits of their own {where}",
            reason="a share counts for all models of a server",
            nearest="Use one workload per model, or Standard mode with Gateway API.",
        )
    for weight in sorted({weight for share in shares for _, weight in share}):
        if weight % _PERCENT:
            yield Refusal(
                code="split-percent" if not profile.knative else "split-knative-percent",
                what=f"a share of {weight / _PERCENT:g} % {where}",
                reason="it divides in whole percents",
                nearest=f"Use {round(weight / _PERCENT)} %, or slots behind Gateway API.",
            )
            return


def _of_placement(profile: Profile, workload: Workload) -> Iterator[Refusal]:
    scaling, resources = workload.scaling, workload.resources
    if scaling.least == 0 and not profile.knative:
        yield Refusal(
            code="scale-to-zero",
            what="scaling to zero in Standard mode",
            reason="an HPA keeps one replica, and without any nothing measures the queue",
            nearest="Use Knative mode, or one replica.",
        )
    if profile.autoscaler is Autoscaler.NONE and scaling.least != scaling.most:
        yield Refusal(
            code="scaling-without-autoscaler",
            what=f"{scaling.least} to {scaling.most} replicas without an autoscaler",
            reason="nothing would ever change the number",
            nearest="Give one number, or an autoscaler.",
        )
    if profile.environment is Environment.PROD and scaling.least < 2:
        yield Refusal(
            code="prod-replicas",
            what=f"{scaling.least} replicas in prod",
            reason="draining its node would interrupt serving, or be blocked for ever",
            nearest="Use 2 replicas or more.",
        )
    if not resources.gpus:
        return
    if not profile.gpus:
        yield Refusal(
            code="gpu-none",
            what=f"{resources.gpus} GPU(s) per server",
            reason="the profile names no GPU",
            nearest="Serve on CPU, or add the cluster's GPUs to the profile.",
        )
    elif resources.gpu_product and profile.gpu(resources.gpu_product) is None:
        yield Refusal(
            code="gpu-unknown",
            what=f"the GPU {resources.gpu_product}",
            reason="the profile does not name it",
            nearest=f"Use one of {', '.join(gpu.name for gpu in profile.gpus)}.",
        )
    elif resources.gpu_product and not profile.feature("nodeselector"):
        yield Refusal(
            code="gpu-knative",
            what=f"choosing {resources.gpu_product} nodes in Knative mode",
            reason="Knative takes a node selector only with kubernetes.podspec-nodeselector",
            nearest="Enable that flag and name it in `knative_features`, or take any GPU.",
        )


def _of_storage(profile: Profile, workload: Workload) -> Iterator[Refusal]:
    schemes = {slot.scheme for slot in workload.slots}
    for scheme in sorted(schemes - profile.storage.schemes):
        yield Refusal(
            code="storage-scheme",
            what=f"models from {scheme}://",
            reason="the profile does not name the scheme, and KServe checks it only in the pod",
            nearest=f"Use one of {', '.join(sorted(profile.storage.schemes))}.",
        )
    if "pvc" in schemes and not profile.feature("persistent-volume-claim"):
        yield Refusal(
            code="pvc-knative",
            what="models from a volume in Knative mode",
            reason="Knative takes it only with kubernetes.podspec-persistent-volume-claim",
            nearest="Enable that flag and name it in `knative_features`, or use an object store.",
        )
