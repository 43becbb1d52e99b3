"""Reading YAML as the API server reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch.kserve.documents import read_documents
from conch.kserve.errors import UnusableYamlError


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1", 1),
        ("010", 8),
        ("0x1F", 31),
        ("1_000", 1000),
        ("1:30", "1:30"),
        ("2026-01-02", "2026-01-02"),
        ("1.5", 1.5),
        ("yes", True),
        ("y", True),
        ("'y'", "y"),
        ("off", False),
        ("~", None),
        ("'1'", "1"),
        ("8Gi", "8Gi"),
    ],
)
def test_scalars(written: str, value: object) -> None:
    """Scalars follow YAML 1.1 as Go reads it, not as PyYAML does."""
    (document,) = read_documents(f"a: {written}")
    assert document.body["a"] == value
    assert type(document.body["a"]) is type(value)


def test_documents_are_numbered_and_know_their_lines() -> None:
    """Empty documents do not count; every field has the line of its key."""
    text = "---\n---\nkind: A\nspec:\n  list:\n  - x: 1\n  - x: 2\n---\nkind: B\n"
    first, second = read_documents(text)
    assert (first.kind, first.index, second.kind, second.index) == ("A", 0, "B", 1)
    assert first.line_of(("spec", "list", 1, "x")) == 7
    assert first.line_of(("spec", "absent", "deeper")) == 4
    assert second.line_of(("kind",)) == 9


def test_merge_keys_and_repeated_keys() -> None:
    """A merged key is overridden quietly; a key written twice is recorded."""
    (document,) = read_documents("base: &b {x: 1, y: 2}\nuse: {<<: *b, x: 3}\nz: 1\nz: 2\n")
    assert document.body["use"] == {"x": 3, "y": 2}
    assert document.repeated == (("z",),)


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "- 1\n- 2",
        "just text",
        "? [a, b]\n: 1",
        "[" * 100_000,
        "a: &a [*a]",
        "\n".join(
            [
                "a: &l0 [x, x, x, x, x, x, x, x, x, x]",
                *(f"b{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 8)),
            ]
        ),
        "x" * 4_000_001,
        "a: \x00",
    ],
    ids=["open", "list", "text", "key", "deep", "cycle", "bomb", "large", "nul"],
)
def test_unusable_texts_are_refused(text: str) -> None:
    """What no manifest can be is refused at once, without filling the memory."""
    with pytest.raises(UnusableYamlError):
        read_documents(text)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the reader fail in another way."""
    try:
        read_documents(text)
    except UnusableYamlError:
        return
