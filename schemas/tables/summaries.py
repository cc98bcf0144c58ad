"""Declare the tables of summaries: which tweets a job asks for, and what was written of each."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Index, Text
from sqlmodel import Field, SQLModel

from schemas.tables import columns


class Selection(SQLModel, table=True):
    """The tweets of a summarization job in the order of their text hashes, so that equal tweets stand side by side."""

    __tablename__ = "selection"
    # A tweet that goes takes its rows with it.
    __table_args__ = (Index("selection_tweet", "tweet"),)

    job: UUID = Field(primary_key=True, foreign_key="job.id", ondelete="CASCADE")
    ordinal: int = Field(primary_key=True, sa_type=BigInteger)
    tweet: str = Field(sa_column=columns.belongs_to("tweet.id", cascade=True, type_=Text))


class Summary(SQLModel, table=True):
    """The summary of one tweet by one model and prompt: the key lets a copy of a task change nothing."""

    __tablename__ = "summary"
    __table_args__ = (Index("summary_job", "job"),)

    tweet: str = Field(sa_column=columns.belongs_to("tweet.id", cascade=True, primary_key=True, type_=Text))
    model: int = Field(sa_column=columns.belongs_to("model.id", primary_key=True))
    prompt_version: str = Field(primary_key=True, sa_type=Text)
    cleaned: str = Field(sa_type=Text, description="the tweet as the rules clean it")
    summary: str = Field(sa_type=Text)
    flags: list[str] = Field(sa_column=columns.json(empty="[]"))
    tries: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    tokens_in: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    tokens_out: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    job: UUID | None = Field(default=None, foreign_key="job.id")
    attempt: int
    worker: str | None = Field(default=None, sa_type=Text)
    created_at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))
