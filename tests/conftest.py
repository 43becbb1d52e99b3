"""Fixtures that every part's tests may use; their code is in `tests/support`."""

from databases import database, database_url, postgres
from mlflow_fixtures import mlflow_server
from whole_platform import whole_platform

__all__ = ["database", "database_url", "mlflow_server", "postgres", "whole_platform"]
