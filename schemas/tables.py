"""The tables in Postgres. They store; they do not validate: what crosses a file or Redis is a payload or a record.

Alembic owns the DDL (`schemas/migrations`); a test compares these classes with a migrated database.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, ForeignKey, Identity, Index, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from schemas.states import JobState

_STATES = ", ".join(f"'{state.value}'" for state in JobState)


def _moment(*, now: bool = False) -> Any:
    return Column(DateTime(timezone=True), nullable=not now, server_default=func.now() if now else None)


def _json(*, empty: str | None = None) -> Any:
    return Column(JSONB, nullable=empty is None, server_default=text(f"'{empty}'::jsonb") if empty else None)


def _identity() -> Any:
    return Column(BigInteger, Identity(always=True), primary_key=True)


def _belongs_to(target: str, *, cascade: bool = False, primary_key: bool = False, nullable: bool = False, type_: Any = None) -> Any:
    foreign = ForeignKey(target, ondelete="CASCADE" if cascade else None)
    return Column(type_ or BigInteger, foreign, primary_key=primary_key, nullable=nullable and not primary_key)


class Job(SQLModel, table=True):
    """A piece of work: the truth of which the Celery message is only a hint."""

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint(f"state IN ({_STATES})", name="job_state_is_known"),
        Index("job_queued", "queue", "created_at", postgresql_where=text("state = 'queued'")),
        Index("job_published", "queue", "published_at", postgresql_where=text("state = 'queued' AND published_at IS NOT NULL")),
        Index("job_lease", "lease_until", postgresql_where=text("state = 'running'")),
        Index("job_parent", "parent", postgresql_where=text("parent IS NOT NULL")),
        Index("job_created", "created_at"),
        # What `tweetmill retry` and people look for is rare among a million that are done.
        Index("job_unfinished", "state", "created_at", postgresql_where=text("state IN ('failed', 'cancelled', 'quarantined')")),
    )

    id: UUID = Field(primary_key=True)
    kind: str = Field(sa_type=Text, description="the task's name, such as training.train")
    queue: str = Field(sa_type=Text)
    idempotency_key: str = Field(sa_type=Text, unique=True)
    payload: dict[str, Any] = Field(sa_column=_json(empty="{}"))
    state: str = Field(sa_type=Text, sa_column_kwargs={"server_default": JobState.QUEUED.value})
    parent: UUID | None = Field(default=None, foreign_key="job.id")
    remaining: int | None = Field(default=None, description="unfinished shards of a parent")
    attempt: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    failures: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    preemptions: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    max_failures: int = Field(default=3, sa_column_kwargs={"server_default": "3"})
    owner: str | None = Field(default=None, sa_type=Text, description="worker that holds or last held it")
    lease_until: datetime | None = Field(default=None, sa_column=_moment())
    run_after: datetime | None = Field(default=None, sa_column=_moment(now=True))
    published_at: datetime | None = Field(default=None, sa_column=_moment())
    created_at: datetime | None = Field(default=None, sa_column=_moment(now=True))
    started_at: datetime | None = Field(default=None, sa_column=_moment())
    finished_at: datetime | None = Field(default=None, sa_column=_moment())
    progress: dict[str, Any] = Field(sa_column=_json(empty="{}"))
    result: dict[str, Any] | None = Field(default=None, sa_column=_json())
    error: dict[str, Any] | None = Field(default=None, sa_column=_json())
    orders: str | None = Field(default=None, sa_type=Text, description="cancel or drain, told at the next renewal")


class JobEvent(SQLModel, table=True):
    """What happened to a job, appended and never changed. `tweetmill logs` reads it."""

    __tablename__ = "job_event"
    __table_args__ = (Index("job_event_job", "job", "id"),)

    id: int = Field(sa_column=_identity())
    job: UUID = Field(foreign_key="job.id", ondelete="CASCADE")
    at: datetime | None = Field(default=None, sa_column=_moment(now=True))
    attempt: int
    event: str = Field(sa_type=Text)
    detail: str | None = Field(default=None, sa_type=Text)


class Worker(SQLModel, table=True):
    """A worker that said it lives: upkeep refreshes `seen_at` every round."""

    __tablename__ = "worker"

    name: str = Field(primary_key=True, sa_type=Text)
    queues: str = Field(sa_type=Text, description="comma-separated")
    pid: int
    orders: str | None = Field(default=None, sa_type=Text, description="drain: finish or give back, then leave")
    left_at: datetime | None = Field(default=None, sa_column=_moment())
    started_at: datetime | None = Field(default=None, sa_column=_moment(now=True))
    seen_at: datetime | None = Field(default=None, sa_column=_moment(now=True))


class Checkpoint(SQLModel, table=True):
    """A checkpoint of a training that is whole on disk; written under the fence of the attempt that made it."""

    __tablename__ = "checkpoint"
    __table_args__ = (UniqueConstraint("job", "step", name="checkpoint_is_unique"),)

    id: int = Field(sa_column=_identity())
    job: UUID = Field(foreign_key="job.id", ondelete="CASCADE")
    attempt: int
    step: int
    folder: str = Field(sa_type=Text, description="relative to the job's folder of runs")
    manifest_sha256: str = Field(sa_type=Text)
    world_size: int
    zero_stage: int
    bytes: int = Field(sa_type=BigInteger)
    created_at: datetime | None = Field(default=None, sa_column=_moment(now=True))
    removed_at: datetime | None = Field(default=None, sa_column=_moment())


class Tweet(SQLModel, table=True):
    """A tweet as it came."""

    __tablename__ = "tweet"
    __table_args__ = (Index("tweet_hash", "text_hash"), Index("tweet_source", "source"))

    id: str = Field(primary_key=True, sa_type=Text)
    source: str = Field(sa_type=Text)
    text: str = Field(sa_type=Text)
    author: str | None = Field(default=None, sa_type=Text)
    lang: str | None = Field(default=None, sa_type=Text)
    created_at: datetime | None = Field(default=None, sa_column=_moment())
    conversation: str | None = Field(default=None, sa_type=Text, description="id of the thread's first tweet, where the source names it")
    text_hash: str = Field(sa_type=Text, description="sha256 of the text, hex: equal tweets are computed once")
    received_at: datetime | None = Field(default=None, sa_column=_moment(now=True))


class SourceCursor(SQLModel, table=True):
    """How far a source was read, so that an interrupted ingest goes on where it stood."""

    __tablename__ = "source_cursor"

    source: str = Field(primary_key=True, sa_type=Text)
    fingerprint: str = Field(sa_type=Text, description="how many bytes were read, and their SHA-256: another file starts anew")
    position: int = Field(sa_type=BigInteger, description="lines done")
    updated_at: datetime | None = Field(default=None, sa_column=_moment(now=True))


class RejectedRow(SQLModel, table=True):
    """A row that could not be used, with its reason: nothing is lost."""

    __tablename__ = "rejected_row"
    __table_args__ = (UniqueConstraint("origin", "row_key", "reason", name="rejected_row_once"),)

    id: int = Field(sa_column=_identity())
    job: UUID | None = Field(default=None, foreign_key="job.id", ondelete="CASCADE")
    origin: str = Field(sa_type=Text, description="file or dataset")
    row_key: str = Field(sa_type=Text, description="line number, tweet id or example key")
    field: str | None = Field(default=None, sa_type=Text)
    reason: str = Field(sa_type=Text)
    rejected_at: datetime | None = Field(default=None, sa_column=_moment(now=True))


class Curated(SQLModel, table=True):
    """A row of a file that a person wrote, brought in by a producer so that any worker can read it."""

    __tablename__ = "curated"

    collection: str = Field(primary_key=True, sa_type=Text, description="file name and the beginning of its sha256")
    position: int = Field(primary_key=True, description="line of the file")
    key: str = Field(sa_type=Text, description="tweet id, reference id, or an import's place; empty for a sentence")
    text: str | None = Field(default=None, sa_type=Text, description="the tweet, where the file holds it")
    clean: str | None = Field(default=None, sa_type=Text)
    summary: str | None = Field(default=None, sa_type=Text)


class Dataset(SQLModel, table=True):
    """Training and test examples that belong together."""

    __tablename__ = "dataset"

    id: int = Field(sa_column=_identity())
    name: str = Field(unique=True, sa_type=Text)
    recipe: dict[str, Any] = Field(sa_column=_json(empty="{}"))
    fingerprint: str = Field(sa_type=Text, description="sha256 over the examples' keys and splits, sorted")
    created_at: datetime | None = Field(default=None, sa_column=_moment(now=True))


class Example(SQLModel, table=True):
    """One pair to learn from or to be tested on."""

    __tablename__ = "example"
    __table_args__ = (Index("example_split", "dataset", "split"),)

    dataset: int = Field(sa_column=_belongs_to("dataset.id", cascade=True, primary_key=True))
    key: str = Field(primary_key=True, sa_type=Text, description="sha256 over stage, prompt, target and origin")
    stage: str = Field(sa_type=Text)
    prompt_text: str = Field(sa_type=Text)
    target_text: str = Field(sa_type=Text)
    origin: str = Field(sa_type=Text)
    tweet: str | None = Field(default=None, sa_column=_belongs_to("tweet.id", cascade=True, nullable=True, type_=Text))
    lineage: dict[str, Any] = Field(sa_column=_json(empty="{}"))
    split: str = Field(sa_type=Text)
    cluster: int


class Dropped(SQLModel, table=True):
    """An example that a filter kept out of a dataset, as it would have been, and why."""

    __tablename__ = "dropped"

    job: UUID = Field(primary_key=True, foreign_key="job.id", ondelete="CASCADE")
    key: str = Field(primary_key=True, sa_type=Text, description="as in `example`")
    dataset: str = Field(sa_type=Text, description="the name that the recipe gives; an unmet expectation leaves no dataset")
    stage: str = Field(sa_type=Text)
    prompt_text: str = Field(sa_type=Text)
    target_text: str = Field(sa_type=Text)
    origin: str = Field(sa_type=Text)
    tweet: str | None = Field(default=None, sa_column=_belongs_to("tweet.id", cascade=True, nullable=True, type_=Text))
    lineage: dict[str, Any] = Field(sa_column=_json(empty="{}"))
    reasons: list[str] = Field(sa_column=_json(empty="[]"))


class Teaching(SQLModel, table=True):
    """What a teacher answered to one prompt. It is asked once: a job that starts again goes on behind the last of these rows."""

    __tablename__ = "teaching"

    fingerprint: str = Field(primary_key=True, sa_type=Text, description="sha256 over model, prompt and sampling, hex")
    tweet: str = Field(sa_column=_belongs_to("tweet.id", cascade=True, type_=Text))
    model: str = Field(sa_type=Text)
    prompt_sha256: str = Field(sa_type=Text, description="of the template with its examples, without the tweet")
    answers: list[str] = Field(sa_column=_json(empty="[]"))
    error: str | None = Field(default=None, sa_type=Text, description="why there is no answer, and will be none")
    tokens_in: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    tokens_out: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    seconds: float
    job: UUID | None = Field(default=None, foreign_key="job.id")
    answered_at: datetime | None = Field(default=None, sa_column=_moment(now=True))


class Review(SQLModel, table=True):
    """What a person said of an example, or will be asked about it. A claim that has run out is anybody's again."""

    __tablename__ = "review"
    __table_args__ = (
        CheckConstraint("verdict IN ('accepted', 'edited', 'rejected', 'skipped')", name="review_verdict_is_known"),
        Index("review_waiting", "dataset", text("value DESC"), "key", postgresql_where=text("verdict IS NULL")),
        # What somebody said last is what they take back first.
        Index("review_given", "dataset", "reviewer", "reviewed_at", postgresql_where=text("verdict IS NOT NULL")),
    )

    dataset: int = Field(sa_column=_belongs_to("dataset.id", cascade=True, primary_key=True))
    key: str = Field(primary_key=True, sa_type=Text, description="as in `example`")
    value: float = Field(description="how much a look at it tells: the greatest is shown first")
    reasons: list[str] = Field(sa_column=_json(empty="[]"))
    reviewer: str | None = Field(default=None, sa_type=Text)
    claimed_until: datetime | None = Field(default=None, sa_column=_moment())
    verdict: str | None = Field(default=None, sa_type=Text)
    target_text: str | None = Field(default=None, sa_type=Text, description="of an edit")
    rule: dict[str, Any] | None = Field(default=None, sa_column=_json(), description="the edit that was applied to all, if it came by one")
    seconds: float | None = Field(default=None, description="from when it was shown until the verdict")
    reviewed_at: datetime | None = Field(default=None, sa_column=_moment())


class Model(SQLModel, table=True):
    """A base model, or an adapter trained on one."""

    __tablename__ = "model"

    id: int = Field(sa_column=_identity())
    name: str = Field(unique=True, sa_type=Text)
    base: str = Field(sa_type=Text)
    method: str = Field(sa_type=Text)
    stage: str = Field(sa_type=Text)
    adapter_uri: str | None = Field(default=None, sa_type=Text)
    adapter_sha256: str | None = Field(default=None, sa_type=Text)
    dataset: int | None = Field(default=None, sa_column=_belongs_to("dataset.id", nullable=True))
    job: UUID | None = Field(default=None, foreign_key="job.id")
    details: dict[str, Any] = Field(sa_column=_json(empty="{}"))
    created_at: datetime | None = Field(default=None, sa_column=_moment(now=True))


class Metric(SQLModel, table=True):
    """One number of one training step."""

    __tablename__ = "metric"

    job: UUID = Field(primary_key=True, foreign_key="job.id", ondelete="CASCADE")
    step: int = Field(primary_key=True)
    name: str = Field(primary_key=True, sa_type=Text)
    value: float


class Selection(SQLModel, table=True):
    """The tweets of a summarization job in the order of their text hashes, so that equal tweets stand side by side."""

    __tablename__ = "selection"

    job: UUID = Field(primary_key=True, foreign_key="job.id", ondelete="CASCADE")
    ordinal: int = Field(primary_key=True, sa_type=BigInteger)
    tweet: str = Field(sa_column=_belongs_to("tweet.id", cascade=True, type_=Text))


class Summary(SQLModel, table=True):
    """The summary of one tweet by one model and prompt: the key lets a copy of a task change nothing."""

    __tablename__ = "summary"
    __table_args__ = (Index("summary_job", "job"),)

    tweet: str = Field(sa_column=_belongs_to("tweet.id", cascade=True, primary_key=True, type_=Text))
    model: int = Field(sa_column=_belongs_to("model.id", primary_key=True))
    prompt_version: str = Field(primary_key=True, sa_type=Text)
    cleaned: str = Field(sa_type=Text, description="the tweet as the rules clean it")
    summary: str = Field(sa_type=Text)
    flags: list[str] = Field(sa_column=_json(empty="[]"))
    tries: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    tokens_in: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    tokens_out: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    job: UUID | None = Field(default=None, foreign_key="job.id")
    attempt: int
    worker: str | None = Field(default=None, sa_type=Text)
    created_at: datetime | None = Field(default=None, sa_column=_moment(now=True))


class Evaluation(SQLModel, table=True):
    """One metric of one system on one set, with its interval."""

    __tablename__ = "evaluation"

    job: UUID = Field(primary_key=True, foreign_key="job.id", ondelete="CASCADE")
    subset: str = Field(primary_key=True, sa_type=Text, description="all, or long: tweets of more than 20 words")
    system: str = Field(primary_key=True, sa_type=Text)
    metric: str = Field(primary_key=True, sa_type=Text)
    model: int = Field(sa_column=_belongs_to("model.id"))
    reference_set: str = Field(sa_type=Text)
    value: float
    low: float
    high: float
    n: int
