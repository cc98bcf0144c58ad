"""Declare the tables of streams: how far each was read, what arrived for it, and the shards that were made of that."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Index, Text
from sqlmodel import Field, SQLModel

from schemas.tables import columns


class Stream(SQLModel, table=True):
    """A stream of tweets that is summarised as it comes. One process at a time reads it: `owner`, until its lease ends."""

    __tablename__ = "stream"
    __table_args__ = (CheckConstraint("state IN ('running', 'stopped', 'ended', 'failed')", name="stream_state_is_known"),)

    name: str = Field(primary_key=True, sa_type=Text)
    address: str = Field(sa_type=Text, description="where it comes from, without secrets")
    model: str = Field(sa_type=Text, description="as it was asked for; looked up for each shard")
    options: dict[str, Any] = Field(sa_column=columns.json(empty="{}"))
    cursor: str | None = Field(default=None, sa_type=Text, description="of the last event that is stored; its source alone understands it")
    state: str = Field(sa_type=Text, description="stopped: asked to; ended: nothing more comes; running, without a lease: killed")
    job: UUID | None = Field(default=None, foreign_key="job.id", description="the parent of the shards since the last start")
    owner: str | None = Field(default=None, sa_type=Text, description="the process that reads it")
    lease_until: datetime | None = Field(default=None, sa_column=columns.moment())
    arrived: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": "0"}, description="the last ordinal")
    sharded: int = Field(
        default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": "0"}, description="ordinals up to this one have a shard"
    )
    shards: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": "0"}, description="made so far")
    counters: dict[str, Any] = Field(sa_column=columns.json(empty="{}"))
    error: str | None = Field(default=None, sa_type=Text, description="why it failed")
    created_at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))
    started_at: datetime | None = Field(default=None, sa_column=columns.moment())
    seen_at: datetime | None = Field(default=None, sa_column=columns.moment())
    stopped_at: datetime | None = Field(default=None, sa_column=columns.moment())
    last_arrival_at: datetime | None = Field(default=None, sa_column=columns.moment())


class Arrival(SQLModel, table=True):
    """A tweet that arrived for a stream. What lies behind the ordinals that have a shard is the stream's backlog."""

    __tablename__ = "arrival"
    # The tweet comes first: by it a redelivered one is found, and what goes with a deleted one.
    __table_args__ = (Index("arrival_tweet", "tweet", "stream", unique=True),)

    stream: str = Field(sa_column=columns.belongs_to("stream.name", cascade=True, primary_key=True, type_=Text))
    ordinal: int = Field(primary_key=True, sa_type=BigInteger, description="in the order of arrival; some may be missing")
    tweet: str = Field(sa_column=columns.belongs_to("tweet.id", cascade=True, type_=Text))
    tokens: int = Field(description="an estimate: a quarter of the bytes of its text")
    said_at: datetime | None = Field(default=None, sa_column=columns.moment(), description="when it happened, as the source says")
    arrived_at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))


class StreamShard(SQLModel, table=True):
    """A shard of a stream: the arrivals `first <= ordinal <= last`, summarised by one model."""

    __tablename__ = "stream_shard"
    __table_args__ = (
        ForeignKeyConstraint(["stream"], ["stream.name"], ondelete="CASCADE"),
        Index("stream_shard_stream", "stream", "first"),
    )

    job: UUID = Field(primary_key=True, foreign_key="job.id", ondelete="CASCADE")
    stream: str = Field(sa_type=Text)
    first: int = Field(sa_type=BigInteger)
    last: int = Field(sa_type=BigInteger)
    model: int = Field(sa_column=columns.belongs_to("model.id", cascade=True))
    tweets: int
    tokens: int
    made_at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))
