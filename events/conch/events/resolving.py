"""Which of several labels for one prediction counts: a pure function of the labels.

The order of arrival plays no part; ties end with the feedback id, so every order of the same
labels gives the same answer.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence

from .examples import JoinRules, SourcePolicy
from .kinds import Feedback


def resolve(feedback: Sequence[Feedback], rules: JoinRules) -> Feedback:
    """Return the feedback whose label counts.

    First each source settles its own: its highest revision, then its policy. Between sources the
    more trusted wins, then the later observed, then the lower feedback id.

    Args:
        feedback: At least one, all for one prediction.
        rules: Policies by source.
    """
    if len(feedback) == 1:
        return feedback[0]
    by_source: defaultdict[str, list[Feedback]] = defaultdict(list)
    for item in feedback:
        by_source[item.source].append(item)
    settled = [_settle(items, rules.policy(source)) for source, items in by_source.items()]
    return min(settled, key=lambda item: (-item.trust, -item.observed_at, item.event_id))


def _settle(feedback: list[Feedback], policy: SourcePolicy) -> Feedback:
    highest = max(item.revision for item in feedback)
    current = sorted((f for f in feedback if f.revision == highest), key=_age)
    if policy is SourcePolicy.FIRST_WINS:
        return current[0]
    if policy is SourcePolicy.LAST_WINS:
        return current[-1]
    votes: defaultdict[str, list[Feedback]] = defaultdict(list)
    for item in current:
        votes[json.dumps([item.label, item.reward], sort_keys=True)].append(item)
    # `max` keeps the first of equals, and the groups are in the order of their oldest vote.
    return max(votes.values(), key=len)[0]


def _age(feedback: Feedback) -> tuple[float, str]:
    return feedback.observed_at, feedback.event_id
