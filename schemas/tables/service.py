"""Declare the tables of models in service: which model writes for which stream, and what the shards of a canary came to."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Text, text
from sqlmodel import Field, SQLModel

from schemas.tables import columns

_HOLDS = "state IN ('in_service', 'canary')"


def _remembers(target: str) -> Any:
    """Return a column for a key of another table that is emptied when that row is removed: history stays."""
    return Column(BigInteger, ForeignKey(target, ondelete="SET NULL"), nullable=True)


class Promotion(SQLModel, table=True):
    """A model that was put in service for a stream, wholly or for a share of its shards. Rows are added and ended, never removed."""

    __tablename__ = "promotion"
    __table_args__ = (
        CheckConstraint("state IN ('canary', 'in_service', 'stopped', 'replaced')", name="promotion_state_is_known"),
        CheckConstraint("(state <> 'canary') OR (share BETWEEN 1 AND 50)", name="promotion_share_is_a_part"),
        # One model in service and one canary for each stream, and for all that have none of their own.
        Index("promotion_of_stream", "stream", "state", unique=True, postgresql_where=text(f"{_HOLDS} AND stream IS NOT NULL")),
        Index("promotion_of_default", "state", unique=True, postgresql_where=text(f"{_HOLDS} AND stream IS NULL")),
        Index("promotion_model", "model"),
    )

    id: int = Field(sa_column=columns.identity_key())
    stream: str | None = Field(default=None, sa_type=Text, description="its name; none: all streams without a model of their own")
    model: int | None = Field(default=None, sa_column=_remembers("model.id"))
    name: str = Field(sa_type=Text, description="of the model, as it was called then")
    state: str = Field(sa_type=Text)
    command: str = Field(sa_type=Text, description="promote, rollback, or auto for a canary that was promoted by its own figures")
    share: int | None = Field(default=None, description="percent of the shards that a canary gets")
    auto: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")}, description="promote the canary once it is ready")
    incumbent: int | None = Field(default=None, sa_column=_remembers("model.id"), description="the model that a canary is compared with")
    previous: int | None = Field(
        default=None, sa_column=_remembers("promotion.id"), description="what was in service before: a rollback goes there"
    )
    reason: str | None = Field(default=None, sa_type=Text, description="why it ended")
    figures: dict[str, Any] | None = Field(default=None, sa_column=columns.json(), description="the last comparison of a canary")
    created_at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))
    ended_at: datetime | None = Field(default=None, sa_column=columns.moment())


class CanaryShard(SQLModel, table=True):
    """What a shard wrote while a canary ran, summed: written in the transaction that ended the shard."""

    __tablename__ = "canary_shard"
    __table_args__ = (Index("canary_shard_block", "promotion", "block"),)

    job: UUID = Field(primary_key=True, foreign_key="job.id", ondelete="CASCADE")
    promotion: int = Field(sa_column=columns.belongs_to("promotion.id", cascade=True))
    stream: str | None = Field(default=None, sa_type=Text, description="whose shards the block counts")
    block: int = Field(sa_type=BigInteger, description="shards of one block are compared with each other")
    candidate: bool = Field(description="whether the candidate wrote it, or the model in service")
    rows: int = Field(description="summaries that this shard wrote")
    faulty: int = Field(description="of these, with a serious flag or as a fallback")
    fallbacks: int
    retried: int = Field(description="written again after the first answer")
    words: int = Field(description="in all of its summaries")
    seconds: float | None = Field(default=None, description="from its start to its end; none where it was tried more than once")
    ended_at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))
