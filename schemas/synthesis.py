"""Define a dataset's recipe: its sources, the filters of its examples, and the expectations of the whole."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from schemas.addresses import parsing as addresses
from schemas.bounds import Name, Seed
from schemas.forms import Form
from schemas.payloads import Payload, Stage


def _count_or_auto(value: object) -> object:
    """Return a whole number of at least 0 as it is, also one in quotes, and `auto`; anything else is an error of one sentence."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    number = value if isinstance(value, int) and not isinstance(value, bool) else None
    if value == "auto" or (number is not None and number >= 0):
        return value
    negative = number is not None
    raise ValueError("Input should be greater than or equal to 0, or auto" if negative else "write auto, or a whole number from 0 on")


CountOrAuto = Annotated[int | Literal["auto"], BeforeValidator(_count_or_auto)]


class NoiseSource(Payload):
    """Clean sentences, noised in the style of the ingested tweets.

    A noised clean text teaches to shorten, since its target is the pair's summary. A noised summary or sentence is its own target
    and teaches to tidy.
    """

    of: tuple[Literal["clean", "summary", "sentence"], ...] = Field(default=("clean", "summary", "sentence"), min_length=1)
    copies: int = Field(default=1, ge=1, le=50, description="noisy versions of each clean sentence")
    limit: int | None = Field(default=None, ge=1, description="at most this many pairs, drawn by the seed")
    profile: Literal["fitted", "fixed"] = Field(default="fitted", description="one observed style a text, or operations at mean rates")
    source: str | None = Field(default=None, description="only tweets of this source are imitated; default: all")
    seed: Seed = 0


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
    max_tokens: int | None = Field(default=None, ge=1, description="ask no more after this many tokens, of prompts and answers")
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
    promise: bool = Field(default=False, description="a summary keeps the output constraints: one plain sentence of at most 15 words")
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
