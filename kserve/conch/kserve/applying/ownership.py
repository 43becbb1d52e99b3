"""Which objects are conch's, and what it last meant them to be.

An object is conch's where it says so *and* conch's field manager applied it: labels are copied with
the YAML that people copy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from ..cluster.ports import MANAGER
from ..cluster.resources import INFERENCE_SERVICE, Object
from ..manifests.objects import PREFIX

OWNER_LABEL: Final = "app.kubernetes.io/managed-by"
PART_LABEL: Final = "app.kubernetes.io/part-of"
OWNER: Final = "conch"
HASH_ANNOTATION: Final = f"{PREFIX}/spec-hash"
_DIGITS: Final = 16


def stamped(body: Object) -> Object:
    """Return an object with the hash of what it is meant to be.

    An InferenceService gets none: KServe copies its annotations to the pods, and a change of any
    makes new pods. What its predictors serve is in *their* annotations, see `statuses`.
    """
    marked = deepcopy(body)
    if body["kind"] == INFERENCE_SERVICE.kind:
        return marked
    marked["metadata"].setdefault("annotations", {})[HASH_ANNOTATION] = spec_hash(body)
    return marked


def spec_hash(body: Mapping[str, Any]) -> str:
    """Return the hash of an object's intent."""
    intent = deepcopy({name: value for name, value in body.items() if name != "status"})
    notes = intent["metadata"].pop("annotations", {})
    notes.pop(HASH_ANNOTATION, None)
    intent["metadata"] |= {"annotations": notes} if notes else {}
    text = json.dumps(intent, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def is_labelled(body: Mapping[str, Any]) -> bool:
    """Tell whether an object says that it is conch's."""
    return (body["metadata"].get("labels") or {}).get(OWNER_LABEL) == OWNER


def is_owned(body: Mapping[str, Any]) -> bool:
    """Tell whether an object, read with its managed fields, is conch's."""
    managers = body["metadata"].get("managedFields") or ()
    applied = any(
        each.get("manager") == MANAGER and each.get("operation") == "Apply" for each in managers
    )
    return is_labelled(body) and applied


def part_of(body: Mapping[str, Any]) -> str:
    """Return the workload that an object belongs to; empty for what workloads share."""
    return str((body["metadata"].get("labels") or {}).get(PART_LABEL, ""))
