"""Declare the tables of datasets: what a person or a teacher wrote, the examples made of it, and what a review says of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlmodel import Field, SQLModel

from schemas.tables import columns


class Curated(SQLModel, table=True):
    """A row of a file that a person wrote, imported by a producer so that any worker can read it."""

    __tablename__ = "curated"
    # What is forgotten is found by its tweet's id, or where a file has none by its text: a hash of it, for texts are long.
    __table_args__ = (
        Index("curated_key", "key", postgresql_where=text("text IS NULL")),
        Index("curated_text", text("md5(text)"), postgresql_where=text("text IS NOT NULL")),
    )

    collection: str = Field(primary_key=True, sa_type=Text, description="file name and the beginning of its sha256")
    position: int = Field(primary_key=True, description="line of the file")
    key: str = Field(sa_type=Text, description="tweet id, reference id, or an import's place; empty for a sentence")
    text: str | None = Field(default=None, sa_type=Text, description="the tweet, where the file holds it")
    clean: str | None = Field(default=None, sa_type=Text)
    summary: str | None = Field(default=None, sa_type=Text)
    other_summaries: list[str] = Field(
        default_factory=list, sa_column=columns.json(empty="[]"), description="where a tweet has several references, those after the first"
    )


class Dataset(SQLModel, table=True):
    """Training and test examples that belong together."""

    __tablename__ = "dataset"

    id: int = Field(sa_column=columns.identity_key())
    name: str = Field(unique=True, sa_type=Text)
    recipe: dict[str, Any] = Field(sa_column=columns.json(empty="{}"))
    fingerprint: str = Field(sa_type=Text, description="sha256 over the examples' keys and splits, sorted")
    created_at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))


class Example(SQLModel, table=True):
    """One pair to learn from or to be tested on."""

    __tablename__ = "example"
    __table_args__ = (
        Index("example_split", "dataset", "split"),
        Index("example_tweet", "tweet", postgresql_where=text("tweet IS NOT NULL")),
        Index("example_text", text("md5(prompt_text)"), postgresql_where=text("tweet IS NULL")),
    )

    dataset: int = Field(sa_column=columns.belongs_to("dataset.id", cascade=True, primary_key=True))
    key: str = Field(primary_key=True, sa_type=Text, description="sha256 over stage, prompt, target and origin")
    stage: str = Field(sa_type=Text)
    prompt_text: str = Field(sa_type=Text)
    target_text: str = Field(sa_type=Text)
    origin: str = Field(sa_type=Text)
    tweet: str | None = Field(default=None, sa_column=columns.belongs_to("tweet.id", cascade=True, nullable=True, type_=Text))
    lineage: dict[str, Any] = Field(sa_column=columns.json(empty="{}"))
    split: str = Field(sa_type=Text)
    cluster: int


class Dropped(SQLModel, table=True):
    """An example that a filter kept out of a dataset, as it would have been, and why."""

    __tablename__ = "dropped"
    __table_args__ = (
        Index("dropped_tweet", "tweet", postgresql_where=text("tweet IS NOT NULL")),
        Index("dropped_text", text("md5(prompt_text)"), postgresql_where=text("tweet IS NULL")),
    )

    job: UUID = Field(primary_key=True, foreign_key="job.id", ondelete="CASCADE")
    key: str = Field(primary_key=True, sa_type=Text, description="as in `example`")
    dataset: str = Field(sa_type=Text, description="the name that the recipe gives; an unmet expectation leaves no dataset")
    stage: str = Field(sa_type=Text)
    prompt_text: str = Field(sa_type=Text)
    target_text: str = Field(sa_type=Text)
    origin: str = Field(sa_type=Text)
    tweet: str | None = Field(default=None, sa_column=columns.belongs_to("tweet.id", cascade=True, nullable=True, type_=Text))
    lineage: dict[str, Any] = Field(sa_column=columns.json(empty="{}"))
    reasons: list[str] = Field(sa_column=columns.json(empty="[]"))


class Teaching(SQLModel, table=True):
    """What a teacher answered to one prompt. It is asked once: a job that starts again goes on behind the last of these rows."""

    __tablename__ = "teaching"
    __table_args__ = (Index("teaching_tweet", "tweet"), Index("teaching_job", "job"))

    fingerprint: str = Field(primary_key=True, sa_type=Text, description="sha256 over model, prompt and sampling, hex")
    tweet: str = Field(sa_column=columns.belongs_to("tweet.id", cascade=True, type_=Text))
    model: str = Field(sa_type=Text)
    prompt_sha256: str = Field(sa_type=Text, description="of the template with its examples, without the tweet")
    answers: list[str] = Field(sa_column=columns.json(empty="[]"))
    error: str | None = Field(default=None, sa_type=Text, description="why there is no answer, and will be none")
    tokens_in: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    tokens_out: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    seconds: float
    job: UUID | None = Field(default=None, foreign_key="job.id")
    answered_at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))


class Review(SQLModel, table=True):
    """What a person said of an example, or will be asked about it. A claim that has run out is anybody's again."""

    __tablename__ = "review"
    __table_args__ = (
        CheckConstraint("verdict IN ('accepted', 'edited', 'rejected', 'skipped')", name="review_verdict_is_known"),
        Index("review_waiting", "dataset", text("value DESC"), "key", postgresql_where=text("verdict IS NULL")),
        # What somebody said last is what they take back first.
        Index("review_given", "dataset", "reviewer", "reviewed_at", postgresql_where=text("verdict IS NOT NULL")),
    )

    dataset: int = Field(sa_column=columns.belongs_to("dataset.id", cascade=True, primary_key=True))
    key: str = Field(primary_key=True, sa_type=Text, description="as in `example`")
    value: float = Field(description="how much a look at it tells: the greatest is shown first")
    reasons: list[str] = Field(sa_column=columns.json(empty="[]"))
    reviewer: str | None = Field(default=None, sa_type=Text)
    claimed_until: datetime | None = Field(default=None, sa_column=columns.moment())
    verdict: str | None = Field(default=None, sa_type=Text)
    target_text: str | None = Field(default=None, sa_type=Text, description="of an edit")
    rule: dict[str, Any] | None = Field(
        default=None, sa_column=columns.json(), description="the edit that was applied to all, if it came by one"
    )
    seconds: float | None = Field(default=None, description="from when it was shown until the verdict")
    reviewed_at: datetime | None = Field(default=None, sa_column=columns.moment())
