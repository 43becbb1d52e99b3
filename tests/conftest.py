"""Fixtures that every part's tests may use; their code is in `tests/support`."""

from databases import database, database_url, postgres

__all__ = ["database", "database_url", "postgres"]
