"""Serving options that a person set as `triton.*` tags in the registry."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

from conch.core import InvalidValueError, ModelFormat, Precision, ServingSpec

from .errors import ServingTagError

OPTION_PREFIX: Final = "triton."
_INTEGER = re.compile(r"[0-9]{1,10}")


def spec_from_tags(tags: Mapping[str, str]) -> ServingSpec:
    """Read the serving options from a version's tags; tags outside `triton.` are passed over.

    Raises:
        ServingTagError: A `triton.` tag is unknown, or its value is out of range.

    >>> spec_from_tags({"triton.max_batch_size": "8", "team": "fraud"}).max_batch_size
    8
    >>> spec_from_tags({"triton.preferred_batch_sizes": "4, 8"}).preferred_batch_sizes
    (4, 8)
    >>> str(spec_from_tags({"triton.format": "openvino", "triton.precision": "int8"}).pin)
    'openvino:int8'
    """
    given = {key: value for key, value in sorted(tags.items()) if key.startswith(OPTION_PREFIX)}
    options = {key.removeprefix(OPTION_PREFIX): _read(key, value) for key, value in given.items()}
    try:
        return ServingSpec.from_dict(options)
    except InvalidValueError as error:
        raise ServingTagError(
            f"The serving tags {', '.join(f'{k}={v!r}' for k, v in given.items())} do not fit: "
            f"{error.message}",
            hint="Correct the tag in the registry.",
            tags=given,
        ) from error


def _read(key: str, text: str) -> object:
    option = _OPTIONS.get(key)
    if option is None:
        raise ServingTagError(
            f"The tag {key!r} names no serving option.",
            hint=f"Known are: {', '.join(sorted(_OPTIONS))}.",
            key=key,
            allowed=sorted(_OPTIONS),
        )
    read, allowed = option
    try:
        return read(text)
    except (KeyError, ValueError) as error:
        raise ServingTagError(
            f"The tag {key!r} has the value {text!r}.",
            hint=f"Allowed is {allowed}.",
            key=key,
            value=text,
            allowed=allowed,
        ) from error


def _integer(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if _INTEGER.fullmatch(text.strip()) is None or not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return read


def _integers(low: int, high: int) -> Callable[[str], tuple[int, ...]]:
    one = _integer(low, high)

    def read(text: str) -> tuple[int, ...]:
        return tuple(sorted({one(part) for part in text.strip().strip("[]").split(",")}))

    return read


def _one_of(kind: type[StrEnum]) -> Callable[[str], StrEnum]:
    return lambda text: kind(text.strip().lower())


def _switch(text: str) -> bool:
    return {"true": True, "false": False}[text.strip().lower()]


_Option = tuple[Callable[[str], Any], str]
_OPTIONS: Final[Mapping[str, _Option]] = {
    "triton.max_batch_size": (_integer(0, 4096), "an integer in 0..4096"),
    "triton.queue_delay_us": (_integer(0, 10_000_000), "an integer in 0..10000000 (microseconds)"),
    "triton.instances": (_integer(1, 64), "an integer in 1..64"),
    "triton.preferred_batch_sizes": (
        _integers(1, 4096),
        "integers in 1..max_batch_size, separated by commas",
    ),
    "triton.queue_timeout_us": (
        _integer(0, 3_600_000_000),
        "an integer in 0..3600000000 (microseconds); 0 for no limit",
    ),
    "triton.priority_levels": (_integer(0, 32), "an integer in 0..32; 0 for none"),
    "triton.response_cache": (_switch, "true or false"),
    "triton.format": (_one_of(ModelFormat), f"one of {', '.join(ModelFormat)}"),
    "triton.precision": (_one_of(Precision), f"one of {', '.join(Precision)}"),
    "triton.lossy": (_switch, "true or false"),
    "triton.queue_size": (_integer(0, 1_000_000), "an integer in 0..1000000; 0 for no limit"),
}
