"""The vocabulary that every part of conch shares: names, tensors, traffic, errors. No I/O.

Everything in `__all__` is stable within a minor version; modules are not meant to be imported
from outside this part.
"""

from .errors import ConchError, ConflictError, InvalidValueError, NotFoundError
from .formats import ModelFormat, Pin, Precision, Profile
from .names import ModelName, Ordinal, SlotName, TritonName, triton_name
from .semver import FIRST, SemanticVersion, breaks_callers, next_version
from .serving import ServingSpec
from .targets import BuildRef, LoadedModel, ServerState, ServerStatus, TargetState
from .tensors import DYNAMIC, DType, Signature, TensorSpec
from .traffic import TOTAL_WEIGHT, UNIT_HEADER, Arm, Mirror, TrafficSplit

__all__ = [
    "DYNAMIC",
    "FIRST",
    "TOTAL_WEIGHT",
    "UNIT_HEADER",
    "Arm",
    "BuildRef",
    "ConchError",
    "ConflictError",
    "DType",
    "InvalidValueError",
    "LoadedModel",
    "Mirror",
    "ModelFormat",
    "ModelName",
    "NotFoundError",
    "Ordinal",
    "Pin",
    "Precision",
    "Profile",
    "SemanticVersion",
    "ServerState",
    "ServerStatus",
    "ServingSpec",
    "Signature",
    "SlotName",
    "TargetState",
    "TensorSpec",
    "TrafficSplit",
    "TritonName",
    "breaks_callers",
    "next_version",
    "triton_name",
]
