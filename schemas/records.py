"""Define the lines of files: curated pairs, references, and tweets as they arrive."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from schemas.numbers import LONGEST_POST

MOST_REFERENCES = 100
"""Of one tweet: scoring a row takes time with their number."""


class Record(BaseModel):
    """A line of a file: frozen, and a field it does not know is an error that names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Pair(Record):
    """One curated example: what a person wrote after reading tweet `tweet_id`."""

    tweet_id: str = Field(min_length=1)
    clean: str = Field(min_length=1)
    summary: str = Field(min_length=1)


class Reference(Record):
    """One line of an evaluation file: a tweet and the summaries it may have, one text or a list of them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(min_length=1)
    text: str = Field(min_length=1)
    summary: tuple[str, ...]

    @field_validator("summary", mode="before")
    @classmethod
    def _texts(cls, value: object) -> tuple[str, ...]:
        several = [value] if isinstance(value, str) else value
        if not isinstance(several, list):
            raise PydanticCustomError("references", "write a text, or a list of texts")
        if not 1 <= len(several) <= MOST_REFERENCES:
            count, most = len(several), MOST_REFERENCES
            raise PydanticCustomError(
                "references", "the list has {count} texts: give 1 to {most}, or leave the line out", {"count": count, "most": most}
            )
        for place, text in enumerate(several, 1):
            if not isinstance(text, str) or not text.strip():
                what = "is blank" if isinstance(text, str) else "is no text"
                which = "it" if several is not value else f"number {place} of {len(several)}"
                raise PydanticCustomError("references", "{which} {what}: give each reference in words", {"which": which, "what": what})
        return tuple(several)


class WordReference(Record):
    """One line of an evaluation file for word-level scores: a tweet, and the same with every word normalised."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(min_length=1)
    messy: str = Field(min_length=1)
    clean: str = Field(min_length=1)


class TweetRecord(Record):
    """A tweet, whatever form it came in. `id` is text because X writes 64-bit ids as strings."""

    id: str = Field(min_length=1, max_length=200)
    text: str = Field(min_length=1, max_length=LONGEST_POST)
    source: str = Field(min_length=1, max_length=200)
    author: str | None = None
    lang: str | None = None
    created_at: datetime | None = None
    conversation: str | None = Field(default=None, max_length=200, description="id of the thread's first tweet, or of the one answered")
