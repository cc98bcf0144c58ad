"""Declare the tables in Postgres. They do not validate: what crosses a file or Redis is a payload or a record.

Alembic owns the DDL (`schemas/migrations`); a test compares these classes with a migrated database.
"""

from __future__ import annotations

# Whoever imports one table has the metadata of all: foreign keys name tables of other modules.
from schemas.tables import datasets, forgetting, jobs, models, service, streams, summaries, tweets

__all__ = ["datasets", "forgetting", "jobs", "models", "service", "streams", "summaries", "tweets"]
