"""What a job is asked to do: one frozen payload a family.

They are stored in `job.payload` as JSON. The Celery message carries the job's id alone, so that neither Redis nor Flower ever
holds a tweet or a path. The names of training options are those of Hugging Face's `TrainingArguments`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from schemas import addresses, bounds
from schemas.bounds import Name, Seed
from schemas.forms import Form
from schemas.numbers import LARGEST_OF_32


class Queue(StrEnum):
    """One queue a class of work, so that a node takes only what it is made for."""

    SYNTHESIS = "synthesis"
    TRAINING = "training"
    EVALUATION = "evaluation"
    SUMMARIZATION = "summarization"
    UPKEEP = "upkeep"


class Stage(StrEnum):
    """What the model is taught to write: the one-sentence summary, or the whole message in standard English."""

    SUMMARY = "summary"
    CLEAN = "clean"


class Payload(BaseModel):
    """Frozen, and an unknown field is an error, so that a typo in a recipe never passes silently."""

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


def _count_or_auto(value: object) -> object:
    """A whole number of at least 0 as it is, also one in quotes, and `auto`; anything else is told in one sentence."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    number = value if isinstance(value, int) and not isinstance(value, bool) else None
    if value == "auto" or (number is not None and number >= 0):
        return value
    negative = number is not None
    raise ValueError("Input should be greater than or equal to 0, or auto" if negative else "write auto, or a whole number from 0 on")


CountOrAuto = Annotated[int | Literal["auto"], BeforeValidator(_count_or_auto)]


class NoiseSource(Payload):
    """Clean sentences messed up in the fashion of the ingested tweets.

    A noised clean text teaches to shorten, since its target is the pair's summary. A noised summary or sentence is its own target
    and teaches to tidy.
    """

    of: tuple[Literal["clean", "summary", "sentence"], ...] = Field(default=("clean", "summary", "sentence"), min_length=1)
    copies: int = Field(default=1, ge=1, le=50, description="noisy versions of each clean sentence")
    limit: int | None = Field(default=None, ge=1, description="at most this many pairs, drawn by the seed")
    profile: Literal["fitted", "fixed"] = Field(default="fitted", description="one observed style a text, or operations at mean rates")
    source: str | None = Field(default=None, description="only tweets of this source are imitated; default: all")
    seed: Seed = 0


class NoiseFitSpec(Payload):
    """Learn a noise profile from ingested tweets."""

    source: str | None = Field(default=None, description="only tweets of this source; default: all")
    seed: Seed = 0


class NoiseGaugeSpec(Payload):
    """Ask a classifier to tell noised clean texts from the tweets that they were written from."""

    pairs: str | None = Field(default=None, description="collection of curated pairs; default: all that were brought in")
    source: str | None = Field(default=None, description="the noise is fitted to tweets of this source; default: all")
    limit: int = Field(default=2000, ge=50, description="texts a side, drawn by the seed")
    resamples: int = Field(default=1000, ge=100, le=1_000_000)
    seed: Seed = Field(default=0, le=LARGEST_OF_32)


class Columns(Payload):
    """Under which names a file keeps the tweet and what should become of it; `user.text` is a key in an object."""

    prompt: str = Field(default="prompt", min_length=1, max_length=200)
    completion: str = Field(default="completion", min_length=1, max_length=200)


class ImportSource(Payload):
    """Pairs that came from elsewhere, in one of the forms of the field."""

    file: str = Field(min_length=1, description="collection of pairs of a prompt and its answer")
    form: Form
    map: Columns | None = Field(default=None, description="columns of another name or dotted paths, for csv and prompt-completion")
    strip_instruction: bool = Field(default=False, description="take off what every prompt begins with and ends in")
    encoding: str | None = Field(default=None, max_length=40, description="of the file's text; default: by its mark, else UTF-8")
    stage: Stage | None = Field(default=None, description="what the answers are; default: the recipe's stage, which must not be both then")
    human: bool = Field(default=False, description="a person wrote the answers: they may be held back for the test")
    limit: int | None = Field(default=None, ge=1, description="at most this many rows, drawn by the dataset's seed")
    licence: str | None = Field(default=None, max_length=200, description="kept in the lineage of each example")


class TeacherSource(Payload):
    """Ingested tweets that nobody has paired yet, answered by a larger model."""

    engine: Literal["openai", "local"] = Field(default="openai", description="a server of the OpenAI chat API, or a base model of our own")
    model: str = Field(min_length=1, description="its name at the server; for local the folder or hub id of a base model")
    base_url: str | None = Field(default=None, description="of the server, with its version; default: OPENAI_BASE_URL")
    prompt: str | None = Field(default=None, description="file of the prompt template, in a job its text; default: the stage's own")
    source: str | None = Field(default=None, description="only tweets of this source are asked about; default: all")
    limit: int = Field(default=1000, ge=1, description="tweets to ask about, drawn by the seed")
    examples: int = Field(default=4, ge=0, le=16, description="curated training pairs shown before each tweet")
    candidates: int = Field(default=3, ge=1, le=16, description="answers a tweet, of which the best that passes the filters is taken")
    temperature: float = Field(default=0.7, ge=0, le=2, description="of the candidates after the first, which is greedy")
    structured: bool = Field(default=True, description="ask for JSON of a schema; a server that has none is asked for plain text")
    answer_tokens: int = Field(default=256, ge=8, le=32_768, description="of one answer at most; a teacher that thinks first needs more")
    timeout: float = Field(default=120.0, gt=0, le=86_400, description="seconds for one request")
    concurrency: int = Field(default=8, ge=1, le=256, description="requests open at once at most; a 429 lowers it for a while")
    usd_per_million_in: float = Field(default=0.0, ge=0, description="price of a million prompt tokens")
    usd_per_million_out: float = Field(default=0.0, ge=0, description="price of a million answer tokens")
    max_usd: float | None = Field(default=None, gt=0, description="ask no more once so much is spent")
    max_tokens: int | None = Field(default=None, ge=1, description="ask no more after so many tokens, of prompts and answers")
    max_minutes: float | None = Field(default=None, gt=0, le=10_000_000, description="ask no more after so long")
    give_up_after: int | None = Field(
        default=24,
        ge=1,
        le=1_000_000,
        description="paid answers in a row of which none can be learnt from: ask no more, and fail; null: never",
    )
    ask_again: Literal["unanswered"] | None = Field(
        default=None, description="unanswered: ask once more about tweets whose refusal an earlier job kept for good"
    )
    seed: Seed = 0

    @field_validator("base_url")
    @classmethod
    def _tells_no_secret(cls, base_url: str | None) -> str | None:
        """A recipe is shown and stored: a key or password has no place in it."""
        if base_url is None:
            return None
        addresses.parse_http(base_url)
        return base_url


class Filters(Payload):
    """What an example must pass to be learnt from; what does not is dropped, counted by reason and kept for inspection.

    What a person wrote is kept all the same, flagged for review, unless `human` says otherwise.
    """

    human: Literal["flag", "drop"] = Field(
        default="flag", description="what becomes of a person's example that does not pass: kept and flagged, or dropped like the others"
    )
    promise: bool = Field(default=False, description="a summary keeps the form of the house: one plain sentence of at most 15 words")
    faithful: bool = Field(
        default=False, description="numbers, names, links and negation of the target stand in the tweet, and no new word"
    )
    shortest: float = Field(default=0.0, ge=0, description="words of the target for each word of the tweet, at least")
    longest: float | None = Field(default=None, gt=0, description="words of the target for each word of the tweet, at most")
    language: str | None = Field(
        default=None, pattern=r"^[a-z]{2}$", description="ISO 639-1 code of the language that both texts must have"
    )
    near_duplicates: bool = Field(default=False, description="of examples whose tweets are near-duplicates only the first is learnt from")
    scrub: tuple[Literal["email", "phone", "handle"], ...] = Field(
        default=(), description="what is replaced by a placeholder in both texts"
    )


class Ratios(Payload):
    """How many training examples of each origin stand beside each other; one that is not named is left as it is."""

    human: float | None = Field(default=None, ge=0)
    noise: float | None = Field(default=None, ge=0)
    teacher: float | None = Field(default=None, ge=0)
    imports: float | None = Field(default=None, ge=0)


class Expectations(Payload):
    """What a dataset must be before a GPU hour is spent on it; the job fails and names what is not met.

    `auto` grows with the sources: half of the examples that they can give under the recipe.
    """

    min_train: CountOrAuto | None = Field(default=None, description="training examples at least")
    min_test: CountOrAuto | None = Field(default=None, description="test examples at least")
    min_human_share: float | None = Field(default=None, ge=0, le=1, description="share of training examples that a person wrote, at least")
    max_dropped_share: float | None = Field(default=None, ge=0, le=1, description="share of the examples that filters dropped, at most")
    max_rejected_share: float | None = Field(default=None, ge=0, le=1, description="share of the sources' rows that were refused, at most")
    max_same_target_share: float | None = Field(
        default=None, ge=0, le=1, description="share of training examples with the commonest target"
    )
    max_usd: float | None = Field(default=None, ge=0, description="what the teacher has cost, at most")


class SynthesisSpec(Payload):
    """Build a dataset: curated pairs, imports, a teacher's answers, noise applied to clean texts; filtered, and split without leaks."""

    dataset: Name
    stage: Literal["summary", "clean", "both"] = Field(default="summary", description="what is learnt; both: of each pair both answers")
    pairs: str | None = Field(default=None, description="collection of curated pairs {tweet_id, clean, summary}")
    sentences: str | None = Field(default=None, description="collection of clean sentences for noise")
    imports: ImportSource | None = None
    teacher: TeacherSource | None = None
    noise: NoiseSource | None = None
    ratios: Ratios | None = None
    filters: Filters | None = None
    expect: Expectations | None = None
    test_size: CountOrAuto = Field(default="auto", description="pairs held back; auto: a fifth, from 30 to 200, and never more than half")
    near_duplicate: float = Field(default=0.7, gt=0, le=1, description="Jaccard similarity of word 3-shingles")
    thread_minutes: float = Field(
        default=60.0, ge=0, le=100_000_000, description="tweets of one author no further apart than this are one thread; 0: never"
    )
    seed: Seed = 0

    @model_validator(mode="after")
    def _has_a_source(self) -> SynthesisSpec:
        if self.pairs is None and self.sentences is None and self.imports is None and self.teacher is None:
            raise ValueError("give pairs, sentences, imports or a teacher, or several of them: without them there is nothing to build from")
        if self.imports is not None and self.imports.stage not in (None, *self.stages):
            raise ValueError(f"imports.stage is {self.imports.stage}, which is not what the dataset teaches: its stage is {self.stage}")
        if self.stage == "both" and self.teacher is not None and self.teacher.prompt is not None:
            raise ValueError("stage is both: leave teacher.prompt out, since each stage is asked with its own prompt")
        if self.stage == "both" and self.imports is not None and self.imports.stage is None:
            raise ValueError("stage is both: say with imports.stage whether the imports' answers are of the stage summary or clean")
        return self

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that the dataset has examples of."""
        return tuple(Stage) if self.stage == "both" else (Stage(self.stage),)


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
