"""The idempotency window: which recent event ids the log knows."""

from __future__ import annotations

from collections import deque

import xxhash

from .kinds import Event


class IdWindow:
    """Ids of the last `size` events in the log, by offset.

    The window is a function of the log alone: an id is known if its event's offset is among the
    last `size` offsets. So it is rebuilt at open from the log and needs no file of its own.
    Memory: about 200 bytes for each event of the window.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._offsets: dict[bytes, int] = {}
        self._order: deque[bytes] = deque()

    def __len__(self) -> int:
        return len(self._offsets)

    def find(self, key: bytes) -> int | None:
        """Return the offset of the event with this key, or None when it is not in the window."""
        return self._offsets.get(_digest(key))

    def add(self, key: bytes, offset: int) -> None:
        """Remember a key; offsets come in order, each once."""
        digest = _digest(key)
        self._offsets[digest] = offset
        self._order.append(digest)
        while len(self._order) > self._size:
            del self._offsets[self._order.popleft()]


def event_key(event: Event) -> bytes:
    """Return what makes an event the same event again: its kind and its id."""
    return f"{event.kind}:{event.event_id}".encode()


def _digest(key: bytes) -> bytes:
    return xxhash.xxh3_128_digest(key)
