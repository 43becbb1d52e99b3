"""Dividing a model's traffic between slots on a cluster, in three ways."""

from .canaries import CanaryTraffic
from .knative import KnativeTraffic
from .ports import Strategy
from .slots import SlotTraffic

__all__ = ["CanaryTraffic", "KnativeTraffic", "SlotTraffic", "Strategy"]
