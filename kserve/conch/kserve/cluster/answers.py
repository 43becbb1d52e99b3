"""Turning the API server's refusals into errors that say what to do.

Source of the forms: Kubernetes `meta/v1.Status` with its `reason` and `details.causes`; messages of
RBAC ("cannot VERB resource"), of quota ("exceeded quota") and of admission webhooks ("admission
webhook NAME denied the request") as the API server writes them. Each was met on a real server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .failures import (
    AdmissionRefusedError,
    BusyError,
    ClusterError,
    CredentialsError,
    FieldConflictError,
    KindMissingError,
    NamespaceMissingError,
    ObjectChangedError,
    ObjectInvalidError,
    ObjectMissingError,
    PermissionMissingError,
    QuotaExceededError,
    WatchExpiredError,
    WebhookUnavailableError,
)
from .granting import grant
from .resources import NAMESPACE, Resource

_DENIED = re.compile(r'admission webhook "([^"]+)" denied the request(?: without explanation)?:? ?')
_CALLING = re.compile(r'failed calling webhook "([^"]+)"')
_RBAC = re.compile(r'User "([^"]*)" cannot (\S+) resource "([^"]+)" in API group "([^"]*)"')
_MANAGER = re.compile(r'conflict with "([^"]+)"')
_BUSY_S: Final = 1.0
_NAMELESS: Final = "USER"
"""Stands in a grant where the API server does not say whom it denied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked of the API server.

    Attributes:
        verb: In the words of RBAC, such as `patch`.
        resource: The kind.
        namespace: Empty for cluster-scoped kinds and for all namespaces.
        name: Empty for a list or watch.
        subresource: Such as `status`.
    """

    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.resource.kind} {where}{self.name}".strip()


def error_of(
    asked: Asked, code: int, body: Mapping[str, Any], *, retry_after_s: float | None = None
) -> ClusterError:
    """Return the error of an answer.

    Args:
        asked: What was asked.
        code: The HTTP status.
        body: The `Status` object; empty where the answer was something else.
        retry_after_s: What the server's header said.
    """
    message = str(body.get("message") or f"the API server answered {code}")
    match code:
        case 401:
            return CredentialsError(
                f"The API server does not accept conch's credentials for {asked}: {message}.",
                hint="The token may have expired: log in again, or renew the service account's.",
            )
        case 403:
            return _forbidden(asked, message)
        case 404:
            return _missing(asked, body, message)
        case 409:
            return _conflict(asked, body, message)
        case 410:
            return WatchExpiredError(f"The watch of {asked} is too old: {message}.")
        case 422:
            causes = _causes(body)
            said = "; ".join(f"{path}: {why}" for path, why in causes) or message
            return ObjectInvalidError(
                f"The API server refused {asked}: {said}.",
                hint="`conch lint` says what to write instead.",
                causes=[{"field": path, "message": why} for path, why in causes],
            )
        case 429:
            return _busy(asked, body, retry_after_s)
    if (denied := _DENIED.search(message)) is not None:
        return _refused(asked, denied[1], message[denied.end() :])
    if (calling := _CALLING.search(message)) is not None:
        return WebhookUnavailableError(
            f"The webhook {calling[1]} could not be asked about {asked}: {message}.",
            hint="Look at the pods behind it; KServe's are in the namespace `kserve`.",
            webhook=calling[1],
        )
    if code in (500, 503, 504) and (retry_after_s is not None or code != 500):
        return _busy(asked, body, retry_after_s)
    return ClusterError(f"The API server answered {code} for {asked}: {message}.", status=code)


def _forbidden(asked: Asked, message: str) -> ClusterError:
    if "exceeded quota" in message:
        return QuotaExceededError(
            f"The quota leaves no room for {asked}: {message.partition('exceeded quota')[2][2:]}.",
            hint="Ask for less, remove something, or have the quota raised.",
        )
    if (denied := _DENIED.search(message)) is not None:
        return _refused(asked, denied[1], message[denied.end() :])
    if "not found" in message and "namespace" in message:
        return _namespace(asked)
    found = _RBAC.search(message)
    if found is not None:
        user, verb, plural, group = found.groups()
    elif asked.verb == "patch" and message.rstrip().endswith("is forbidden:"):
        # An apply that would create asks for that right, too, and names neither it nor the user.
        user, verb, plural, group = _NAMELESS, "create", asked.resource.plural, asked.resource.group
    else:
        return ClusterError(f"The API server forbids {asked}: {message}.", status=403)
    text = grant(user=user, verb=verb, group=group, plural=plural, namespace=_scope(asked))
    where = f" in namespace {asked.namespace}" if asked.namespace else ""
    return PermissionMissingError(
        f"{user} may not {verb} {plural}{where}.",
        hint=f"Apply this to allow it:\n{text}",
        user=user,
        verb=verb,
        group=group,
        resource=plural,
        namespace=asked.namespace,
        grant=text,
    )


def _scope(asked: Asked) -> str:
    return asked.namespace if asked.resource.namespaced else ""


def _refused(asked: Asked, webhook: str, why: str) -> ClusterError:
    return AdmissionRefusedError(
        f"{webhook} refused {asked}: {why.strip() or 'without a reason'}",
        hint="`conch lint` knows KServe's rules and says what to write instead.",
        webhook=webhook,
    )


def _missing(asked: Asked, body: Mapping[str, Any], message: str) -> ClusterError:
    details = body.get("details") or {}
    if details.get("kind") == NAMESPACE.plural and asked.resource is not NAMESPACE:
        return _namespace(asked)
    if not details.get("name") and (asked.name == "" or "could not find the requested" in message):
        return KindMissingError(
            f"The cluster has no {asked.resource.plural} of {asked.resource.api_version}.",
            hint="Install what brings them, or state another profile.",
        )
    return ObjectMissingError(f"There is no {asked} on the cluster.")


def _namespace(asked: Asked) -> ClusterError:
    return NamespaceMissingError(
        f"There is no namespace {asked.namespace!r} on the cluster.",
        hint=f"kubectl create namespace {asked.namespace}",
        namespace=asked.namespace,
    )


def _conflict(asked: Asked, body: Mapping[str, Any], message: str) -> ClusterError:
    causes = (body.get("details") or {}).get("causes") or []
    fields = [
        {"manager": _manager(cause), "field": str(cause.get("field", ""))}
        for cause in causes
        if cause.get("reason") == "FieldManagerConflict"
    ]
    if not fields:
        return ObjectChangedError(f"{asked} changed meanwhile: {message}.")
    others = sorted({each["manager"] for each in fields})
    paths = ", ".join(each["field"] for each in fields[:5])
    return FieldConflictError(
        f"{', '.join(others)} set {paths} of {asked} to something else.",
        hint="`conch diff` shows both. Have it undone there, or take the fields over with --force.",
        conflicts=fields,
    )


def _manager(cause: Mapping[str, Any]) -> str:
    found = _MANAGER.search(str(cause.get("message", "")))
    return found[1] if found else "somebody"


def _busy(asked: Asked, body: Mapping[str, Any], retry_after_s: float | None) -> ClusterError:
    stated = (body.get("details") or {}).get("retryAfterSeconds")
    wait = retry_after_s if retry_after_s is not None else float(stated or _BUSY_S)
    return BusyError(
        f"The API server has too much to do for {asked}.",
        hint=f"It asks to wait {wait:g} s.",
        retry_after_s=wait,
    )


def _causes(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    causes = (body.get("details") or {}).get("causes") or []
    return [(str(each.get("field", "")), str(each.get("message", ""))) for each in causes]
