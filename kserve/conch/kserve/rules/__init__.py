"""The linter's rules, each under its stable code."""

from . import admission, autoscalers, canaries, graphs, modes, runtimes, scaling
from .subjects import Hit, Rule, Source, Subject
from .updates import UPDATE_RULES, UpdateRule

RULES: tuple[Rule, ...] = (
    *admission.RULES,
    *scaling.RULES,
    *autoscalers.RULES,
    *canaries.RULES,
    *modes.RULES,
    *graphs.RULES,
    *runtimes.RULES,
)
"""Every rule about one document, in the order in which the reference lists them."""

__all__ = ["RULES", "UPDATE_RULES", "Hit", "Rule", "Source", "Subject", "UpdateRule"]
