"""Fixtures of the control plane's tests."""

from memory_platform import memory_platform

__all__ = ["memory_platform"]
