"""Alembic's entry: migrations run on the connection that `Database.migrate` hands over."""

from alembic import context

from conch.control.state import tables

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=tables.metadata, render_as_batch=True, compare_type=True
)
with context.begin_transaction():
    context.run_migrations()
