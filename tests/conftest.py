"""Fixtures that every part's tests may use; their code is in `tests/support`."""

from databases import database

__all__ = ["database"]
