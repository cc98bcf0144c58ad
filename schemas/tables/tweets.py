"""Declare the tables of what came in: tweets, how far a source was read, and what could not be used."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Index, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from schemas.tables import columns


class Tweet(SQLModel, table=True):
    """A tweet as it came."""

    __tablename__ = "tweet"
    __table_args__ = (
        Index("tweet_hash", "text_hash"),
        Index("tweet_source", "source"),
        # `tweetmill drift` looks at the newest.
        Index("tweet_received", "received_at"),
        # Whose account is gone is forgotten by their name.
        Index("tweet_author", "author", postgresql_where=text("author IS NOT NULL")),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    source: str = Field(sa_type=Text)
    text: str = Field(sa_type=Text)
    author: str | None = Field(default=None, sa_type=Text)
    lang: str | None = Field(default=None, sa_type=Text)
    created_at: datetime | None = Field(default=None, sa_column=columns.moment())
    conversation: str | None = Field(default=None, sa_type=Text, description="id of the thread's first tweet, where the source names it")
    text_hash: str = Field(sa_type=Text, description="sha256 of the text, hex: equal tweets are computed once")
    received_at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))


class SourceCursor(SQLModel, table=True):
    """How far a source was read, so that an interrupted ingest goes on where it stood."""

    __tablename__ = "source_cursor"

    source: str = Field(primary_key=True, sa_type=Text)
    fingerprint: str = Field(sa_type=Text, description="how many bytes were read, and their SHA-256: another file starts anew")
    position: int = Field(sa_type=BigInteger, description="lines done")
    updated_at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))


class RejectedRow(SQLModel, table=True):
    """A row that could not be used, with its reason: nothing is lost."""

    __tablename__ = "rejected_row"
    __table_args__ = (UniqueConstraint("origin", "row_key", "reason", name="rejected_row_once"), Index("rejected_row_job", "job"))

    id: int = Field(sa_column=columns.identity_key())
    job: UUID | None = Field(default=None, foreign_key="job.id", ondelete="CASCADE")
    origin: str = Field(sa_type=Text, description="file or dataset")
    row_key: str = Field(sa_type=Text, description="line number, tweet id or example key")
    field: str | None = Field(default=None, sa_type=Text)
    reason: str = Field(sa_type=Text)
    rejected_at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))
