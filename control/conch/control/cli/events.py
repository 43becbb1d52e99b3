"""`conch events`: sending metrics and feedback, and looking at the event log."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from .printing import answer, facts, table
from .sessions import Format, Home, Output, session_of

app = typer.Typer(help="Metrics and feedback of applications.", no_args_is_help=True)

_BATCH: Final = 5000
_LOOK_EVERY_S: Final = 0.5
_SHOWN: Final = ("model", "name", "value", "status", "grpc_status", "latency_ms", "label", "reward")


@app.command("send")
def send(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="NDJSON, one event a line; - for standard input.")],
    home: Home = None,
    output: Output = None,
) -> None:
    """Store events; each line is durable before the next batch is sent."""
    session = session_of(context, home, output)
    total = {"stored": 0, "repeated": 0, "next_offset": 0}
    with session.client() as client:
        for batch in _batches(file):
            receipt = client.send_events(batch)
            total["stored"] += receipt["stored"]
            total["repeated"] += receipt["repeated"]
            total["next_offset"] = receipt["next_offset"]
    words = f"{total['stored']} events are stored, {total['repeated']} were stored before."
    answer(session, total, words)


@app.command("tail")
def tail(
    context: typer.Context,
    kind: Annotated[
        str | None, typer.Option(help="exposure, prediction, metric or feedback.")
    ] = None,
    after: Annotated[int | None, typer.Option(help="Offset to begin at.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as events come.")] = False,
    home: Home = None,
    output: Output = None,
) -> None:
    """Show the newest events of the log."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.events(after=after, kind=kind, limit=limit)
        if not follow:
            rows = (_row(one) for one in found["events"])
            answer(session, found, table(("offset", "kind", "when", "what"), rows))
            return
        while True:
            for one in found["events"]:
                words = (str(word) for word in _row(one))
                print(json.dumps(one) if session.output is Format.JSON else "  ".join(words))
            if not found["events"]:
                time.sleep(_LOOK_EVERY_S)
            found = client.events(after=found["next_offset"], kind=kind, limit=1000)


@app.command("stats")
def stats(context: typer.Context, home: Home = None, output: Output = None) -> None:
    """Show how the event log stands."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.event_stats()
    counted = {
        "events": ", ".join(f"{count} {kind}" for kind, count in found["by_kind"].items()),
        "metrics": ", ".join(f"{count} {name}" for name, count in found["by_metric"].items()),
    }
    if found["payloads"] is not None:
        words = (f"{count} {name.replace('_', ' ')}" for name, count in found["payloads"].items())
        counted["payload events"] = ", ".join(words)
    simple = {key: value for key, value in found.items() if not isinstance(value, dict)}
    about = facts((key.replace("_", " "), value) for key, value in {**simple, **counted}.items())
    answer(session, found, about)


def _batches(file: Path) -> Iterator[list[Any]]:
    """Yield the events of a file, so many at a time; a line that is no JSON ends it."""
    from ..sent_events import EventsInvalidError

    batch: list[Any] = []
    with sys.stdin.buffer if str(file) == "-" else file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                batch.append(json.loads(line))
            except ValueError as error:
                raise EventsInvalidError(
                    f"Line {number} of {file} is not JSON: {error}.", line=number
                ) from error
            if len(batch) == _BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


def _row(event: dict[str, Any]) -> tuple[Any, ...]:
    at = event.get("observed_at", event.get("occurred_at", 0.0))
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
    shown = [f"{key}={event[key]}" for key in _SHOWN if event.get(key) not in (None, "")]
    return event["offset"], event["kind"], when, " ".join(shown)
