"""Puts the error that ended a job or a stream into words that may be stored and shown."""

from __future__ import annotations

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from workers.redaction import redact

_LONGEST = 2_000  # characters


def words_of(error: Exception) -> str:
    """Return an error's first line without secrets; of a database's and a validator's, which may quote a row, only what kind it is."""
    if isinstance(error, DBAPIError):
        return f"Postgres: {type(error.orig).__name__}"
    if isinstance(error, ValidationError):
        return f"{error.title}: {error.error_count()} invalid fields"
    lines = str(error).splitlines() or [type(error).__name__]
    return redact(lines[0])[:_LONGEST]
