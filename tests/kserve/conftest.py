"""Fixtures of the KServe target's tests; their code is in `tests/support`."""

from memory_platform import memory_platform
from ports import unused_port

__all__ = ["memory_platform", "unused_port"]
