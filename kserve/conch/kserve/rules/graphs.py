"""InferenceGraph: what its validating webhook refuses, and what its router cannot follow.

Source: `pkg/apis/serving/v1alpha1/inference_graph_validation.go` of kserve/kserve.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from ..structural import Path
from .reading import Fields, fields, integer, items, text
from .subjects import Hit, Source, Subject, refused

_TARGETS: Final = ("nodeName", "serviceName", "serviceUrl")


def _root(subject: Subject) -> Iterator[Hit]:
    if "root" not in fields(subject.get("spec", "nodes")):
        yield Hit(path=("spec", "nodes"), message="has no node named root", fix="Add root.")


def _target(subject: Subject) -> Iterator[Hit]:
    for path, _, steps in _nodes(subject):
        for index, step in enumerate(steps):
            found = [name for name in _TARGETS if text(step.get(name))]
            if len(found) != 1:
                yield Hit(
                    path=(*path, "steps", index),
                    message=f"has {len(found)} targets",
                    fix=f"Give exactly one of {', '.join(_TARGETS)}.",
                )


def _step_name(subject: Subject) -> Iterator[Hit]:
    for path, _, steps in _nodes(subject):
        counts = Counter(text(step.get("name")) for step in steps)
        for name, count in counts.items():
            if name and count > 1:
                yield Hit(path=(*path, "steps"), message=f"has {count} steps named {name!r}")


def _weights(subject: Subject) -> Iterator[Hit]:
    for path, node, steps in _nodes(subject):
        if node.get("routerType") != "Splitter":
            continue
        weights = [integer(step.get("weight")) for step in steps]
        for index, weight in enumerate(weights):
            if weight is None:
                yield Hit(path=(*path, "steps", index, "weight"), message="is missing")
        total = sum(weight or 0 for weight in weights)
        if None not in weights and total != 100:
            yield Hit(
                path=(*path, "steps"),
                message=f"has weights that add up to {total}",
                fix="Make them add up to 100.",
            )


def _missing_node(subject: Subject) -> Iterator[Hit]:
    names = fields(subject.get("spec", "nodes"))
    for path, _, steps in _nodes(subject):
        for index, step in enumerate(steps):
            name = text(step.get("nodeName"))
            if name and name not in names:
                yield Hit(
                    path=(*path, "steps", index, "nodeName"),
                    message=f"is {name!r}, which is no node of this graph",
                )


def _cycle(subject: Subject) -> Iterator[Hit]:
    nodes = {str(path[-1]): steps for path, _, steps in _nodes(subject)}
    after = {
        name: {text(step.get("nodeName")) for step in steps} & nodes.keys()
        for name, steps in nodes.items()
    }
    for name in nodes:
        reached: set[str] = set()
        frontier = set(after[name])
        while frontier:
            reached |= frontier
            frontier = {far for near in frontier for far in after[near]} - reached
        if name in reached:
            yield Hit(path=("spec", "nodes", name), message="leads back to itself")


def _nodes(subject: Subject) -> Iterator[tuple[Path, Fields, list[Fields]]]:
    for name, node in fields(subject.get("spec", "nodes")).items():
        body = fields(node)
        yield ("spec", "nodes", name), body, [fields(step) for step in items(body.get("steps"))]


_GRAPH: Final = ("InferenceGraph",)

RULES: Final = (
    refused("graph-root", "No node is named root.", _root, kinds=_GRAPH),
    refused("graph-target", "A step has no target, or more than one.", _target, kinds=_GRAPH),
    refused("graph-step-name", "Two steps of a node share a name.", _step_name, kinds=_GRAPH),
    refused(
        "graph-weights",
        "A Splitter's weights are missing or do not add up to 100.",
        _weights,
        kinds=_GRAPH,
    ),
    refused(
        "graph-missing-node",
        "A step names a node that is not there.",
        _missing_node,
        kinds=_GRAPH,
        source=Source.CONTROLLER,
    ),
    refused(
        "graph-cycle",
        "A node leads back to itself.",
        _cycle,
        kinds=_GRAPH,
        source=Source.CONTROLLER,
    ),
)
