"""Define the lines of files: curated pairs, references, and tweets as they arrive."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from schemas.numbers import LONGEST_POST


class Record(BaseModel):
    """A line of a file: frozen, and a field it does not know is an error that names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Pair(Record):
    """One curated example: what a person wrote after reading tweet `tweet_id`."""

    tweet_id: str = Field(min_length=1)
    clean: str = Field(min_length=1)
    summary: str = Field(min_length=1)


class Reference(Record):
    """One line of an evaluation file: a tweet and the summary it should have."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(min_length=1)
    text: str = Field(min_length=1)
    summary: str = Field(min_length=1)


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
