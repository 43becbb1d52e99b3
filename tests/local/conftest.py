"""Fixtures of the local target's tests; their code is in `tests/support`."""

from platform_fixtures import local_platform, serving_runtime

__all__ = ["local_platform", "serving_runtime"]
