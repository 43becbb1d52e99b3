"""The reference page lists what the code has."""

from __future__ import annotations

from pathlib import Path

from conch.triton_configs import RULES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "triton-configs.md"


def test_the_page_lists_every_rule() -> None:
    """Codes, severities and meanings are those of the code, in its order."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index("| code | severity | when |") + 2
    listed = [line for line in lines[start:] if line.startswith("|")]
    assert listed == [f"| `{rule.code}` | {rule.severity} | {rule.summary} |" for rule in RULES]
