"""Two versions of a model side by side: pure functions of what is known of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from conch.core import SemanticVersion, Signature, breaks_callers, next_version

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What is known of one version.

    Attributes:
        version: The registry's integer.
        status: See `VersionView`.
        semantic_version: What its build was given; None where there is none.
        signature: What its build takes and returns; None likewise.
        graph_digest: SHA-256 of the graph's structure; empty likewise.
        weights: Tensors of the graph by name, as `{"dtype", "shape", "digest"}`; None where the
            build holds no graph that can be read.
        metrics: The run's.
        params: The run's; None where the registry does not say.
        datasets: The run's data sets as `{"name", "digest", "context"}`; None likewise.
        size_bytes: Of the registered model's files.
        variants: Times by variant, see `Manifest.variants`.
        report: The verification report's `verification`; None where there is none.
    """

    version: int
    status: str
    semantic_version: str | None
    signature: Signature | None
    graph_digest: str
    weights: Mapping[str, Json] | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] | None = None
    datasets: tuple[Json, ...] | None = None
    size_bytes: int | None = None
    variants: tuple[Json, ...] = ()
    report: Json | None = None


def version_diff(old: Side, new: Side) -> Json:
    """Return what differs, aspect by aspect; null where a side does not say.

    `pairs` are `{"name", "old", "new"}`, of names whose values differ.
    """
    return {
        "old": old.version,
        "new": new.version,
        "status": [old.status, new.status],
        "signature": _signature(old.signature, new.signature),
        "semantic_version": _semantic(old, new),
        "parameters": _parameters(old.weights, new.weights),
        "data": {
            "params": _pairs(old.params, new.params),
            "datasets": _pairs(_datasets(old.datasets), _datasets(new.datasets)),
        },
        "metrics": [
            {**pair, "change": _change(pair["old"], pair["new"])}
            for pair in _pairs(old.metrics, new.metrics) or []
        ],
        "size_bytes": {"old": old.size_bytes, "new": new.size_bytes},
        "latency_us": _latency(old.variants, new.variants),
        "verification": {"old": _verified(old.report), "new": _verified(new.report)},
    }


def _signature(old: Signature | None, new: Signature | None) -> Json | None:
    if old is None or new is None:
        return None
    before, after = old.as_dict(), new.as_dict()
    changes: list[Json] = []
    for side in ("inputs", "outputs"):
        one = {tensor["name"]: tensor for tensor in before[side]}
        other = {tensor["name"]: tensor for tensor in after[side]}
        for name in sorted(one.keys() | other.keys()):
            if one.get(name) != other.get(name):
                changes.append(
                    {
                        "name": f"{side[:-1]} {name}",
                        "old": _tensor(one.get(name)),
                        "new": _tensor(other.get(name)),
                    }
                )
    if before["batched"] != after["batched"]:
        changes.append({"name": "batched", "old": before["batched"], "new": after["batched"]})
    return {
        "same": not changes,
        "breaks_callers": breaks_callers(old, new),
        "changes": changes,
    }


def _tensor(value: Mapping[str, Any] | None) -> str | None:
    if value is None:
        return None
    return f"{value['dtype']} {value['shape']}" + (" optional" if value["optional"] else "")


def _semantic(old: Side, new: Side) -> Json:
    found: Json = {"old": old.semantic_version, "new": new.semantic_version}
    if old.signature is None or new.signature is None or old.semantic_version is None:
        return {**found, "follows": None, "because": None}
    same = bool(old.graph_digest) and old.graph_digest == new.graph_digest
    before = SemanticVersion.parse(old.semantic_version)
    follows = next_version(before, before=old.signature, after=new.signature, same_graph=same)
    if follows.major > before.major:
        because = "callers of the old version could break"
    elif follows.minor > before.minor:
        because = "the signature only gained something" if same else "the graph is another"
    else:
        because = "only weights changed"
    return {**found, "follows": str(follows), "because": because}


def _parameters(old: Mapping[str, Json] | None, new: Mapping[str, Json] | None) -> Json | None:
    if old is None or new is None:
        return None
    both = sorted(old.keys() & new.keys())
    reshaped = [n for n in both if (old[n]["shape"], old[n]["dtype"]) != _form(new[n])]
    return {
        "old_count": sum(_count(one["shape"]) for one in old.values()),
        "new_count": sum(_count(one["shape"]) for one in new.values()),
        "old_tensors": len(old),
        "new_tensors": len(new),
        "added": [_named(name, new[name]) for name in sorted(new.keys() - old.keys())],
        "removed": [_named(name, old[name]) for name in sorted(old.keys() - new.keys())],
        "reshaped": [
            {"name": name, "old": _shape(old[name]), "new": _shape(new[name])} for name in reshaped
        ],
        "changed": [
            name
            for name in both
            if name not in reshaped and old[name]["digest"] != new[name]["digest"]
        ],
    }


def _form(one: Json) -> tuple[Any, Any]:
    return one["shape"], one["dtype"]


def _named(name: str, one: Json) -> str:
    return f"{name} {_shape(one)}"


def _shape(one: Json) -> str:
    return f"{one['dtype']} {one['shape']}"


def _count(shape: list[int]) -> int:
    found = 1
    for size in shape:
        found *= size
    return found


def _pairs(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> list[Json] | None:
    if old is None or new is None:
        return None
    return [
        {"name": name, "old": old.get(name), "new": new.get(name)}
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _datasets(found: tuple[Json, ...] | None) -> dict[str, str] | None:
    if found is None:
        return None
    return {f"{one['name']} ({one['context'] or 'no context'})": one["digest"] for one in found}


def _change(old: Any, new: Any) -> float | None:
    return None if old is None or new is None else round(new - old, 12)


def _latency(old: tuple[Json, ...], new: tuple[Json, ...]) -> Json:
    return {"old": _served(old), "new": _served(new)}


def _served(variants: tuple[Json, ...]) -> Json | None:
    """The measured times of what serves."""
    for one in variants:
        if one.get("serves"):
            return {"variant": one["name"], "times_us": one["times_us"]}
    return None


def _verified(report: Json | None) -> Json | None:
    if report is None:
        return None
    outputs = report["outputs"]
    return {
        "rows": report["rows"],
        "strong": report["strong"],
        "weaknesses": list(report["weaknesses"]),
        "largest_difference": max((one["max_abs"] for one in outputs), default=0.0),
        "label_agreement": min(
            (one["label_agreement"] for one in outputs if one["label_agreement"] is not None),
            default=None,
        ),
    }
