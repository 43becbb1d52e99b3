"""Requests and their answers, brought together by id and pod."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from conch.core import Arm, TritonName

from .cloud_events import Answered, Asked

_REMEMBERED_S: Final = 300.0
"""For so long after it was counted, the late answer of a request is known as that."""

_TOLERATED: Final = 2
_TOLERATED_SHARE: Final = 0.01

_Key: TypeAlias = tuple[str, str]


@dataclass(slots=True, kw_only=True)
class Served:
    """A request that a known arm got.

    Attributes:
        asked: The request.
        model: The model on the wire.
        arm: Who got it, as the cluster was when the event came; None: nobody who is counted.
        answered_s: When it was answered, by the pod's clock; None: not, as far as is known.
    """

    asked: Asked
    model: TritonName
    arm: Arm | None
    answered_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Everything of a stretch of time.

    Attributes:
        served: Its requests.
        orphans: Answers whose request never came.
    """

    served: tuple[Served, ...]
    orphans: int

    @property
    def whole(self) -> bool:
        """Whether so little was lost that a missing answer may be taken for a failure.

        Request and answer are posted each on its own, so that as many requests as answers get lost:
        an answer without its request is the loss that can be seen.
        """
        answers = self.orphans + sum(one.answered_s is not None for one in self.served)
        return self.orphans <= max(_TOLERATED, _TOLERATED_SHARE * answers)


class Pairs:
    """Open requests. Events may come in any order, an answer before its request too.

    Attributes:
        newest_s: Time of the newest request; None before the first one.
        late: Answers that came after their request was counted without one.
    """

    def __init__(self) -> None:
        self._open: dict[_Key, Served] = {}
        self._early: dict[_Key, float] = {}
        self._counted: dict[_Key, float] = {}
        self.newest_s: float | None = None
        self.late = 0

    def __len__(self) -> int:
        return len(self._open) + len(self._early)

    def ask(self, asked: Asked, model: TritonName, arm: Arm | None) -> bool:
        """Take a request; tell whether its id is new."""
        key = (asked.pod, asked.id)
        if key in self._open:
            return False
        self.newest_s = max(self.newest_s or 0.0, asked.at_s)
        self._open[key] = Served(
            asked=asked, model=model, arm=arm, answered_s=self._early.pop(key, None)
        )
        return True

    def answer(self, answered: Answered) -> None:
        """Take an answer."""
        key = (answered.pod, answered.id)
        if key in self._open:
            self._open[key].answered_s = answered.at_s
        elif self._counted.pop(key, None) is not None:
            self.late += 1
        else:
            self._early[key] = answered.at_s

    def until(self, to_s: float) -> Stretch:
        """Return everything up to a moment, Unix seconds; it stays until it is dropped."""
        return Stretch(
            served=tuple(one for one in self._open.values() if one.asked.at_s <= to_s),
            orphans=sum(at_s <= to_s for at_s in self._early.values()),
        )

    def drop(self, to_s: float) -> None:
        """Forget everything up to a moment."""
        for key, one in self._open.items():
            if one.asked.at_s <= to_s and one.answered_s is None:
                self._counted[key] = one.asked.at_s
        self._open = {key: one for key, one in self._open.items() if one.asked.at_s > to_s}
        self._early = {key: at_s for key, at_s in self._early.items() if at_s > to_s}
        oldest = to_s - _REMEMBERED_S
        self._counted = {key: at_s for key, at_s in self._counted.items() if at_s > oldest}
