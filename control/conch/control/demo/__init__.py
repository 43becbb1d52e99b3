"""The demonstration: two versions of a small network, from registration to rollback, under load."""

from .story import run

__all__ = ["run"]
