"""Alembic's entry: `deploy.migrate` calls it with a connection of its own."""

from __future__ import annotations

from alembic import context

from schemas.tables.jobs import Job

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Job.metadata)
with context.begin_transaction():
    context.run_migrations()
