"""How two versions of a model are shown side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .printing import facts, table, words

_FEW = 12


def shown_diff(found: Mapping[str, Any]) -> list[Any]:
    """Return what `conch models diff` prints: one table, and what follows from it."""
    old, new = f"version {found['old']}", f"version {found['new']}"
    rows = [
        ("status", *found["status"]),
        ("semantic version", found["semantic_version"]["old"], found["semantic_version"]["new"]),
        *_signature(found["signature"]),
        *_parameters(found["parameters"]),
        *_pairs("data set", found["data"]["datasets"]),
        *_pairs("parameter", found["data"]["params"]),
        *_pairs("metric", found["metrics"]),
        ("size in bytes", found["size_bytes"]["old"], found["size_bytes"]["new"]),
        *_latency(found["latency_us"]["old"], found["latency_us"]["new"]),
        *_verification(found["verification"]["old"], found["verification"]["new"]),
    ]
    semantic = found["semantic_version"]
    follows = (
        f"{semantic['follows']}: {semantic['because']}" if semantic["follows"] else "not both built"
    )
    return [
        facts((("model", found["model"]),)),
        "",
        table(("", old, new), ([_line(cell) for cell in row] for row in rows)),
        "",
        facts((("what follows version " + str(found["old"]), follows),)),
    ]


Row = tuple[Any, Any, Any]


def _signature(found: Mapping[str, Any] | None) -> Iterable[Row]:
    if found is None:
        return [("signature", None, None)]
    if found["same"]:
        return [("signature", "the same", "the same")]
    rows = [(one["name"], one["old"], one["new"]) for one in found["changes"]]
    breaks = "breaks callers" if found["breaks_callers"] else "breaks no caller"
    return [("signature", "", breaks), *rows]


def _parameters(found: Mapping[str, Any] | None) -> Iterable[Row]:
    if found is None:
        return [("weights", None, None)]
    rows: list[Row] = [("weights", found["old_count"], found["new_count"])]
    rows += [(f"  {one['name']}", one["old"], one["new"]) for one in found["reshaped"][:_FEW]]
    rows += [("  gone", one, "") for one in found["removed"][:_FEW]]
    rows += [("  added", "", one) for one in found["added"][:_FEW]]
    if found["changed"]:
        rows.append(("  other values", "", f"{len(found['changed'])} tensor(s)"))
    return rows


def _pairs(what: str, found: list[dict[str, Any]] | None) -> Iterable[Row]:
    if found is None:
        return [(f"{what}s", None, None)]
    return [(f"{what} {one['name']}", one["old"], one["new"]) for one in found]


def _latency(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Iterable[Row]:
    before, after = (one or {} for one in (old, new))
    rows: list[Row] = [("variant", before.get("variant"), after.get("variant"))]
    times = [one.get("times_us") or {} for one in (before, after)]
    for size in sorted(times[0].keys() | times[1].keys(), key=int):
        rows.append((f"  us at batch {size}", times[0].get(size), times[1].get(size)))
    return rows


def _verification(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Iterable[Row]:
    before, after = (one or {} for one in (old, new))
    evidence = [
        None if "strong" not in one else "strong" if one["strong"] else "weak"
        for one in (before, after)
    ]
    return [
        ("rows compared", before.get("rows"), after.get("rows")),
        ("evidence", evidence[0], evidence[1]),
        (
            "largest difference",
            before.get("largest_difference"),
            after.get("largest_difference"),
        ),
        ("labels that agree", before.get("label_agreement"), after.get("label_agreement")),
    ]


def _line(cell: Any) -> str:
    return words(cell)
