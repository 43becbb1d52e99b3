"""`conch metrics`: what each arm did lately, and how a Prometheus finds it."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from .printing import answer, facts, table
from .sessions import Home, Output, session_of

app = typer.Typer(help="What Triton and Envoy count.", no_args_is_help=True)

_UNITS: Final = {
    "requests_per_s": "{:.1f}/s",
    "failure_share": "{:.2%}",
    "mean_ms": "{:.2f} ms",
    "queue_ms": "{:.2f} ms",
    "slot_p50_ms": "{:.2f} ms",
    "slot_p99_ms": "{:.2f} ms",
}


@app.command("show")
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The registered model.")],
    home: Home = None,
    output: Output = None,
) -> None:
    """Show what each arm of a model's traffic did lately, or why that cannot be told."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.arm_metrics(name)
    rows = [
        [
            arm["version"],
            arm["slot"],
            f"{arm['weight']:g} %",
            *(_shown(arm["readings"], key) for key in _UNITS),
        ]
        for arm in found
    ]
    heads = ("version", "slot", "share", *(key.replace("_", " ") for key in _UNITS))
    reasons = {
        reading["because"]: key.replace("_", " ")
        for arm in found
        for key, reading in arm["readings"].items()
        if reading["value"] is None
    }
    why = [facts((key, because) for because, key in reasons.items())] if reasons else []
    answer(session, found, table(heads, rows), *why)


@app.command("scrape-config")
def scrape_config(context: typer.Context, home: Home = None, output: Output = None) -> None:
    """Print what a Prometheus on this machine needs to scrape the platform."""
    import yaml

    session = session_of(context, home, output)
    settings = session.running()
    config = {
        "scrape_configs": [
            {
                "job_name": "conch",
                "scrape_interval": f"{round(settings.metrics.every_s * 1000)}ms",
                "static_configs": [{"targets": [urlsplit(settings.control_url).netloc]}],
            }
        ]
    }
    answer(session, config, yaml.safe_dump(config, sort_keys=False).rstrip())


def _shown(readings: dict[str, Any], key: str) -> str:
    value = readings[key]["value"]
    return str(readings[key]["trouble"]) if value is None else _UNITS[key].format(value)
