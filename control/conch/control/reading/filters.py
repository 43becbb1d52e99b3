"""Filters of the model list, as a person types them: `team=fraud`, `accuracy>=0.95`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from conch.core import InvalidValueError

_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
_METRIC: Final = re.compile(
    r"\s*(?P<name>[^<>=\s].*?)\s*(?P<sign>>=|<=|>|<|=)\s*(?P<bound>[^<>=]+?)\s*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TagFilter:
    """Keeps what carries a tag; with a value, only where the tag has exactly that value."""

    key: str
    value: str | None

    def keeps(self, tags: Mapping[str, Any]) -> bool:
        """Tell whether these tags pass."""
        return self.key in tags and self.value in (None, tags[self.key])


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFilter:
    """Keeps what has a metric on the given side of a bound."""

    name: str
    sign: str
    bound: float

    def keeps(self, metrics: Mapping[str, Any]) -> bool:
        """Tell whether these metrics pass; a metric that is absent does not."""
        found = metrics.get(self.name)
        return found is not None and _COMPARISONS[self.sign](float(found), self.bound)


def read_tag_filter(text: str) -> TagFilter:
    """Read `key=value`, or `key` for a tag of any value.

    Raises:
        InvalidValueError: The key is empty.

    >>> read_tag_filter("team=fraud")
    TagFilter(key='team', value='fraud')
    >>> read_tag_filter("team").value is None
    True
    """
    key, sign, value = text.partition("=")
    if not key.strip():
        raise InvalidValueError(f"{text!r} is not a tag filter.", hint="Write key=value, or key.")
    return TagFilter(key=key.strip(), value=value.strip() if sign else None)


def read_metric_filter(text: str) -> MetricFilter:
    """Read `name>=value`; the signs are `>=`, `<=`, `>`, `<` and `=`.

    Raises:
        InvalidValueError: The text is not of that form, or the value is no number.

    >>> read_metric_filter("accuracy >= 0.95")
    MetricFilter(name='accuracy', sign='>=', bound=0.95)
    """
    found = _METRIC.fullmatch(text)
    try:
        if found is not None:
            return MetricFilter(name=found["name"], sign=found["sign"], bound=float(found["bound"]))
    except ValueError:
        pass
    raise InvalidValueError(
        f"{text!r} is not a metric filter.", hint="Write name>=number, such as accuracy>=0.95."
    )
