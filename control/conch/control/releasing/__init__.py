"""The release engine: looks at the evidence, decides by the plan, writes down why, and acts."""

from .engine import ReleaseEngine
from .explaining import explain
from .judging import Move, ReleaseWorld, Ruling, judge
from .policies import ReleasePolicy
from .simulating import NothingRecordedError, Simulation, differing, simulate

__all__ = [
    "Move",
    "NothingRecordedError",
    "ReleaseEngine",
    "ReleasePolicy",
    "ReleaseWorld",
    "Ruling",
    "Simulation",
    "differing",
    "explain",
    "judge",
    "simulate",
]
