"""Declare the tables of models: the checkpoints and numbers of their training, and their scores."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from schemas.tables import columns


class Checkpoint(SQLModel, table=True):
    """A checkpoint of a training that is whole on disk; written under the fence of the attempt that made it."""

    __tablename__ = "checkpoint"
    __table_args__ = (UniqueConstraint("job", "step", name="checkpoint_is_unique"),)

    id: int = Field(sa_column=columns.identity_key())
    job: UUID = Field(foreign_key="job.id", ondelete="CASCADE")
    attempt: int
    step: int
    folder: str = Field(sa_type=Text, description="relative to the job's folder of runs")
    manifest_sha256: str = Field(sa_type=Text)
    world_size: int
    zero_stage: int
    bytes: int = Field(sa_type=BigInteger)
    created_at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))
    removed_at: datetime | None = Field(default=None, sa_column=columns.moment())


class Model(SQLModel, table=True):
    """A base model, or an adapter trained on one."""

    __tablename__ = "model"

    id: int = Field(sa_column=columns.identity_key())
    name: str = Field(unique=True, sa_type=Text)
    base: str = Field(sa_type=Text)
    method: str = Field(sa_type=Text)
    stage: str = Field(sa_type=Text)
    adapter_uri: str | None = Field(default=None, sa_type=Text)
    adapter_sha256: str | None = Field(default=None, sa_type=Text)
    dataset: int | None = Field(default=None, sa_column=columns.belongs_to("dataset.id", nullable=True))
    job: UUID | None = Field(default=None, foreign_key="job.id")
    details: dict[str, Any] = Field(sa_column=columns.json(empty="{}"))
    created_at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))

    @property
    def adapter(self) -> Path | None:
        """The folder of its adapter; None for a base model alone."""
        return Path(self.adapter_uri) if self.adapter_uri else None

    @property
    def dataset_fingerprint(self) -> str | None:
        """The fingerprint of the examples that it was trained on: a dataset rebuilt since then has another one."""
        found = self.details.get("dataset_fingerprint")
        return str(found) if found is not None else None


class Metric(SQLModel, table=True):
    """One number of one training step."""

    __tablename__ = "metric"

    job: UUID = Field(primary_key=True, foreign_key="job.id", ondelete="CASCADE")
    step: int = Field(primary_key=True)
    name: str = Field(primary_key=True, sa_type=Text)
    value: float


class Evaluation(SQLModel, table=True):
    """One metric of one system on one set, with its interval."""

    __tablename__ = "evaluation"

    job: UUID = Field(primary_key=True, foreign_key="job.id", ondelete="CASCADE")
    subset: str = Field(primary_key=True, sa_type=Text, description="all, or long: tweets of more than 20 words")
    system: str = Field(primary_key=True, sa_type=Text)
    metric: str = Field(primary_key=True, sa_type=Text)
    model: int = Field(sa_column=columns.belongs_to("model.id"))
    reference_set: str = Field(sa_type=Text)
    value: float
    low: float
    high: float
    n: int
