"""Reading manifests the way the API server does, with the line of every field.

PyYAML's loaders are close to what `kubectl` and the API server use but differ where it hurts: they
keep the last of two equal keys without a word, turn `1:30` into 90 and `2024-01-01` into a date,
and expand aliases without bound. Documents are therefore built here from PyYAML's node graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.constructor import SafeConstructor

from .errors import UnusableYamlError
from .structural import Path, describe

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST_CHARACTERS: Final = 4_000_000
_MOST_NODES: Final = 200_000
_DEEPEST: Final = 64
_TAG: Final = "tag:yaml.org,2002:"
_TRUE: Final = {"y", "yes", "true", "on"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document of a YAML text.

    Attributes:
        index: Its number within the text, from 0, empty documents not counted.
        body: The object as JSON values.
        lines: Line of each field, from 1, by path.
        repeated: Paths of keys that stand twice in one object; the last one is in `body`.
    """

    index: int
    body: Mapping[str, Any]
    lines: Mapping[Path, int]
    repeated: tuple[Path, ...] = ()

    @property
    def kind(self) -> str:
        """`kind`, or "" where it is not a string."""
        return _text(self.body.get("kind"))

    @property
    def api_version(self) -> str:
        """`apiVersion`, or "" where it is not a string."""
        return _text(self.body.get("apiVersion"))

    @property
    def name(self) -> str:
        """`metadata.name`, or "" where it is missing."""
        return _text(self._metadata.get("name"))

    @property
    def namespace(self) -> str:
        """`metadata.namespace`, or "" where it is missing."""
        return _text(self._metadata.get("namespace"))

    @property
    def _metadata(self) -> Mapping[str, Any]:
        metadata = self.body.get("metadata")
        return metadata if isinstance(metadata, dict) else {}

    def line_of(self, path: Path) -> int:
        """Return the line of a field, or of the nearest field around it that exists."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_documents(text: str) -> tuple[Document, ...]:
    """Return the documents of a YAML text, without empty ones.

    Raises:
        UnusableYamlError: The text is not YAML, a document is not an object, or it is larger than
            a manifest can be: 4 million characters, 64 levels, 200,000 values after aliases.
    """
    if len(text) > _MOST_CHARACTERS:
        raise UnusableYamlError(f"The text has {len(text)} characters, more than a manifest can.")
    try:
        _refuse_depth(text)
        nodes = [node for node in yaml.compose_all(text, Loader=_LOADER) if node is not None]
    except (yaml.YAMLError, ValueError) as error:
        raise UnusableYamlError(
            f"The text is not YAML: {' '.join(str(error).split())}.",
            hint="Check the indentation and the quotes at that line.",
        ) from error
    documents: list[Document] = []
    for node in nodes:
        builder = _Builder()
        body = builder.value(node, ())
        if body is None:
            continue
        if not isinstance(body, dict):
            raise UnusableYamlError(
                f"The document at line {_line(node)} is {describe(body)}.",
                hint="A manifest is an object with apiVersion, kind and metadata.",
            )
        documents.append(
            Document(
                index=len(documents),
                body=body,
                lines=builder.lines,
                repeated=tuple(builder.repeated),
            )
        )
    return tuple(documents)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _line(place: yaml.Node | yaml.Event) -> int:
    return int(place.start_mark.line) + 1 if place.start_mark else 1


def _refuse_depth(text: str) -> None:
    """Refuse deep nesting before the composer recurses into it."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            raise UnusableYamlError(
                f"The text nests deeper than {_DEEPEST} levels at line {_line(event)}."
            )


@dataclass(slots=True)
class _Builder:
    """Builds one document's values and remembers where they stand."""

    lines: dict[Path, int] = field(default_factory=dict)
    repeated: list[Path] = field(default_factory=list)
    nodes: int = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.nodes += 1
        if self.nodes > _MOST_NODES or len(path) > _DEEPEST:
            raise UnusableYamlError(
                f"Aliases expand the text beyond a manifest's size at line {_line(node)}.",
                hint="Write the values out instead of nesting aliases.",
            )
        self.lines.setdefault(path, _line(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise UnusableYamlError(f"The key at line {_line(key)} is not a plain value.")
        own = [key.value for key, _ in node.value if key.tag != f"{_TAG}merge"]
        self.repeated += [(*path, key) for key in _twice(own)]
        if len(own) < len(node.value):
            SafeConstructor().flatten_mapping(node)
        found: dict[str, Any] = {}
        for key, item in node.value:
            # JSON has string keys only; `true: 1` and `8080: x` become texts.
            name = key.value if key.tag == f"{_TAG}str" else _key_text(_scalar(key))
            self.lines[(*path, name)] = _line(key)
            found[name] = self.value(item, (*path, name))
        return found


def _twice(keys: list[str]) -> Iterator[str]:
    return (key for key, count in Counter(keys).items() if count > 1)


def _key_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _scalar(node: yaml.Node) -> Any:
    """Return a scalar as JSON knows it: text, number, boolean or null."""
    text = str(node.value)
    plain = not getattr(node, "style", None)
    match node.tag.removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return text.lower() in _TRUE
        case "int" if ":" not in text:
            return _integer(text.replace("_", ""))
        case "float" if ":" not in text:
            return _float(text.replace("_", "").lower())
        case "str" if plain and text.lower() in ("y", "n"):
            return text.lower() == "y"  # Go's YAML 1.1 reader takes them for booleans
        case _:
            return text


def _integer(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    if digits.startswith("0x"):
        return sign * int(digits, 16)
    if digits.startswith("0b"):
        return sign * int(digits, 2)
    if len(digits) > 1 and digits.startswith("0"):
        return sign * int(digits, 8)
    return sign * int(digits)


def _float(text: str) -> float:
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))
