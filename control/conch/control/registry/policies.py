"""Which registered versions conch takes up, as a person stated it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from conch.core import InvalidValueError

from .registered import OWN_PREFIX
from .serving_tags import OPTION_PREFIX


class TakeUpMode(StrEnum):
    """What makes a version wanted."""

    ALL = "all"
    ALIAS = "alias"
    TAG = "tag"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeUpPolicy:
    """Which versions to build and serve.

    Attributes:
        mode: `all` takes every version that is registered from now on, and of a model that conch
            has not taken up before only the newest; `alias` takes the version that has the alias;
            `tag` takes versions that have the tag.
        alias: The alias that `alias` looks for.
        tag_key: The tag that `tag` looks for.
        tag_value: The value that the tag must have.
        include: Shell patterns of model names; a model must match one.
        exclude: Shell patterns of model names; a model must match none.
    """

    mode: TakeUpMode = TakeUpMode.ALL
    alias: str = "champion"
    tag_key: str = "deploy"
    tag_value: str = "triton"
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.mode is TakeUpMode.ALIAS and not self.alias:
            raise InvalidValueError("A take-up policy by alias needs the alias's name.")
        if self.mode is TakeUpMode.TAG and not self.tag_key:
            raise InvalidValueError("A take-up policy by tag needs the tag's key.")
        if self.mode is TakeUpMode.TAG and self.tag_key.startswith((OWN_PREFIX, OPTION_PREFIX)):
            raise InvalidValueError(
                f"The take-up policy cannot go by {self.tag_key!r}: tags under {OWN_PREFIX!r} are "
                f"what conch writes, and tags under {OPTION_PREFIX!r} are serving options.",
                hint="Choose another key, such as 'deploy'.",
            )

    def covers(self, name: str) -> bool:
        """Tell whether models of this name are of interest; case matters.

        >>> TakeUpPolicy(include=("fraud-*",), exclude=("*-test",)).covers("fraud-eu")
        True
        """
        return any(fnmatchcase(name, pattern) for pattern in self.include) and not any(
            fnmatchcase(name, pattern) for pattern in self.exclude
        )

    def reason(self, tags: Mapping[str, str], aliases: tuple[str, ...]) -> str:
        """Return why a version with these marks is wanted; empty where it is not.

        In mode `all` every version is; `sweeping` holds back what is older than the one in use.
        """
        if self.mode is TakeUpMode.ALIAS:
            return f"alias {self.alias!r}" if self.alias in aliases else ""
        if self.mode is TakeUpMode.TAG:
            wanted = tags.get(self.tag_key) == self.tag_value
            return f"tag {self.tag_key}={self.tag_value}" if wanted else ""
        return "every new version is taken up"
