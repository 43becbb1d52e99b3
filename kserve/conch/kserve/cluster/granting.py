"""The RBAC objects that allow what was denied."""

from __future__ import annotations

import re
from typing import Any, Final

from ..manifests.rendering import as_yaml

_ACCOUNT = re.compile(r"system:serviceaccount:([^:]+):([^:]+)")
_UNSAFE = re.compile(r"[^a-z0-9]+")
_RBAC: Final = "rbac.authorization.k8s.io"


def grant(*, user: str, verb: str, group: str, plural: str, namespace: str) -> str:
    """Return YAML that allows one verb on one kind, in one namespace or everywhere.

    Args:
        user: Who was denied, as the API server calls them.
        verb: Such as `patch`.
        group: The API group.
        plural: The kind, with its subresource where there is one.
        namespace: Empty for everywhere.
    """
    name = "conch-" + _UNSAFE.sub("-", f"{verb}-{plural}".lower())
    kind = "Role" if namespace else "ClusterRole"
    meta = {"name": name} | ({"namespace": namespace} if namespace else {})
    role: dict[str, Any] = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": kind,
        "metadata": meta,
        "rules": [{"apiGroups": [group], "resources": [plural], "verbs": [verb]}],
    }
    binding: dict[str, Any] = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": f"{kind}Binding",
        "metadata": meta,
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": name},
        "subjects": [_subject(user)],
    }
    return as_yaml(role) + "---\n" + as_yaml(binding)


def _subject(user: str) -> dict[str, str]:
    account = _ACCOUNT.fullmatch(user)
    if account is not None:
        return {"kind": "ServiceAccount", "namespace": account[1], "name": account[2]}
    return {"kind": "User", "apiGroup": _RBAC, "name": user}
