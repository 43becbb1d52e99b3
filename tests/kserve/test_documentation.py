"""The pages about KServe say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from conch.kserve import KServeVersion, read_profile, read_site
from conch.kserve.linting import DOCUMENT_CODES
from conch.kserve.refusals import refusals
from conch.kserve.rules import RULES, UPDATE_RULES, Rule, UpdateRule
from conch.kserve.schemas import schemas_of

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "reference" / "kserve-lint.md").read_text()
HOW_TO = (DOCS / "how-to" / "serve-on-kserve.md").read_text()
EXPLANATION = (DOCS / "explanation" / "kserve.md").read_text()
ROW = re.compile(r"^\| `[a-z-]+` \|.*$", re.MULTILINE)


def rows() -> list[str]:
    """Return the reference's table rows, in the order of the catalogue."""
    texts = [
        f"| `{code}` | {severity} | every | | {summary} |"
        for code, (severity, summary) in DOCUMENT_CODES.items()
    ]
    rules: list[Rule | UpdateRule] = [*RULES, *UPDATE_RULES]
    for rule in rules:
        kinds = ", ".join(rule.kinds)
        texts.append(
            f"| `{rule.code}` | {rule.severity} | {kinds} | {rule.since or ''} | {rule.summary} |"
        )
    return [text.replace("|  |", "| |") for text in texts]


def test_the_reference_lists_every_code_with_its_meaning() -> None:
    """The tables of the reference are the catalogue, row by row."""
    assert ROW.findall(REFERENCE) == rows()


def test_the_reference_names_the_origin_of_every_schema() -> None:
    """The page says which tag or commit each version's schemas come from."""
    for version in KServeVersion:
        origin = schemas_of(version).origin.rsplit(", ", 1)[0]
        assert f"| {version} | {origin} |" in REFERENCE


def test_the_profile_of_the_explanation_is_one() -> None:
    """The profile that people copy is read and contradicts itself nowhere."""
    (text,) = re.findall(r"```yaml\n(name:.*?)```", EXPLANATION, re.DOTALL)
    assert refusals(read_profile(text)) == ()


def test_the_profile_of_the_how_to_states_a_site() -> None:
    """The profile that people deploy with is read, and contradicts itself nowhere."""
    (text,) = re.findall(r"```yaml\n(name:.*?)```", HOW_TO, re.DOTALL)
    site = read_site(text)
    assert refusals(site.profile) == ()
    assert (site.namespace, site.scaling.least, site.resources.cpu) == ("models", 2, "2")
