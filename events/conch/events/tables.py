"""Events as one Arrow table: a column for each field of any kind.

JSON values (features, output, label) are columns of JSON text. A column that a kind does not have
is null in its rows. Needs the extra `events`.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import fields
from enum import Enum
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from .errors import MissingExtraError
from .kinds import KINDS, Event, Kind
from .views import StoredEvent

if TYPE_CHECKING:
    import pyarrow as pa

_JSON: Final = frozenset({"features", "output", "label"})
_WHOLE: Final = frozenset({"ordinal", "stage", "status", "grpc_status", "revision"})
_NUMBERS: Final = frozenset(
    {
        "occurred_at",
        "observed_at",
        "received_at",
        "propensity",
        "latency_ms",
        "score",
        "value",
        "reward",
        "trust",
        "weight",
    }
)
_FLAGS: Final = frozenset({"unit_given"})


def extra(module: str) -> ModuleType:
    """Import a module of the extra `events`.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"Compacting and querying events needs {module}.",
            hint="Install conch with its extra: pip install 'conch[events]'.",
        ) from error


def columns(kind: Kind | None = None) -> tuple[str, ...]:
    """Return the names of the columns of one kind, or of all."""
    classes = KINDS.values() if kind is None else [KINDS[kind]]
    names = dict.fromkeys(field.name for cls in classes for field in fields(cls))
    return ("offset", "kind", *names)


def schema() -> pa.Schema:
    """Return the Arrow schema of `to_table`."""
    pa = extra("pyarrow")
    return pa.schema([(name, _type(pa, name)) for name in columns()])


def to_table(events: Sequence[StoredEvent]) -> pa.Table:
    """Return events as a table with the columns of `schema`, in their order."""
    pa = extra("pyarrow")
    data = {name: [_cell(stored, name) for stored in events] for name in columns()}
    return pa.Table.from_pydict(data, schema=schema())


def _type(pa: Any, name: str) -> Any:
    if name == "offset" or name in _WHOLE:
        return pa.int64()
    if name in _NUMBERS:
        return pa.float64()
    return pa.bool_() if name in _FLAGS else pa.string()


def _cell(stored: StoredEvent, name: str) -> object:
    if name == "offset":
        return stored.offset
    event: Event = stored.event
    value: object = getattr(event, name, None)
    if name in _JSON and value is not None:
        return json.dumps(value, ensure_ascii=False)
    return value.value if isinstance(value, Enum) else value
