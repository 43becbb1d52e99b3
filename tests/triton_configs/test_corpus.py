"""A corpus of configurations as people write them: read, kept whole, and judged.

Each file says what it shows, for which Triton it is meant and what the linter has to say.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.protobuf import text_format

from conch.triton_configs import lint, parse, render
from conch.triton_configs.schema import model_config_class

FILES = sorted(Path(__file__).with_name("corpus").glob("*.pbtxt"))
_HEADER = re.compile(
    r"\A# Shows: (?P<shows>.+?)\n# Triton: (?P<triton>\S+)\n# Findings: (?P<findings>.+?)\n(?!#)",
    re.DOTALL,
)

corpus = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def test_the_corpus_is_there() -> None:
    """At least sixty files, so that an empty folder cannot pass for success."""
    assert len(FILES) >= 60


@corpus
def test_a_text_is_kept_whole(path: Path) -> None:
    """text -> config -> text says to protobuf what the file says, and is a fixed point."""
    text = path.read_text(encoding="utf-8")
    config = parse(text)
    again = render(config)
    assert parse(again) == config
    assert render(parse(again)) == again
    want, have = model_config_class()(), model_config_class()()
    text_format.Parse(text, want)
    text_format.Parse(again, have)
    assert have == want


@corpus
def test_the_linter_says_what_the_file_shows(path: Path) -> None:
    """The findings are exactly those that the header lists."""
    text = path.read_text(encoding="utf-8")
    header = _HEADER.match(text)
    assert header is not None
    listed = re.findall(r"[a-z][a-z-]+", header["findings"])
    expected = [] if listed == ["none"] else listed
    found = {finding.code for finding in lint(parse(text), triton=header["triton"])}
    assert sorted(found) == expected
