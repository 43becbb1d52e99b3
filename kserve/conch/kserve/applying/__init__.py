"""Making a cluster hold what is intended: ownership, plans, drift, prune."""

from .deploying import ForeignObjectError, carry_out, observe
from .differing import Difference, differences, render_differences
from .ownership import is_owned, spec_hash, stamped
from .planning import Create, Foreign, Plan, Remove, Update, decide

__all__ = [
    "Create",
    "Difference",
    "Foreign",
    "ForeignObjectError",
    "Plan",
    "Remove",
    "Update",
    "carry_out",
    "decide",
    "differences",
    "is_owned",
    "observe",
    "render_differences",
    "spec_hash",
    "stamped",
]
