"""Counts the style of one tweet as a row of small numbers: what was done to it, and what there was to do it to. Never a word of it.

Drawing a whole row for each synthetic tweet gives the spread over tweets and what goes with what: whoever drops capitals drops
apostrophes too.
"""

from __future__ import annotations

import html
import re
from dataclasses import astuple, dataclass, fields
from typing import Any

from workers.noise.fitting import rates
from workers.noise.fitting.rates import BARE_CONTRACTIONS, CONTRACTIONS, opens_progressive
from workers.noise.fitting.slang import AMBIGUOUS, SLANG
from workers.noise.fitting.typos import COMPOUNDS, Diagnosis
from workers.noise.fitting.word_lists import ARTICLES, words
from workers.text import tokens

# One letter for each kind of token that is no word.
HANDLE, HASHTAG, LINK, RETWEET, EMOTICON, EMOJI, FILLER, CREDIT = "AHLREJFV"
_KINDS = (
    (RETWEET, re.compile(r"(?:RT|MT)[:;,]?")),
    (HANDLE, re.compile(rf"[.\"“(]?{tokens.HANDLE.pattern}\W*(?:'s)?")),
    (HASHTAG, re.compile(rf"[(\"]?{tokens.HASHTAG.pattern}\W*")),
    (LINK, re.compile(rf"[(\[<]?(?:{tokens.LINK.pattern}).*", re.IGNORECASE)),
    (EMOTICON, re.compile(rf"(?:{tokens.EMOTICON.pattern})[.!?,)]*")),
    (EMOJI, re.compile(rf"(?:{tokens.EMOJI.pattern})+[.!?]*")),
    (FILLER, re.compile(rf"(?:{rates.FILLER.pattern})[.!?,]*", re.IGNORECASE)),
)
_CREDITS = frozenset(words("via cc by"))
# Forms that mean one thing only, so that they can be counted.
_COUNTED = frozenset(form.lower() for forms in SLANG.values() for form in forms if form not in AMBIGUOUS and " " not in form)
CURT = frozenset(words("2 4 r b c n y v k"))
_NOT_SHOUTED = frozenset(words("us it am pm tv ok la ma pa ha usa uk dc nyc hd dj mr ny cd dvd pc ad id"))
SUBJECTLESS = frozenset(
    words(
        "love loved loving hate hated hope hoping hoped think thinking thought got getting had having was need needed want wanted went "
        "going wish wishing wondering watching listening feel feeling felt feels looks looking can't cant don't dont didn't just finally "
        "guess know saw heard made making found woke fell am been sounds seems miss missing tried trying gonna wanna gotta should might "
        "could would must will can sorry glad happy sad excited bored tired sick off back home still not never"
    )
)
_FIRST = frozenset(words("i i'm im i've ive i'll i'd"))
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_END = re.compile(r"([.!?…]+)[\"')\]”’]*$")
_INSIDE_MARK = re.compile(r"(?<=\w)([.!?…]+)[\"')]*(?=\s)")
_TIGHT = re.compile(r"[^\W\d_]{2}(?:[.!?]+|,)[^\W\d_]{2}")
_LOOSE = re.compile(r"\w\s+[!?.,]+(?=\s|$)")
_DASH = re.compile(r"(?<=\s)[-–—]+(?=\s)|\w--+\w|\w[-–—]\s")
_AMPERSAND = re.compile(r"(?<=\s)(?:&|\+)(?=\s)")
_COMPOUND = re.compile(rf"\b(?:{'|'.join(COMPOUNDS)})\b")
_STRETCH = re.compile(r"([^\W\d_])\1{2,}")


@dataclass(frozen=True)
class Style:
    """One tweet's style. `head`, `inside` and `tail` are strings of the letters above, in order; the rest are counts and flags."""

    # what there was: by these a style is matched to a clean text
    words: int = 0
    sentences: int = 1
    first_person: int = 0  # I in any spelling
    contracted: int = 0  # with and without apostrophe
    joined: int = 0  # and, & and +
    questions: int = 0
    exclamations: int = 0
    opens_first: int = 0  # with I
    # affixes
    head: str = ""
    inside: str = ""
    tail: str = ""
    entities: int = 0
    # capitals
    case: int = 0  # 1: all small, 2: all capitals
    opens_small: int = 0
    small_openings: int = 0
    small_i: int = 0
    shouted: int = 0
    # marks
    end: str = ""  # . ! ? or m for a mixture; empty for none
    end_length: int = 0
    stops: int = 0
    dots: int = 0
    bang_runs: int = 0
    commas: int = 0
    dashes: int = 0
    wide_blanks: int = 0
    tight: int = 0
    loose: int = 0
    bare: int = 0  # contractions without apostrophe
    ampersands: int = 0
    # words
    subjectless: int = 0
    articles: int = 0
    slang: int = 0
    curt: int = 0  # 2, 4, r, n as words
    clipped: int = 0
    stretched: int = 0
    stretch: int = 0
    letter_dropped: int = 0
    letter_doubled: int = 0
    letters_swapped: int = 0
    key_missed: int = 0
    vowels_dropped: int = 0
    words_merged: int = 0
    words_split: int = 0

    @property
    def careful(self) -> bool:
        """Whether its writer kept to the rules as far as can be seen."""
        untidy = self.case or self.opens_small or self.small_i or self.bare or self.slang or self.curt or self.loose or self.tight
        return bool(self.end) and not untidy

    def row(self) -> list[int | str]:
        """Return the counts in the order of `STYLE_COLUMNS`."""
        return list(astuple(self))


STYLE_COLUMNS = tuple(field.name for field in fields(Style))


def token_kind(token: str) -> str | None:
    """Return the letter of what a token is when it is no word; None for a word."""
    return next((kind for kind, pattern in _KINDS if pattern.fullmatch(token)), None)


def style_of(tweet: str, diagnosis: Diagnosis) -> Style:
    """Count one tweet."""
    shown = html.unescape(tweet)
    head, body, tail = parts(shown.split())
    inside = "".join(kind for kind in map(token_kind, body) if kind is not None)
    text = " ".join(token for token in body if token_kind(token) is None)
    plain = _WORD.findall(text.replace("’", "'"))
    lowered = [word.lower() for word in plain]
    return Style(
        head=head,
        inside=inside,
        tail=tail,
        entities=int(shown != tweet),
        wide_blanks=len(re.findall(r"\S\s{2,}\S", shown)),
        **_case(text, plain, diagnosis),
        **_marks(text),
        **_hosts(lowered, len(_AMPERSAND.findall(text))),
        **_spelling(text, plain, lowered, diagnosis),
    )


def hosts_of(text: str) -> Style:
    """Return what a clean text gives noise to work on: the first counts of a style alone."""
    plain = _WORD.findall(text.replace("’", "'"))
    return Style(**_marks(text), **_hosts([word.lower() for word in plain], 0))


def parts(tokens: list[str]) -> tuple[str, list[str], str]:
    """Return what stands before the words, the tokens from the first word to the last, what stands after them."""
    kinds = [token_kind(token) for token in tokens]
    for place, token in enumerate(tokens[:-1]):
        if token.lower().rstrip(":") in _CREDITS and kinds[place + 1] == HANDLE:
            kinds[place] = CREDIT
    first = next((place for place, kind in enumerate(kinds) if kind is None), len(kinds))
    last = next((place for place in range(len(kinds) - 1, -1, -1) if kinds[place] is None), first - 1)
    head = "".join(kind or "" for kind in kinds[:first])
    tail = "".join(kind or "" for kind in kinds[last + 1 :] if first < len(kinds))
    return head, tokens[first : last + 1], tail


def _case(text: str, plain: list[str], diagnosis: Diagnosis) -> dict[str, Any]:
    letters = sum(map(str.isalpha, text))
    case = 0 if letters < 4 else 1 if text == text.lower() else 2 if text == text.upper() else 0
    openings = [found.group(1) for found in re.finditer(r"[.!?…]+[\"')]*\s+[\"'(]*([^\W\d_])", text)]
    shouted = [
        word
        for word in plain
        if len(word) > 1 and word.isupper() and word.lower() not in _NOT_SHOUTED and diagnosis.frequency(word.lower()) >= 20_000
    ]
    return {
        "case": case,
        "opens_small": int(bool(plain) and plain[0][0].islower()),
        "small_openings": sum(map(str.islower, openings)),
        "small_i": sum(word in ("i", "i'm", "im", "i've", "ive", "i'll", "i'd") for word in plain),
        "shouted": len(shouted) if case != 2 else 0,
    }


def _marks(text: str) -> dict[str, Any]:
    ending = _END.search(text.rstrip())
    run = ending.group(1).replace("…", "...") if ending else ""
    inside = [found.group(1).replace("…", "...") for found in _INSIDE_MARK.finditer(text)]
    everything = [*inside, run]
    return {
        "sentences": 1 + len(inside),
        "questions": sum("?" in mark for mark in everything),
        "exclamations": sum("!" in mark for mark in everything),
        "end": (run[0] if len(set(run)) == 1 else "m") if run else "",
        "end_length": len(run),
        "stops": sum(mark == "." for mark in inside),
        "dots": sum(mark.startswith("..") for mark in inside) + len(re.findall(r"\w\.{2,}\w", text)),
        "bang_runs": sum(len(mark) > 1 and mark[0] in "!?" for mark in inside),
        "commas": text.count(","),
        "dashes": len(_DASH.findall(text)),
        "tight": len(_TIGHT.findall(text)),
        "loose": len(_LOOSE.findall(text)),
    }


def _hosts(lowered: list[str], ampersands: int) -> dict[str, Any]:
    bare = sum(word in BARE_CONTRACTIONS for word in lowered)
    return {
        "words": len(lowered),
        "first_person": sum(word in _FIRST for word in lowered),
        "contracted": bare + sum(word in CONTRACTIONS for word in lowered),
        "bare": bare,
        "joined": lowered.count("and") + ampersands,
        "ampersands": ampersands,
        "articles": sum(word in ARTICLES for word in lowered),
        "opens_first": int(bool(lowered) and lowered[0] in _FIRST),
        "subjectless": int(bool(lowered) and (lowered[0] in SUBJECTLESS or opens_progressive(lowered))),
    }


def _spelling(text: str, plain: list[str], lowered: list[str], diagnosis: Diagnosis) -> dict[str, Any]:
    # A capital makes a name likely, and names are in no dictionary.
    typos = [found[0] for word in plain if word.islower() and (found := diagnosis.of(word))]
    stretches = [word for word in plain if _STRETCH.search(word)]
    return {
        "slang": sum(word in _COUNTED and not _STRETCH.search(word) for word in lowered),
        "curt": sum(word in CURT for word in lowered),
        "clipped": sum(
            len(word) > 4 and word.endswith("in") and not diagnosis.known(word) and diagnosis.known(f"{word}g") for word in lowered
        ),
        "stretched": len(stretches),
        "stretch": sum(len(word) - len(_STRETCH.sub(r"\1", word)) for word in stretches),
        "words_split": len(_COMPOUND.findall(text.lower())),
        **{name.replace(" ", "_"): typos.count(name) for name in ("letter dropped", "letter doubled", "letters swapped", "key missed")},
        **{name.replace(" ", "_"): typos.count(name) for name in ("vowels dropped", "words merged")},
    }
