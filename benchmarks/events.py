"""The event log's promises, measured: acknowledged events a second, and nothing lost or doubled.

    python benchmarks/events.py --quick --json

Four parts. *http*: applications send events to a real control plane's `POST /v1/events`, in NDJSON
batches of 100 over eight connections, and one at a time. *append*: many threads append one event
at a time to a real log with real fsyncs. *kills*: a real writer process is killed with `kill -9`
twenty times while it is sent shuffled events with repetitions; whatever it had not acknowledged is
sent again, and so is some of what it had; at the end every event must be stored, each once.
*join*: predictions and feedback, reordered within the allowed lateness and with repetitions,
through the join.

The last line is one JSON object; exit status 1 says that an event was lost, doubled or misjoined.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from conch.events import (
    Emission,
    Event,
    EventLog,
    Example,
    Exposure,
    Feedback,
    Joiner,
    JoinRules,
    LogSettings,
    Prediction,
    hash_unit,
    join_events,
)

KILLS = 20
SEED = 20260101


def main() -> int:
    """Run the parts and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer events; about half a minute")
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    parser.add_argument("--threads", type=int, default=64, help="concurrent appenders")
    parser.add_argument("--directory", type=Path, help="where logs are written; default: temporary")
    parser.add_argument("--writer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--api", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.api is not None:
        return serve_api(arguments.api)
    if arguments.writer is not None:
        return write_numbers(arguments.writer)
    events = 20_000 if arguments.quick else 200_000
    kills = 4_000 if arguments.quick else 20_000
    parts: dict[str, Callable[[Path], dict[str, Any]]] = {
        "http": lambda folder: measure_http(folder, events),
        "append": lambda folder: measure_appends(folder, events, arguments.threads),
        "kills": lambda folder: measure_kills(folder, kills),
        "join": lambda folder: measure_join(folder, events),
    }
    result: dict[str, Any] = {"quick": arguments.quick}
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        for part, measure in parts.items():
            began = time.perf_counter()
            print(f"{part} ...", file=sys.stderr, flush=True)
            result[part] = measure(Path(name) / part)
            print(f"{part}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
    result["ok"] = result["kills"]["ok"] and result["join"]["ok"]
    if not arguments.json:
        for part in parts:
            print(part, *(f"{key}={value}" for key, value in result[part].items()), sep="\n  ")
    print(json.dumps(result))
    return 0 if result["ok"] else 1


def measure_http(directory: Path, events: int) -> dict[str, Any]:
    """Send events to the API of a control plane in a process of its own; each answer is durable."""
    command = [sys.executable, "-P", str(Path(__file__)), "--api", str(directory)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        port, key = server.stdout.readline().split()
        batches = send_metrics(int(port), key, count=events, batch=100, name="batch")
        singles = send_metrics(int(port), key, count=events // 20, batch=1, name="single")
    finally:
        server.stdin.close()
        server.wait()
    return {
        "events": events,
        "batched_per_s": round(batches),
        "one_by_one_per_s": round(singles),
    }


def send_metrics(port: int, key: str, *, count: int, batch: int, name: str) -> float:
    """Send so many metric events over eight connections; return those acknowledged a second."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/x-ndjson"}
    bodies = [
        "\n".join(
            json.dumps(
                {
                    "kind": "metric",
                    "id": f"{name}-{number}",
                    "name": "purchase",
                    "value": 1.5,
                    "unit": f"user-{number % 1000}",
                }
            )
            for number in range(begin, begin + batch)
        )
        for begin in range(0, count, batch)
    ]
    acknowledged = [0] * 8

    def work(place: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for body in bodies[place::8]:
            connection.request("POST", "/v1/events", body, headers)
            answer = connection.getresponse()
            receipt = json.loads(answer.read())
            if answer.status != 200 or receipt["repeated"]:
                raise SystemExit(f"the API answered {answer.status}: {receipt}")
            acknowledged[place] += receipt["stored"]

    workers = [threading.Thread(target=work, args=(place,)) for place in range(8)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took_s = time.perf_counter() - began
    if sum(acknowledged) != len(bodies) * batch:
        raise SystemExit(f"{len(bodies) * batch} events sent, {sum(acknowledged)} acknowledged")
    return sum(acknowledged) / took_s


def serve_api(directory: Path) -> int:
    """Be a control plane on a target in memory; print port and key, end with standard input."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
    from memory_platform import running_memory_platform

    directory.mkdir(parents=True)
    with running_memory_platform(directory) as platform:
        print(platform.url.rpartition(":")[2], platform.key, flush=True)
        sys.stdin.read()
    return 0


def measure_appends(directory: Path, events: int, threads: int) -> dict[str, Any]:
    """Append one event at a time from many threads; every append waits for its own answer."""
    each = events // threads
    prepared = [[exposure(thread * each + n) for n in range(each)] for thread in range(threads)]
    waits_s: list[list[float]] = [[] for _ in range(threads)]
    with EventLog(directory) as log:

        def work(thread: int) -> None:
            for event in prepared[thread]:
                began = time.perf_counter()
                log.append([event])
                waits_s[thread].append(time.perf_counter() - began)

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        began = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        took_s = time.perf_counter() - began
        size_bytes = log.size_bytes
        stored = log.next_offset

    began = time.perf_counter()
    with EventLog(directory) as log:
        open_s = time.perf_counter() - began
        began = time.perf_counter()
        read = 0
        while found := log.read(read):
            read += len(found)
        read_s = time.perf_counter() - began
    if not stored == read == each * threads:
        raise SystemExit(f"{each * threads} events acknowledged, {stored} stored, {read} read")
    waits = sorted(wait for own in waits_s for wait in own)
    return {
        "events": stored,
        "threads": threads,
        "acknowledged_per_s": round(stored / took_s),
        "wait_p50_ms": round(waits[len(waits) // 2] * 1000, 2),
        "wait_p99_ms": round(waits[len(waits) * 99 // 100] * 1000, 2),
        "bytes_per_event": round(size_bytes / stored),
        "open_s": round(open_s, 3),
        "read_per_s": round(read / read_s),
    }


def measure_kills(directory: Path, events: int) -> dict[str, Any]:
    """Kill a writer again and again; then every event must be stored, each once."""
    chance = random.Random(SEED)
    numbers = list(range(events))
    acknowledged: set[int] = set()
    sent = repeated = kills = 0
    for life in range(KILLS + 1):
        last = life == KILLS
        missing = [number for number in numbers if number not in acknowledged]
        # Spread the work over the lives; always send some again that were acknowledged.
        batch = missing if last else missing[: max(1, 2 * len(missing) // (KILLS + 1 - life))]
        known = sorted(acknowledged)
        again = chance.sample(known, len(known) // 20) + chance.sample(batch, len(batch) // 10)
        order = batch + again
        chance.shuffle(order)
        sent += len(order)
        repeated += len(again)
        answered, killed = write_life(
            directory, order, 0 if last else chance.randrange(1, len(order))
        )
        acknowledged |= answered
        kills += killed
    with EventLog(directory) as log:
        stored: list[str] = []
        while found := log.read(len(stored)):
            stored += [item.event.event_id for item in found]
    lost = sum(1 for number in acknowledged if f"e{number}" not in set(stored))
    doubled = len(stored) - len(set(stored))
    complete = len(acknowledged) == len(stored) == events
    return {
        "kills": kills,
        "events": events,
        "sent": sent,
        "sent_again_on_purpose": repeated,
        "stored": len(stored),
        "lost": lost,
        "doubled": doubled,
        "ok": lost == doubled == 0 and complete and kills == KILLS,
    }


def write_life(directory: Path, order: list[int], kill_after: int) -> tuple[set[int], bool]:
    """Run one writer process and send it numbers; kill it after some acknowledgements, 0 never.

    Returns what it acknowledged, and whether it died of the kill.
    """
    command = [sys.executable, str(Path(__file__)), "--writer", str(directory)]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdin is not None
    assert writer.stdout is not None
    feeder = threading.Thread(target=feed, args=(writer.stdin, order, kill_after == 0))
    feeder.start()
    acknowledged: set[int] = set()
    for line in writer.stdout:
        if line.endswith(b"\n"):
            acknowledged.add(int(line))
        kill_after -= 1
        if kill_after == 0:
            writer.send_signal(signal.SIGKILL)
    status = writer.wait()
    feeder.join()
    with suppress(BrokenPipeError):
        writer.stdin.close()
    return acknowledged, status == -signal.SIGKILL


def feed(stream: IO[bytes], order: list[int], end: bool) -> None:
    """Send numbers, one a line, to a process that may die meanwhile.

    Without an end the process waits for more, so that only the kill ends it.
    """
    with suppress(BrokenPipeError):
        stream.write(b"".join(b"%d\n" % number for number in order))
        stream.flush()
        if end:
            stream.close()


def write_numbers(directory: Path) -> int:
    """Be the writer: store an event for each number on stdin, print it once it is durable."""
    speaking, listening = threading.Lock(), threading.Lock()

    def work() -> None:
        while True:
            with listening:  # two threads in one `readline` lose lines
                line = sys.stdin.buffer.readline()
            if not line:
                return
            log.append([exposure(int(line))])
            with speaking:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()

    with EventLog(directory, settings=LogSettings(segment_bytes=100_000)) as log:
        workers = [threading.Thread(target=work) for _ in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return 0


def measure_join(directory: Path, events: int) -> dict[str, Any]:
    """Join predictions with feedback that is late within bounds, reordered and repeated."""
    chance = random.Random(SEED)
    rules = JoinRules(window_s=600.0, lateness_s=60.0)
    made: list[Event] = []
    for number in range(events // 2):
        at = 1.7e9 + number * 0.05
        label_at = at + chance.random() * rules.window_s
        made += [prediction(number, at), feedback(number, label_at)]
    arrivals = [(event_at(event) + chance.random() * rules.lateness_s, event) for event in made]
    arrivals += [(when, event) for when, event in arrivals if chance.random() < 0.05]
    ordered = [event for _, event in sorted(arrivals, key=lambda pair: pair[0])]

    joiner = Joiner(rules)
    began = time.perf_counter()
    emissions = [emission for event in ordered for emission in joiner.apply(event)]
    emissions += joiner.flush()
    join_s = time.perf_counter() - began
    found = [e.outcome for e in emissions if isinstance(e.outcome, Example)]
    right = {(f"p{n}", n % 10) for n in range(events // 2)}
    ok = len(found) == len(right) and {(o.prediction.event_id, o.label) for o in found} == right

    with EventLog(directory, settings=LogSettings(window_events=0)) as log:
        for begin in range(0, len(ordered), 5000):
            log.append(ordered[begin : begin + 5000])
        replayed, at = Joiner(rules), 0
        began = time.perf_counter()
        again: list[Emission] = []
        while (step := join_events(replayed, log, at)).next_offset > at:
            again += step.emissions
            at = step.next_offset
        from_log_s = time.perf_counter() - began
        again += replayed.flush()
    return {
        "events": len(ordered),
        "repetitions": joiner.counts.duplicates,
        "examples": len(found),
        "events_per_s": round(len(ordered) / join_s),
        "events_per_s_from_log": round(len(ordered) / from_log_s),
        "replay_equal": again == emissions,
        "ok": ok and again == emissions,
    }


def exposure(number: int) -> Exposure:
    """Return an exposure of ordinary size."""
    return Exposure(
        event_id=f"e{number}",
        occurred_at=1.7e9 + number / 1000,
        received_at=1.7e9 + number / 1000,
        model="digits",
        slot="b",
        ordinal=3,
        build_id="7c0f4b1de2a94f6f",
        unit_hash=hash_unit(f"user-{number % 1000}"),
        request_id=f"4f9c2a10-0000-4000-8000-{number:012d}",
        latency_ms=1.234,
        status=200,
    )


def prediction(number: int, at: float) -> Prediction:
    """Return a prediction with a few features."""
    return Prediction(
        event_id=f"p{number}",
        occurred_at=at,
        received_at=at,
        model="digits",
        slot="b",
        ordinal=3,
        features={"x": [0.5, 1.5, 2.5, 3.5]},
        output={"y": number % 10},
    )


def feedback(number: int, at: float) -> Feedback:
    """Return the feedback for a prediction."""
    return Feedback(
        event_id=f"f{number}",
        prediction_id=f"p{number}",
        observed_at=at,
        received_at=at,
        source="web",
        label=number % 10,
    )


def event_at(event: Event) -> float:
    """Return when an event happened."""
    return event.observed_at if isinstance(event, Feedback) else event.occurred_at


if __name__ == "__main__":
    sys.exit(main())
