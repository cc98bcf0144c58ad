"""Declare the tables of forgetting: what must not come back, and how many examples datasets lost by it. Neither holds a text."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Column, Index, LargeBinary, Text, text
from sqlmodel import Field, SQLModel

from schemas.tables import columns


class ForgottenDigest(SQLModel, table=True):
    """A tweet or an author that was forgotten, or the text of such a tweet: what comes under it later is left out."""

    __tablename__ = "forgotten"
    __table_args__ = (
        CheckConstraint("kind IN ('tweet', 'author', 'text')", name="forgotten_kind_is_known"),
        Index("forgotten_tweet", "tweet", postgresql_where=text("tweet IS NOT NULL")),
        Index("forgotten_account", "account", postgresql_where=text("account IS NOT NULL")),
    )

    kind: str = Field(primary_key=True, sa_type=Text, description="tweet, author, or text: of what comes without an id")
    digest: bytes = Field(sa_column=Column(LargeBinary, primary_key=True), description="sha256 of the id or text, in UTF-8")
    tweet: bytes | None = Field(
        default=None, sa_column=Column(LargeBinary, nullable=True), description="of a text: the digest of its tweet"
    )
    account: bytes | None = Field(
        default=None,
        sa_column=Column(LargeBinary, nullable=True),
        description="the digest of an author whose account is gone and may come back, and this with it; none: for good",
    )
    forgotten_at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))


class TakenBack(SQLModel, table=True):
    """How many examples of a dataset are gone because their tweets were forgotten. Its fingerprint stays that of all of them."""

    __tablename__ = "taken_back"

    dataset: int = Field(sa_column=columns.belongs_to("dataset.id", cascade=True, primary_key=True))
    stage: str = Field(primary_key=True, sa_type=Text)
    split: str = Field(primary_key=True, sa_type=Text)
    examples: int
    taken_at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))
