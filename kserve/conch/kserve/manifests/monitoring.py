"""Scraping Triton's metrics and alerting on them, for the Prometheus Operator.

Metric names: Triton user guide, "Metrics" (`nv_inference_*`). All are counters per model and
version, so that sums come before quotients.
"""

from __future__ import annotations

from ..profiles import Profile
from ..workloads import Slot, Workload
from .autoscaling import queue_query, queue_target_us, selector
from .objects import METRICS_PORT, SERVICE_LABEL, Manifest, metadata, service_name


def monitor(profile: Profile, workload: Workload, slot: Slot) -> Manifest:
    """Return what makes Prometheus scrape a slot's servers.

    In Standard mode that is a ServiceMonitor on KServe's Service. Knative's Services lead to its
    proxies and a Knative container declares one port, so that there a PodMonitor finds the pods
    and rewrites the port.
    """
    assert profile.monitoring is not None
    service = service_name(profile, workload, slot)
    chosen = {"matchLabels": {SERVICE_LABEL: service}}
    endpoint: Manifest = {
        "path": "/metrics",
        "interval": f"{profile.monitoring.interval_s}s",
    }
    meta = metadata(profile, workload, service, slot=slot, labels=profile.monitoring.labels)
    common = {"selector": chosen, "podTargetLabels": [SERVICE_LABEL]}
    if profile.knative:
        endpoint["port"] = "user-port"
        endpoint["relabelings"] = [
            {
                "sourceLabels": ["__meta_kubernetes_pod_ip"],
                "targetLabel": "__address__",
                "replacement": f"$1:{METRICS_PORT}",
            }
        ]
        spec = {**common, "podMetricsEndpoints": [endpoint]}
        kind = "PodMonitor"
    else:
        endpoint["port"] = "metrics"
        spec = {**common, "endpoints": [endpoint]}
        kind = "ServiceMonitor"
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": kind,
        "metadata": meta,
        "spec": spec,
    }


def prometheus_rule(profile: Profile, workload: Workload, slots: tuple[Slot, ...]) -> Manifest:
    """Return the alerts of a workload, one group per slot."""
    assert profile.monitoring is not None
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": metadata(profile, workload, workload.name, labels=profile.monitoring.labels),
        "spec": {"groups": [_group(profile, workload, slot) for slot in slots]},
    }


def _group(profile: Profile, workload: Workload, slot: Slot) -> Manifest:
    service = service_name(profile, workload, slot)
    chosen = selector(workload, service)
    failed = f"sum(rate(nv_inference_request_failure{chosen}[5m]))"
    served = f"sum(rate(nv_inference_request_success{chosen}[5m]))"
    target = queue_target_us(workload, slot)
    rules = [
        _alert(
            "ConchServersGone",
            f"absent(nv_inference_request_success{chosen})",
            "5m",
            "critical",
            f"No server of {service} reports metrics",
        ),
        _alert(
            "ConchRequestsFail",
            f"{failed} / clamp_min({failed} + {served}, 0.001) > 0.01",
            "5m",
            "critical",
            f"More than 1 % of the requests to {service} fail",
        ),
        _alert(
            "ConchQueueGrows",
            f"{queue_query(workload, service)} > {4 * target}",
            "10m",
            "warning",
            f"Requests to {service} wait four times longer than planned ({target} us)",
        ),
    ]
    if workload.scaling.least == 0:
        rules = rules[1:]  # no server is a state that scaling to zero intends
    return {"name": f"conch-{service}", "rules": rules}


def _alert(name: str, expression: str, wait: str, severity: str, summary: str) -> Manifest:
    return {
        "alert": name,
        "expr": expression,
        "for": wait,
        "labels": {"severity": severity},
        "annotations": {"summary": summary},
    }
