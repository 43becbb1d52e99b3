"""Fixtures of the fault tests; their code is in `tests/support`."""

from platform_fixtures import serving_runtime

__all__ = ["serving_runtime"]
