"""Fits a noise profile: what a corpus does to English, as counts that can be read, kept and passed on, without any text or handle."""

from __future__ import annotations

import html
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from workers.errors import UserError
from workers.files import sha256
from workers.noise.fitting.keyboards import KEYBOARDS
from workers.noise.fitting.rates import FILLER, RATED_WORD, NoiseRates, measure
from workers.noise.fitting.style_vectors import STYLE_COLUMNS, Style, style_of
from workers.noise.fitting.typos import Diagnosis
from workers.noise.fitting.word_lists import COMMON_EMOJI, EMOTICONS, FILLERS, words
from workers.text.tokens import EMOJI, EMOTICON, HANDLE, HASHTAG, LINK

STYLES_KEPT = 3000
FEWEST_TWEETS = 50
# What anonymised corpora put for handles and links. Any other that is common enough to be a mask may be somebody's name.
HANDLE_MASKS = frozenset(words("@user @username @anonymous @mention @handle @person @name @usr @someone @twitteruser"))
LINK_MASKS = frozenset(
    words("http://url_removed http://link_removed http://url https://url http://link https://link http://t.co https://t.co")
)

OPERATIONS: dict[str, Callable[[Style], int]] = {
    "all small": lambda style: style.case == 1,
    "all capitals": lambda style: style.case == 2,
    "small opening": lambda style: style.opens_small,
    "small openings inside": lambda style: style.small_openings,
    "small i": lambda style: style.small_i,
    "shouted word": lambda style: style.shouted,
    "lengthened": lambda style: style.stretched,
    "vowels dropped": lambda style: style.vowels_dropped,
    "letter dropped": lambda style: style.letter_dropped,
    "letter doubled": lambda style: style.letter_doubled,
    "letters swapped": lambda style: style.letters_swapped,
    "key missed": lambda style: style.key_missed,
    "slang": lambda style: style.slang,
    "curt spelling": lambda style: style.curt,
    "ending clipped": lambda style: style.clipped,
    "apostrophe dropped": lambda style: style.bare,
    "and written as &": lambda style: style.ampersands,
    "words merged": lambda style: style.words_merged,
    "word split": lambda style: style.words_split,
    "subject dropped": lambda style: style.subjectless,
    "no final mark": lambda style: not style.end,
    "final mark repeated": lambda style: style.end_length > 1,
    "dots": lambda style: style.dots,
    "marks repeated inside": lambda style: style.bang_runs,
    "no blank after a mark": lambda style: style.tight,
    "blank before a mark": lambda style: style.loose,
    "wide blanks": lambda style: style.wide_blanks,
    "entities": lambda style: style.entities,
    "handles first": lambda style: style.head.count("A"),
    "handles inside": lambda style: style.inside.count("A"),
    "handles last": lambda style: style.tail.count("A"),
    "retweet": lambda style: "R" in style.head + style.inside + style.tail,
    "hashtags first": lambda style: style.head.count("H"),
    "hashtags in place": lambda style: style.inside.count("H"),
    "hashtags last": lambda style: style.tail.count("H"),
    "links": lambda style: (style.head + style.inside + style.tail).count("L"),
    "emoticons": lambda style: (style.head + style.inside + style.tail).count("E"),
    "emoji": lambda style: (style.head + style.inside + style.tail).count("J"),
    "fillers": lambda style: (style.head + style.inside + style.tail).count("F"),
}


class ProfileModel(BaseModel):
    """Frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(ProfileModel):
    """How often something is done in one tweet, over all tweets: many never do it, and some do it throughout."""

    share: float = Field(ge=0, le=1, description="tweets that have it")
    mean: float = Field(ge=0)
    deviation: float = Field(ge=0, description="standard deviation over tweets")
    quantiles: tuple[float, float, float] = Field(description="the median, the 90th and the 99th percentile")


class Together(ProfileModel):
    """Two things that come in the same tweets more often than by chance, or less: the correlation of having them."""

    one: str
    other: str
    correlation: float = Field(ge=-1, le=1)


class Styles(ProfileModel):
    """Whole tweets as rows of counts, in no order: drawing one gives spread and co-occurrence as they are."""

    columns: tuple[str, ...]
    rows: tuple[tuple[int | str, ...], ...]

    @model_validator(mode="after")
    def _fits(self) -> Styles:
        if self.columns != STYLE_COLUMNS:
            raise ValueError("these columns are not those of this version: fit again")
        if any(len(row) != len(STYLE_COLUMNS) for row in self.rows):
            raise ValueError("a row has not one value for each column")
        if any(isinstance(value, str) and not re.fullmatch(r"[AHLREJFV]*|[.!?m]", value) for row in self.rows for value in row):
            raise ValueError("a row holds something else than counts and the letters of kinds")
        return self


class NoiseProfile(ProfileModel):
    """What `fit` learns and `fitted.apply` imitates."""

    form: Literal["tweetmill-noise-profile/1"] = "tweetmill-noise-profile/1"
    tweets: int = Field(ge=1, description="how many were read")
    operations: dict[str, Spread]
    together: tuple[Together, ...]
    rates: NoiseRates = Field(description="shares of single words: spellings, dropped apostrophes; and the masks of an anonymised corpus")
    keyboards: dict[str, float] = Field(description="share of missed keys that are neighbours on each layout")
    symbols: dict[str, dict[str, float]] = Field(description="how often each emoticon, emoji and filler of a fixed list is the one used")
    hashtag_capitals: float = Field(ge=0, le=1, description="hashtags with a capital letter")
    longest: int = Field(ge=1, description="characters that all but one tweet in a thousand keep to: the limit that their writers knew")
    commas: float = Field(ge=0, description="a word, in tweets whose writer kept to the rules")
    articles: float = Field(ge=0, description="the same for a, an, the")
    styles: Styles

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of everything in it, in whatever order its keys were stored."""
        return sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True))

    @cached_property
    def vectors(self) -> list[Style]:
        """The styles as objects."""
        return [Style(*row) for row in self.styles.rows]  # type: ignore[arg-type]

    @cached_property
    def keyboard(self) -> str:
        """The layout that explains most missed keys; the first where several do."""
        return max(KEYBOARDS, key=lambda layout: self.keyboards.get(layout, 0.0))


def read(document: str, name: str) -> NoiseProfile:
    """Read a profile as `noise fit` wrote it.

    Raises:
        UserError: it is none; says where.
    """
    try:
        return NoiseProfile.model_validate_json(document)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        advice = f"`tweetmill noise fit --profile {name}` writes one"
        raise UserError(f"{name} is no noise profile ({place}: {first['msg']}): {advice}") from None


def fit(texts: Sequence[str], frequencies: dict[str, int], seed: int = 0) -> NoiseProfile:
    """Learn a profile.

    Args:
        texts: tweets as they came.
        frequencies: standard English words and how often they occur.
        seed: draws the styles that are kept when there are more than `STYLES_KEPT`.

    Raises:
        UserError: fewer tweets than tell anything.
    """
    if len(texts) < FEWEST_TWEETS:
        raise UserError(f"{len(texts)} tweets tell too little: a profile needs {FEWEST_TWEETS} at least. `tweetmill ingest` brings some in")
    diagnosis = Diagnosis(frequencies)
    styles = [style_of(text, diagnosis) for text in texts]
    kept = styles if len(styles) <= STYLES_KEPT else random.Random(f"styles {seed}").sample(styles, STYLES_KEPT)
    table = np.array([[float(count(style)) for count in OPERATIONS.values()] for style in styles])
    careful = [style for style in styles if style.careful] or styles
    spoken = sum(style.words for style in careful) or 1
    return NoiseProfile(
        tweets=len(texts),
        operations={name: _spread(table[:, column]) for column, name in enumerate(OPERATIONS)},
        together=tuple(_together(table > 0)),
        rates=_without_names(measure(texts)),
        keyboards=_keyboards(texts, diagnosis),
        symbols={
            "emoticons": _shares(texts, EMOTICON, EMOTICONS),
            "emoji": _shares(texts, EMOJI, COMMON_EMOJI),
            "fillers": _shares(texts, FILLER, FILLERS),
        },
        hashtag_capitals=_hashtag_capitals(texts),
        longest=int(np.quantile([len(html.unescape(text)) for text in texts], 0.999)),
        commas=round(sum(style.commas for style in careful) / spoken, 5),
        articles=round(sum(style.articles for style in careful) / spoken, 5),
        # Sorted, so that no row can be told to be the tweet of some place in the corpus.
        styles=Styles(columns=STYLE_COLUMNS, rows=tuple(sorted((tuple(style.row()) for style in kept), key=str))),
    )


def _spread(values: Any) -> Spread:
    median, most, nearly_all = np.quantile(values, [0.5, 0.9, 0.99])
    return Spread(
        share=round(float((values > 0).mean()), 4),
        mean=round(float(values.mean()), 4),
        deviation=round(float(values.std()), 4),
        quantiles=(round(float(median), 2), round(float(most), 2), round(float(nearly_all), 2)),
    )


def _together(present: Any) -> Iterable[Together]:
    """Yield the pairs whose correlation is 0.1 or more either way, the strongest first."""
    names = list(OPERATIONS)
    varied = [column for column in range(len(names)) if 0 < present[:, column].sum() < len(present)]
    matrix = np.atleast_2d(np.corrcoef(present[:, varied].T.astype(float))) if len(varied) > 1 else np.zeros((0, 0))
    pairs = [
        (float(matrix[one, other]), names[varied[one]], names[varied[other]])
        for one in range(len(matrix))
        for other in range(one + 1, len(matrix))
        if abs(matrix[one, other]) >= 0.1
    ]
    for value, one, other in sorted(pairs, key=lambda pair: (-abs(pair[0]), pair[1:])):
        yield Together(one=one, other=other, correlation=round(value, 3))


def _without_names(rates: NoiseRates) -> NoiseRates:
    masks = {
        "handle_mask": rates.handle_mask if (rates.handle_mask or "").lower() in HANDLE_MASKS else None,
        "link_mask": rates.link_mask if (rates.link_mask or "").lower() in LINK_MASKS else None,
    }
    return rates.model_copy(update=masks)


def _keyboards(texts: Sequence[str], diagnosis: Diagnosis) -> dict[str, float]:
    missed = [
        found[1]
        for text in texts
        for word in RATED_WORD.findall(LINK.sub(" ", HANDLE.sub(" ", text)))
        if word.islower() and (found := diagnosis.of(word)) and found[0] == "key missed"
    ]
    return {layout: round(sum(layout in layouts for layouts in missed) / max(1, len(missed)), 4) for layout in KEYBOARDS}


def _shares(texts: Sequence[str], pattern: re.Pattern[str], known: tuple[str, ...]) -> dict[str, float]:
    found = Counter(sign for text in texts for sign in pattern.findall(LINK.sub(" ", html.unescape(text))))
    total = sum(found[sign] for sign in set(known))
    return {sign: round(found[sign] / total, 4) for sign in sorted(set(known)) if found[sign]} if total else {}


def _hashtag_capitals(texts: Sequence[str]) -> float:
    tags = [tag for text in texts for tag in HASHTAG.findall(text)]
    return round(float(sum(tag != tag.lower() for tag in tags)) / max(1, len(tags)), 4)
