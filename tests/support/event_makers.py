"""Events by number, for tests that care about few of their fields."""

from __future__ import annotations

from typing import Any

from conch.events import Exposure


def exposure(number: int, **changes: Any) -> Exposure:
    """Return the exposure `e<number>`; further fields as keywords."""
    fields: dict[str, Any] = {
        "event_id": f"e{number}",
        "occurred_at": 1.7e9 + number,
        "received_at": 1.7e9 + number,
        "model": "digits",
        "slot": "a",
        "ordinal": 3,
    }
    return Exposure(**{**fields, **changes})
