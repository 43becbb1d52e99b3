"""A captured line as an event."""

from __future__ import annotations

import json
from typing import Final

from conch.events import InvalidEventError, Prediction

SHADOW_PREFIX: Final = "shadow-"
"""How the ids of answers begin that no caller got."""


def read_captured(line: bytes, *, received_at: float) -> Prediction | None:
    """Return the prediction that a line of the spool tells of.

    The event's id is the prediction id where the request had one, else the gateway's request id;
    of an answer to a mirrored request, that with a prefix. Of a failed request `output` is None.

    Raises:
        InvalidEventError: The line cannot be read.
    """
    try:
        value = json.loads(line)
        shadow = value["shadow"]
        event_id = value["prediction_id"] or value["request_id"]
        return Prediction(
            event_id=f"{SHADOW_PREFIX}{value['request_id']}" if shadow else event_id,
            occurred_at=value["at"],
            received_at=received_at,
            model=value["model"],
            slot=value["slot"],
            ordinal=value["ordinal"],
            build_id=value["build"],
            unit_hash=value["unit"],
            release=shadow,
            features=value["inputs"],
            features_ref="" if value["inputs"] is not None else value["left_out"],
            output=value["outputs"],
            latency_ms=value["latency_ms"],
            request_id=value["request_id"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidEventError(f"A captured line cannot be read: {error!r}.") from error
