"""Plans on the command line: a name, or a file that is read here and sent as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .printing import facts, table

if TYPE_CHECKING:
    from rich.console import RenderableType

_FILES = (".yaml", ".yml", ".json")


def read_plan(asked: str | None) -> str | dict[str, Any] | None:
    """Return what is sent for `--plan`: a name as it stands, the body of a file."""
    if asked is None or Path(asked).suffix not in _FILES:
        return asked
    from ..plans import read_plan_file

    return read_plan_file(Path(asked))


def plan_lines(shown: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Return a plan as a person reads it: what is done, then what is watched."""
    plan = shown["plan"]
    if plan is None:
        yield facts([("plan", "manual: a person moves the traffic")])
        return
    rule = plan["rule"]
    steps = [f"{step['weight'] / 100:g} %" for step in rule["steps"]]
    yield facts(
        (
            ("plan", f"{shown['name']} ({shown['digest'][:12]})"),
            ("shadow first", plan["shadow"] is not None),
            ("steps", "all at once" if plan["road"] == "flip" else ", ".join(steps)),
            (
                "bake time",
                f"{rule['bake_s']:g} s, the former version keeps {plan['holdback'] / 100:g} %",
            ),
            ("asks a person", list(plan["approvals"])),
            ("deadline", rule["deadline_s"] and f"{rule['deadline_s']:g} s: {rule['at_deadline']}"),
            ("error level", rule["alpha"]),
        )
    )
    heads = ("metric", "kind", "counts", "margin", "tolerated")
    yield table(
        heads,
        [
            [
                metric["name"],
                metric["kind"],
                metric["source"],
                metric["margin"],
                metric["tolerated"],
            ]
            for metric in rule["metrics"]
        ],
    )
