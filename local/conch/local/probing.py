"""Asking a process whether it is ready, without blocking the supervisor's loop."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final
from urllib.parse import urlsplit

from .desired import Desired
from .envoy import EnvoyAdmin
from .homes import Home
from .instances import Instance, Kind

_TIMEOUT_S: Final = 1.0


async def ready(instance: Instance, desired: Desired, home: Home) -> bool:
    """Tell whether an instance answers; bounded by a second."""
    if instance.kind is Kind.ENVOY:
        return await asyncio.to_thread(EnvoyAdmin(home.envoy, timeout_s=_TIMEOUT_S).live)
    if instance.kind is Kind.TRITON:
        host = f"[{instance.host}]" if ":" in instance.host else instance.host
        return await _http_answers(f"http://{host}:{instance.ports['http']}/v2/health/ready")
    service = next((one for one in desired.services if one.name == instance.name), None)
    if service is None:
        return True
    if service.ready_url is not None:
        return await _http_answers(service.ready_url)
    if service.ready_port is not None:
        return await _accepts(service.ready_port)
    return True


async def _accepts(port: int) -> bool:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _http_answers(url: str) -> bool:
    """Tell whether a GET is answered below 400."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    request = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    writer = None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(request.encode())
            line = await reader.readline()
            await reader.read(65_536)
    except (OSError, TimeoutError, ValueError):
        return False
    finally:
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.close()
    words = line.split()
    return len(words) >= 2 and words[1].isdigit() and int(words[1]) < 400
