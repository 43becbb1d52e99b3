"""The cluster's API over the asyncio client of the `kubernetes` package.

Only the client's transport is used: connections, TLS, tokens and their renewal. Paths are stated in
`resources`, so that one code path serves core and custom kinds alike and nothing is discovered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Self

from .answers import Asked, error_of
from .connecting import Connection
from .failures import CredentialsError, ObjectMissingError, SlowError, UnreachableError
from .ports import MANAGER, Change, Event, Listing
from .resources import Key, Object, Resource, resource_of

_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"
_JSON: Final = "application/json"
_PAGE: Final = 500
_SILENT_LOG_S: Final = 3600.0
_GRACE_S: Final = 10.0
"""How much longer than its own time a watch may be silent before the connection counts as dead."""


class KubernetesCluster:
    """The `Cluster` protocol on a real API server.

    Use it within one event loop, as a context manager or with `close`.

    Attributes:
        requests: How many requests were sent, by verb.
    """

    def __init__(self, connection: Connection, *, manager: str = MANAGER) -> None:
        self._connection = connection
        self._manager = manager
        self._client: Any = None
        self._opening = asyncio.Lock()
        self.requests: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def apply(self, body: Object, *, force: bool = False, dry_run: bool = False) -> Object:
        key = Key.of(body)
        query = {
            "fieldManager": self._manager,
            "force": str(force).lower(),
            "fieldValidation": "Strict",  # servers before 1.25 ignore it
            **_dry(dry_run),
        }
        asked = _asked("patch", key)
        return await self._ask(asked, "PATCH", query, body=body, content_type=_APPLY)

    async def get(self, key: Key) -> Object:
        return await self._ask(_asked("get", key), "GET", {})

    async def list(self, resource: Resource, namespace: str = "", *, labels: str = "") -> Listing:
        items: list[Object] = []
        query = {"limit": str(_PAGE)} | _selector(labels)
        while True:
            asked = Asked(verb="list", resource=resource, namespace=namespace)
            page = await self._ask(asked, "GET", query)
            for item in page["items"]:
                # A list leaves out what it says once for all of them.
                items.append({"apiVersion": resource.api_version, "kind": resource.kind, **item})
            meta = page["metadata"]
            if not meta.get("continue"):
                return Listing(items=tuple(items), resource_version=meta["resourceVersion"])
            query = {**query, "continue": meta["continue"]}

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        labels: str = "",
        since: str,
        timeout_s: float,
    ) -> AsyncIterator[Event]:
        asked = Asked(verb="watch", resource=resource, namespace=namespace)
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(max(1, round(timeout_s))),
            **_selector(labels),
        }
        with _named(asked):
            response = await self._send(asked, "GET", query, silent_s=timeout_s + _GRACE_S)
            try:
                if response.status >= 400:
                    raise error_of(asked, response.status, _read(await response.read()))
                async for line in response.content:
                    said = json.loads(line)
                    if said["type"] == "ERROR":
                        status = said["object"]
                        raise error_of(asked, int(status.get("code", 500)), status)
                    yield Event(change=Change(said["type"]), body=said["object"])
            finally:
                response.close()

    async def create(self, body: Object) -> Object:
        key = Key.of(body)
        asked = _asked("create", key)
        query = {"fieldManager": self._manager}
        return await self._ask(asked, "POST", query, body=body)

    async def replace(self, body: Object) -> Object:
        key = Key.of(body)
        query = {"fieldManager": self._manager}
        return await self._ask(_asked("update", key), "PUT", query, body=body)

    async def delete(self, key: Key, *, uid: str = "", dry_run: bool = False) -> None:
        options: Object = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        if uid:
            options["preconditions"] = {"uid": uid}
        if dry_run:
            options["dryRun"] = ["All"]  # with a body, the server does not look at the query
        with contextlib.suppress(ObjectMissingError):
            await self._ask(_asked("delete", key), "DELETE", {}, body=options)

    async def follow_log(self, key: Key, container: str) -> AsyncIterator[str]:
        asked = _asked("get", key, "log")
        query = {"container": container, "follow": "true"}
        with _named(asked):
            response = await self._send(asked, "GET", query, silent_s=_SILENT_LOG_S)
            try:
                if response.status >= 400:
                    raise error_of(asked, response.status, _read(await response.read()))
                async for line in response.content:
                    yield line.decode(errors="replace").rstrip("\n")
            finally:
                response.close()

    async def patch_status(self, key: Key, status: Object) -> Object:
        asked = _asked("patch", key, "status")
        body = {"status": status}
        return await self._ask(asked, "PATCH", {}, body=body, content_type=_MERGE)

    async def get_path(self, path: str) -> Object:
        """Return what a path of the API answers, for what is no object (`/version`)."""
        asked = Asked(verb="get", resource=Resource(group="", version="", plural=path, kind=path))
        return await self._ask(asked, "GET", {}, path=path)

    async def _ask(
        self,
        asked: Asked,
        method: str,
        query: Mapping[str, str],
        *,
        body: Object | None = None,
        content_type: str = _JSON,
        path: str = "",
    ) -> Object:
        """Send a request and return the answer's object; credentials are read again once."""
        for last in (False, True):
            with _named(asked):
                response = await self._send(
                    asked, method, query, body=body, content_type=content_type, path=path
                )
                data = await response.read()
            if response.status < 400:
                return _read(data)
            error = error_of(
                asked, response.status, _read(data), retry_after_s=_retry_after(response.headers)
            )
            if last or not isinstance(error, CredentialsError):
                raise error
            await self.close()
        raise AssertionError("the second answer is final")  # pragma: no cover

    async def _send(
        self,
        asked: Asked,
        method: str,
        query: Mapping[str, str],
        *,
        body: Object | None = None,
        content_type: str = _JSON,
        path: str = "",
        silent_s: float | None = None,
    ) -> Any:
        import aiohttp

        client = await self._opened()
        name = "" if asked.verb == "create" else asked.name
        path = path or asked.resource.path(asked.namespace, name, asked.subresource)
        self.requests[asked.verb] += 1
        method, url, headers, body, _ = await client.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Accept": _JSON, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        limit = self._connection.timeout_s
        timeout = aiohttp.ClientTimeout(
            total=limit if silent_s is None else None, sock_connect=limit, sock_read=silent_s
        )
        answer = await client.rest_client.request(
            method, url, headers=headers, body=body, _request_timeout=timeout
        )
        return answer.response

    async def _opened(self) -> Any:
        async with self._opening:
            if self._client is None:
                configuration = await self._connection.configuration()
                from kubernetes.aio.client.api_client import ApiClient

                self._client = ApiClient(configuration)
                self._client.user_agent = "conch"
            return self._client


@contextlib.contextmanager
def _named(asked: Asked) -> Any:
    """Turn what the transport raises into errors that name what was asked."""
    import aiohttp

    try:
        yield
    except TimeoutError as error:
        raise SlowError(
            f"The API server did not answer in time about {asked}.",
            hint="Whether it did what was asked is not known; asking again is safe.",
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise UnreachableError(
            f"The API server cannot be reached for {asked}: {error}.",
            hint="conch goes on by itself once it answers; what serves goes on serving.",
        ) from error


def _asked(verb: str, key: Key, subresource: str = "") -> Asked:
    return Asked(
        verb=verb,
        resource=resource_of({"apiVersion": key.api_version, "kind": key.kind}),
        namespace=key.namespace,
        name=key.name,
        subresource=subresource,
    )


def _selector(labels: str) -> dict[str, str]:
    return {"labelSelector": labels} if labels else {}


def _dry(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdigit() else None


def _read(data: bytes) -> Object:
    """Return an answer's object; a proxy in between may answer with something else."""
    try:
        found = json.loads(data)
    except ValueError:
        return {"message": data[:200].decode(errors="replace").strip()}
    return found if isinstance(found, dict) else {"message": str(found)[:200]}
