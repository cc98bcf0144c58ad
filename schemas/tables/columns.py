"""Declare columns that many tables have."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Dialect, ForeignKey, Identity, Text, TypeDecorator, func, text
from sqlalchemy.dialects.postgresql import JSONB

from schemas.states import JobState


class State(TypeDecorator[JobState]):
    """A job's state: text in the table, a `JobState` in Python."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: JobState | None, dialect: Dialect) -> str | None:
        """Return the text to store."""
        del dialect
        return None if value is None else JobState(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> JobState | None:
        """Return the state that a text names."""
        del dialect
        return None if value is None else JobState(value)


def moment(*, now: bool = False) -> Any:
    """Return a column for a moment with its zone, which may be missing; `now`: the database fills it in."""
    return Column(DateTime(timezone=True), nullable=not now, server_default=func.now() if now else None)


def json(*, empty: str | None = None) -> Any:
    """Return a column for JSON, which may be missing; `empty`: what the database fills in, then it never is."""
    return Column(JSONB, nullable=empty is None, server_default=text(f"'{empty}'::jsonb") if empty else None)


def identity_key() -> Any:
    """Return a column for a key that Postgres counts up by itself."""
    return Column(BigInteger, Identity(always=True), primary_key=True)


def belongs_to(target: str, *, cascade: bool = False, primary_key: bool = False, nullable: bool = False, type_: Any = None) -> Any:
    """Return a column for a key of another table; `cascade`: the row goes with the one that it belongs to."""
    foreign = ForeignKey(target, ondelete="CASCADE" if cascade else None)
    return Column(type_ or BigInteger, foreign, primary_key=primary_key, nullable=nullable and not primary_key)
