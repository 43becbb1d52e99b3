"""Release plans: values, presets, and how people write them."""

from .bodies import completed, merged, read_plan_file, read_plan_text
from .book import WAIT, ByItself, PlanBook
from .files import plan_from
from .overriding import overrides
from .presets import MANUAL, presets
from .values import Gate, Plan, PlanInvalidError, Road, ShadowGate, plan_of

__all__ = [
    "MANUAL",
    "WAIT",
    "ByItself",
    "Gate",
    "Plan",
    "PlanBook",
    "PlanInvalidError",
    "Road",
    "ShadowGate",
    "completed",
    "merged",
    "overrides",
    "plan_from",
    "plan_of",
    "presets",
    "read_plan_file",
    "read_plan_text",
]
