"""Define the payloads of jobs: one frozen model for each kind of work.

They are stored in `job.payload` as JSON. The Celery message carries the job's id alone, so that neither Redis nor Flower ever
holds a tweet or a path. The keys of a synthesis recipe are in `schemas.synthesis`, those of a training recipe in `schemas.training`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from schemas import bounds
from schemas.addresses import parsing as addresses
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


PromptSystem = Literal["zero_shot", "zero_shot_guarded", "few_shot", "few_shot_guarded", "few_shot_best", "few_shot_best_guarded"]
"""The base of a model by a prompt alone: with instructions, with examples, or with the best of several sets; each with the guard too."""

Baseline = Literal["lead", "rules", "as_is", PromptSystem]
"""What answers without a tuned model: the first 15 words, the tweet cleaned by rules, the tweet itself, or the base by a prompt."""

ExportFormat = Literal["adapter", "merged", "gguf", "ollama", "mlx-ready"]
"""What other programs load: a PEFT adapter, whole weights in safetensors, a GGUF file, that with a Modelfile, weights for mlx-lm."""

Quant = Literal["f16", "q8_0", "q4_0", "q4_k_m"]
"""Number formats of a GGUF file's weights."""


class Payload(BaseModel):
    """Base of all payloads: frozen, and an unknown field is an error, so that no typo in a recipe passes silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    added: ClassVar[frozenset[str]] = frozenset()
    """Fields that came after jobs were stored: at their default they don't count for a job's key, which so stays what it was."""

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


class DriftSpec(Payload):
    """Compare the newest tweets with the texts that a model or dataset taught from."""

    model_id: int | None = Field(default=None, description="whose training texts, and whose summaries' flags")
    dataset: str | None = Field(default=None, min_length=1, description="these training texts instead")
    source: str | None = Field(default=None, description="only tweets of this source; default: all")
    stream: str | None = Field(default=None, description="only tweets that arrived for this stream")
    last: int = Field(default=2000, ge=1, le=20_000, description="the newest tweets at most")
    hours: float | None = Field(default=None, gt=0, description="only those that came in within so many hours")
    language: str = Field(default="en", min_length=2, max_length=3, description="the one that tweets are expected in")
    sample: int = Field(default=50, ge=0, le=1000, description="tweets to pair next")
    seed: Seed = 0


class ReviewedSpec(Payload):
    """Build the dataset that a review makes of another one."""

    dataset: str = Field(min_length=1, description="the one that was reviewed")
    name: Name = Field(description="of the new one")


class Scored(Payload):
    """The optional scorers of outputs, which need a model of their own: what both an evaluation and a comparison may ask for."""

    added: ClassVar[frozenset[str]] = frozenset({"similarity", "supported_by"})

    similarity: str | None = Field(
        default=None, min_length=1, description="folder of a sentence-embedding model, or minilm for that of the extra `similarity`"
    )
    supported_by: str | None = Field(
        default=None, min_length=1, description="folder of a classifier that tells whether a tweet supports an output"
    )


class JudgeSpec(Payload):
    """A language model that says which of two outputs is the better summary."""

    model: str = Field(min_length=1, description="folder or hub id of a base model; with base_url its name at the server")
    base_url: str | None = Field(default=None, description="of a server of the OpenAI chat API, with its version; default: no server")
    margin: float = Field(default=10.0, gt=0, le=100, description="points of SARI between two outputs from which the references decide")

    @field_validator("base_url")
    @classmethod
    def _tells_no_secret(cls, base_url: str | None) -> str | None:
        """A payload is shown and stored: a key or password has no place in it."""
        if base_url is not None:
            addresses.parse_http(base_url)
        return base_url


class EvaluationSpec(Scored):
    """Score a model on held-back examples or a reference file, beside the baselines."""

    model_id: int
    references: str | None = Field(
        default=None, description="collection of {id, text, summary}, or for ERR of {id, messy, clean}; default: the dataset's test split"
    )
    train_references: str | None = Field(default=None, description="collection of {id, messy, clean} that the dictionary is learnt from")
    limit: int | None = Field(default=None, ge=1)
    few_shot: int = Field(default=4, ge=1, le=16)
    example_sets: int = Field(default=4, ge=1, le=16, description="sets of examples of which `few_shot_best` shows the best one")
    guard_prompts: bool = Field(default=True, description="score the prompts under the guard too, which takes longest")
    resamples: int = Field(default=2000, ge=100, le=1_000_000)
    seed: Seed = 0


class ComparisonSpec(Scored):
    """Score models and baselines on the same rows, each against each."""

    added: ClassVar[frozenset[str]] = Scored.added | {"judge"}

    model_ids: tuple[int, ...] = Field(min_length=1)
    baselines: tuple[Baseline, ...] = ()
    references: str | None = Field(
        default=None, description="collection of {id, text, summary}; default: what the datasets of all models hold back"
    )
    limit: int | None = Field(default=None, ge=1)
    guard: bool = True
    few_shot: int = Field(default=4, ge=1, le=16)
    example_sets: int = Field(default=4, ge=1, le=16, description="sets of examples of which `few_shot_best` shows the best one")
    resamples: int = Field(default=2000, ge=100, le=1_000_000)
    seed: Seed = 0
    judge: JudgeSpec | None = None

    @model_validator(mode="after")
    def _are_several(self) -> ComparisonSpec:
        systems = (*self.model_ids, *self.baselines)
        if len(systems) < 2:
            raise ValueError("one system alone can't be compared: name two or more")
        if len(set(systems)) < len(systems):
            raise ValueError("a system is named twice")
        return self


class ExportSpec(Payload):
    """Write a model as other programs load it, and check that it is the same model there."""

    model_id: int
    format: ExportFormat
    quant: Quant | None = Field(default=None, description="number format of a GGUF file; default: f16")
    folder: str | None = Field(default=None, min_length=1, description="on the worker; default: one in its models folder")
    check: int = Field(default=20, ge=1, le=10_000, description="held-back rows that go through both")
    max_loss: float | None = Field(default=None, ge=0, le=100, description="points of SARI that the export may lose; default: any")
    base_id: str | None = Field(default=None, min_length=1, max_length=200, description="the base's id on the Hugging Face hub")
    references: str | None = Field(default=None, description="collection of {id, text, summary}; default: the dataset's test split")
    verify: bool = Field(default=False, description="check the export that is in the folder, and write none")
    resamples: int = Field(default=2000, ge=100, le=1_000_000)
    seed: Seed = 0

    @model_validator(mode="after")
    def _fits(self) -> ExportSpec:
        if self.quant is not None and self.format not in ("gguf", "ollama"):
            raise ValueError(f"quant is for the formats gguf and ollama: {self.format} keeps the weights as they are")
        if self.verify and self.folder is None:
            raise ValueError("verify needs the folder of an export")
        return self


class SummarizationSpec(Payload):
    """Summarise a selection of ingested tweets; its shards are jobs of their own."""

    model_id: int
    source: str | None = Field(default=None, description="only tweets of this source; default: all")
    limit: int | None = Field(default=None, ge=1)
    exclude_dataset: str | None = Field(default=None, description="leave out tweets that this dataset learnt from or tests on")
    shard_size: int = Field(default=256, ge=1, le=10_000)
    guard: bool = True
    seed: Seed = 0


class StreamSpec(Payload):
    """Summarise a stream as it comes: the parent of its shards, which are added while it runs and may have different models."""

    stream: str = Field(min_length=1)
    model: str = Field(min_length=1, description="as it was asked for; looked up for each shard")


class CanaryPart(Payload):
    """What a shard is to a canary: shards of one block, of which the candidate writes one, are compared with each other."""

    promotion: int
    block: int = Field(ge=0)
    candidate: bool


class ShardSpec(Payload):
    """One shard of a summarization job: the tweets `first <= ordinal < last` of the parent's selection."""

    added: ClassVar[frozenset[str]] = frozenset({"canary"})

    model_id: int
    first: int = Field(ge=0)
    last: int = Field(ge=1)
    guard: bool = True
    canary: CanaryPart | None = None
