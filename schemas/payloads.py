"""Define the payloads of jobs: one frozen model for each kind of work.

They are stored in `job.payload` as JSON. The Celery message carries the job's id alone, so that neither Redis nor Flower ever
holds a tweet or a path. The names of training options are those of Hugging Face's `TrainingArguments`.
The keys of a synthesis recipe are in `schemas.synthesis`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from schemas import bounds
from schemas.bounds import Name, Seed
from schemas.numbers import LARGEST_SEED


class Queue(StrEnum):
    """The queues: one for each kind of work, so that a node serves only those that it is made for."""

    SYNTHESIS = "synthesis"
    TRAINING = "training"
    EVALUATION = "evaluation"
    SUMMARIZATION = "summarization"
    MAINTENANCE = "upkeep"  # its first name, which messages and scripts hold


class Stage(StrEnum):
    """What the model is taught to write: the one-sentence summary, or the whole message in standard English."""

    SUMMARY = "summary"
    CLEAN = "clean"


class Payload(BaseModel):
    """Base of all payloads: frozen, and an unknown field is an error, so that no typo in a recipe passes silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_flag(cls, value: object, info: ValidationInfo) -> object:
        """Refuse true and false where a number belongs: Python takes them for 1 and 0."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        choices = get_args(annotation) or (annotation,)
        if isinstance(value, bool) and bool not in choices and {int, float} & set(choices):
            raise ValueError("a number belongs here, not true or false")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _can_be_kept(cls, value: object) -> object:
        return bounds.kept(value)


class NoiseFitSpec(Payload):
    """Learn a noise profile from ingested tweets."""

    source: str | None = Field(default=None, description="only tweets of this source; default: all")
    seed: Seed = 0


class NoiseGaugeSpec(Payload):
    """Train a classifier to tell noised clean texts from the tweets that they were written from."""

    pairs: str | None = Field(default=None, description="collection of curated pairs; default: all that were imported")
    source: str | None = Field(default=None, description="the noise is fitted to tweets of this source; default: all")
    limit: int = Field(default=2000, ge=50, description="texts a side, drawn by the seed")
    resamples: int = Field(default=1000, ge=100, le=1_000_000)
    seed: Seed = Field(default=0, le=LARGEST_SEED)


class ReviewedSpec(Payload):
    """Build the dataset that a review makes of another one."""

    dataset: str = Field(min_length=1, description="the one that was reviewed")
    name: Name = Field(description="of the new one")


class TrainingSpec(Payload):
    """One fine-tuning run."""

    name: Name
    base: str = Field(min_length=1, description="folder or hub id of the base model")
    dataset: str = Field(min_length=1)
    stage: Stage = Stage.SUMMARY
    method: Literal["lora"] = "lora"
    world_size: int = Field(default=1, ge=1, le=1024, description="ranks: one a GPU, or CPU processes")
    zero_stage: Literal[0, 1, 2] = 2
    per_device_train_batch_size: int = Field(default=4, ge=1, le=1_000_000)
    gradient_accumulation_steps: int = Field(default=1, ge=1, le=1_000_000)
    learning_rate: float = Field(default=4e-4, gt=0)
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = "cosine"
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    num_train_epochs: float = Field(default=1.0, gt=0, le=100_000)
    max_steps: int = Field(default=-1, ge=-1, description="-1: as many as the epochs need")
    max_length: int = Field(default=256, ge=16, le=10_000_000, description="tokens; longer examples are dropped and counted")
    human_repeats: int = Field(default=1, ge=1, le=20, description="times a curated pair is seen for each synthetic one")
    lora_r: int = Field(default=16, ge=1, le=65_536)
    lora_alpha: int = Field(default=32, ge=1)
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    lora_target_modules: Literal["all-linear"] = "all-linear"
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="of the weights; auto: what the machine computes fast"
    )
    bf16: bool | None = Field(default=None, description="the same in Hugging Face's words: true is bfloat16, false float32")
    seed: Seed = 0
    logging_steps: int = Field(default=1, ge=1)
    save_steps: int = Field(default=50, ge=0, description="steps between two checkpoints; 0: only when asked to stop")
    stall_timeout: float = Field(default=900.0, gt=0, le=10_000_000, description="seconds without a new step before the ranks are stopped")

    @model_validator(mode="after")
    def _names_one_dtype(self) -> TrainingSpec:
        if self.bf16 is not None and self.dtype not in ("auto", self.asked_dtype):
            raise ValueError(f"bf16 is {str(self.bf16).lower()} and dtype is {self.dtype}: leave one of them out")
        return self

    @property
    def global_batch(self) -> int:
        """Examples that one optimizer step learns from, over all ranks."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps * self.world_size

    @property
    def asked_dtype(self) -> Literal["auto", "float32", "bfloat16"]:
        """What `dtype` and `bf16` ask for together."""
        if self.bf16 is None:
            return self.dtype
        return "bfloat16" if self.bf16 else "float32"


class EvaluationSpec(Payload):
    """Score a model on held-back examples or a reference file, beside the baselines."""

    model_id: int
    references: str | None = Field(
        default=None, description="collection of {id, text, summary}, or for ERR of {id, messy, clean}; default: the dataset's test split"
    )
    train_references: str | None = Field(default=None, description="collection of {id, messy, clean} that the dictionary is learnt from")
    limit: int | None = Field(default=None, ge=1)
    few_shot: int = Field(default=4, ge=1, le=16)
    resamples: int = Field(default=2000, ge=100, le=1_000_000)
    seed: Seed = 0


class SummarizationSpec(Payload):
    """Summarise a selection of ingested tweets; its shards are jobs of their own."""

    model_id: int
    source: str | None = Field(default=None, description="only tweets of this source; default: all")
    limit: int | None = Field(default=None, ge=1)
    exclude_dataset: str | None = Field(default=None, description="leave out tweets that this dataset learnt from or tests on")
    shard_size: int = Field(default=256, ge=1, le=10_000)
    guard: bool = True
    seed: Seed = 0


class ShardSpec(Payload):
    """One shard of a summarization job: the tweets `first <= ordinal < last` of the parent's selection."""

    model_id: int
    first: int = Field(ge=0)
    last: int = Field(ge=1)
    guard: bool = True
