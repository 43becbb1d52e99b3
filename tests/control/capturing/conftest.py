"""The real data plane."""

from platform_fixtures import local_platform, serving_runtime

__all__ = ["local_platform", "serving_runtime"]
