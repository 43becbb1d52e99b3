"""Fixtures of the control plane's tests."""

from memory_platform import memory_platform
from ports import unused_port

__all__ = ["memory_platform", "unused_port"]
