"""Columns that many tables have."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Identity, func, text
from sqlalchemy.dialects.postgresql import JSONB


def moment(*, now: bool = False) -> Any:
    """A moment with its zone, which may be missing; `now`: the database fills it in."""
    return Column(DateTime(timezone=True), nullable=not now, server_default=func.now() if now else None)


def json(*, empty: str | None = None) -> Any:
    """JSON, which may be missing; `empty`: what the database fills in, then it never is."""
    return Column(JSONB, nullable=empty is None, server_default=text(f"'{empty}'::jsonb") if empty else None)


def identity() -> Any:
    """A key that Postgres counts up by itself."""
    return Column(BigInteger, Identity(always=True), primary_key=True)


def belongs_to(target: str, *, cascade: bool = False, primary_key: bool = False, nullable: bool = False, type_: Any = None) -> Any:
    """A key of another table; `cascade`: the row goes with the one that it belongs to."""
    foreign = ForeignKey(target, ondelete="CASCADE" if cascade else None)
    return Column(type_ or BigInteger, foreign, primary_key=primary_key, nullable=nullable and not primary_key)
