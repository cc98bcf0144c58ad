"""Measures how often tweets of a corpus have each kind of noise, in one pass: the rates of the fixed noise.

Noise fitted to the corpus that will be cleaned trains a normaliser nearly as well as hand-made labels do: Dekker and
van der Goot, "Synthetic Data for English Lexical Normalization: How Close Can We Get to Manually Annotated Data?", LREC 2020.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from pydantic import BaseModel, ConfigDict, Field

from workers.noise.fitting.slang import AMBIGUOUS, DEFAULT_SHARE, SLANG
from workers.noise.fitting.word_lists import words
from workers.text.stable_patterns import STABLE_EMOTICON, STABLE_LINK, STABLE_RETWEET
from workers.text.tokens import EMOJI, HANDLE, HASHTAG

LEADING_HANDLES = re.compile(r"^(?:\.?@\w+[:,]?\s*)+")
TRAILING_HASHTAGS = re.compile(r"(?:\s+#\w+)+\s*$")
FILLER = re.compile(r"\b(?:lol+|lmf?ao+|rofl|(?:ha){2,}h?|(?:he){2,}|smh|ugh+|omf?g+)\b", re.IGNORECASE)
ELONGATED = re.compile(r"\b(?!www)[^\W\d_]*([^\W\d_])\1\1[^\W\d_]*")
REPEATED_PUNCTUATION = re.compile(r"[!?]{2,}|\.{2,}|…")
FINAL_PUNCTUATION = re.compile(r"[.!?…][\"')\]”’]*$")
RATED_WORD = re.compile(r"[^\W_]+(?:['’/][^\W_]*)*|[&$]+")
CONTRACTIONS = frozenset(
    words(
        "i'm i've don't can't won't didn't doesn't isn't wasn't aren't couldn't wouldn't shouldn't haven't hasn't weren't ain't "
        "that's what's he's she's there's you're they're you've they've you'll they'll it'll let's who's here's where's"
    )
)
BARE_CONTRACTIONS = frozenset(word.replace("'", "") for word in CONTRACTIONS)
LONGEST_PHRASE = max(len(phrase.split()) for forms in (SLANG, *SLANG.values()) for phrase in forms)
PHRASES = frozenset(phrase.lower() for forms in (SLANG, *SLANG.values()) for phrase in forms)
FIRST_WORDS = frozenset(phrase.split()[0] for phrase in PHRASES)


def _share(default: float, description: str) -> float:
    value: float = Field(default=default, ge=0, le=1, description=description)
    return value


class NoiseRates(BaseModel):
    """The shares that `measure` finds; the defaults are those of English tweets of many kinds, rounded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tweets: int = Field(default=0, ge=0, description="how many tweets were measured; 0: these are the defaults")
    leading_handle: float = _share(0.30, "tweets that begin with a handle")
    further_handle: float = _share(0.15, "of those, tweets that begin with more than one")
    retweet: float = _share(0.04, "tweets with RT @handle or via @handle")
    hashtag_trailing: float = _share(0.08, "tweets that end in hashtags")
    hashtag_inline: float = _share(0.08, "tweets with a hashtag inside the sentence")
    link: float = _share(0.15, "tweets with a link")
    emoji: float = _share(0.05, "tweets with an emoji")
    emoticon: float = _share(0.08, "tweets with an emoticon")
    filler: float = _share(0.04, "tweets with lol, haha and their like")
    lowercase: float = _share(0.12, "tweets without a capital letter")
    lowercase_start: float = _share(0.15, "other tweets whose first letter is small")
    lowercase_i: float = _share(0.10, "occurrences of the pronoun I written small")
    uppercase: float = _share(0.01, "tweets without a small letter")
    caps_word: float = _share(0.02, "words of four letters and more in capitals, in other tweets")
    elongated_word: float = _share(0.002, "words with a letter three times in a row")
    no_final_punctuation: float = _share(0.45, "tweets whose text ends without . ! ? or …")
    repeated_punctuation: float = _share(0.20, "tweets with !! or ?? or ..")
    dropped_apostrophe: float = _share(0.08, "contractions written without their apostrophe")
    dropped_subject: float = _share(0.80, "of tweets that open with `I am doing` or `doing`, the latter")
    typo: float = _share(0.015, "words with a slip of the finger; not measured, since a typo needs a dictionary to be told")
    slang: dict[str, dict[str, float]] = Field(
        default_factory=lambda: {phrase: dict.fromkeys(forms, DEFAULT_SHARE) for phrase, forms in SLANG.items()},
        description="phrase -> spelling -> share of the phrase's occurrences that are spelt so",
    )
    handle_mask: str | None = Field(default=None, description="the handle that stands for most others, as anonymised corpora have it")
    link_mask: str | None = Field(default=None, description="the link that stands for most others")


class _Majority:
    """The commonest item of a stream if it makes up more than half of it, in constant memory.

    Boyer and Moore's majority vote; the candidate's own occurrences are counted from the time it became one, so a
    majority that only just is one may be missed.
    """

    def __init__(self) -> None:
        self._candidate: str | None = None
        self._lead = self._seen = self._total = 0

    def add(self, item: str) -> None:
        self._total += 1
        if self._lead == 0 and item != self._candidate:
            self._candidate, self._seen = item, 0
        self._lead += 1 if item == self._candidate else -1
        self._seen += item == self._candidate

    def winner(self) -> str | None:
        return self._candidate if self._total and self._seen * 2 > self._total else None


class _Counts:
    """Everything that is counted; its size does not depend on how many tweets come."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()
        self.phrases: Counter[str] = Counter()
        self.handles = _Majority()
        self.links = _Majority()

    def share(self, part: str, whole: str) -> float:
        return round(self.of[part] / self.of[whole], 5) if self.of[whole] else 0.0


def measure(texts: Iterable[str]) -> NoiseRates:
    """Return the rates of a corpus of tweets, in one pass and constant memory; the defaults where there are no tweets."""
    counts = _Counts()
    for text in texts:
        _count(html.unescape(text), counts)
    return _rates(counts) if counts.of["tweets"] else NoiseRates()


def _count(text: str, counts: _Counts) -> None:
    counts.of["tweets"] += 1
    _count_marks(text, counts)
    bare = _bare(text)
    if bare:
        counts.of["bare"] += 1
        counts.of["no_final_punctuation"] += not FINAL_PUNCTUATION.search(bare)
        counts.of["repeated_punctuation"] += bool(REPEATED_PUNCTUATION.search(bare))
        _count_casing(bare, counts)
        _count_words(bare, counts)


def _count_marks(text: str, counts: _Counts) -> None:
    leading = LEADING_HANDLES.match(text)
    counts.of["leading_handle"] += bool(leading)
    counts.of["further_handle"] += leading is not None and leading.group().count("@") > 1
    trailing = TRAILING_HASHTAGS.search(STABLE_LINK.sub("", text))
    counts.of["hashtag_trailing"] += bool(trailing)
    inside = len(HASHTAG.findall(text)) - (trailing.group().count("#") if trailing else 0)
    counts.of["hashtag_inline"] += inside > 0
    for name, pattern in {"retweet": STABLE_RETWEET, "link": STABLE_LINK, "emoji": EMOJI, "filler": FILLER}.items():
        counts.of[name] += bool(pattern.search(text))
    counts.of["emoticon"] += bool(STABLE_EMOTICON.search(STABLE_LINK.sub("", text)))
    for handle in HANDLE.findall(text):
        counts.handles.add(handle)
    for link in STABLE_LINK.findall(text):
        counts.links.add(link)


def _bare(text: str) -> str:
    """Return the text without handles at its head, links, emoji, emoticons, retweet marks and hashtags at its end."""
    for pattern in (STABLE_LINK, STABLE_RETWEET, EMOJI, STABLE_EMOTICON):
        text = pattern.sub(" ", text)
    return TRAILING_HASHTAGS.sub("", LEADING_HANDLES.sub("", text.strip())).strip()


def _count_casing(bare: str, counts: _Counts) -> None:
    text = HANDLE.sub("", bare)
    if sum(character.isalpha() for character in text) < 4:
        return
    counts.of["cased"] += 1
    if text == text.lower():
        counts.of["lowercase"] += 1
        return
    if text == text.upper():
        counts.of["uppercase"] += 1
        return
    counts.of["mixed"] += 1
    counts.of["lowercase_start"] += next(character for character in text if character.isalpha()).islower()
    for word in RATED_WORD.findall(text):
        if len(word) >= 4 and word.isalpha():
            counts.of["long_words"] += 1
            counts.of["caps_word"] += word.isupper()


def _count_words(bare: str, counts: _Counts) -> None:
    words = RATED_WORD.findall(bare.replace("’", "'"))
    lowered = [word.lower() for word in words]
    counts.of["words"] += len(words)
    counts.of["elongated_word"] += len(ELONGATED.findall(bare))
    counts.of["pronoun_i"] += sum(word == "i" for word in lowered)
    counts.of["lowercase_i"] += sum(word == "i" for word in words)
    bare_forms = sum(word in BARE_CONTRACTIONS for word in lowered)
    counts.of["dropped_apostrophe"] += bare_forms
    counts.of["contractions"] += bare_forms + sum(word in CONTRACTIONS for word in lowered)
    if lowered:
        opening = opens_progressive(lowered)
        counts.of["dropped_subject"] += opening
        counts.of["progressives"] += opening or _opens_with_subject(lowered)
    counts.phrases.update(_phrases_in(lowered))


def opens_progressive(words: list[str]) -> bool:
    """Whether the words, in small letters, open with a form such as `having`: its subject was left out."""
    return len(words[0]) > 4 and words[0].endswith("ing")


def _opens_with_subject(words: list[str]) -> bool:
    rest = words[1:] if words[0] in ("i'm", "im") else words[2:] if words[:2] == ["i", "am"] else []
    return bool(rest) and len(rest[0]) > 4 and rest[0].endswith("ing")


def _phrases_in(words: list[str]) -> Iterator[str]:
    for start, word in enumerate(words):
        if word not in FIRST_WORDS:
            continue
        for end in range(start + 1, min(start + LONGEST_PHRASE, len(words)) + 1):
            phrase = " ".join(words[start:end])
            if phrase in PHRASES:
                yield phrase


def _rates(counts: _Counts) -> NoiseRates:
    wholes = {
        "further_handle": "leading_handle",
        "no_final_punctuation": "bare",
        "repeated_punctuation": "bare",
        "lowercase": "cased",
        "uppercase": "cased",
        "lowercase_start": "mixed",
        "caps_word": "long_words",
        "elongated_word": "words",
        "lowercase_i": "pronoun_i",
        "dropped_apostrophe": "contractions",
        "dropped_subject": "progressives",
    }
    whole_tweets = ("leading_handle", "retweet", "hashtag_trailing", "hashtag_inline", "link", "emoji", "emoticon", "filler")
    shares = {name: min(1.0, counts.share(name, wholes.get(name, "tweets"))) for name in (*whole_tweets, *wholes)}
    return NoiseRates.model_validate(
        {
            "tweets": counts.of["tweets"],
            **shares,
            "slang": {phrase: _spellings(phrase, forms, counts.phrases) for phrase, forms in SLANG.items()},
            "handle_mask": counts.handles.winner(),
            "link_mask": counts.links.winner(),
        }
    )


PRIOR_OCCURRENCES = 5  # occurrences that the default share counts for, so that a phrase seen once decides little
OWNERS = Counter(form for forms in SLANG.values() for form in forms)


def _spellings(phrase: str, forms: tuple[str, ...], seen: Counter[str]) -> dict[str, float]:
    """Return shares of the spellings of one phrase; a spelling that several phrases have is divided among them."""
    times = {form: seen[form.lower()] / OWNERS[form] for form in forms if form not in AMBIGUOUS}
    total = seen[phrase.lower()] + sum(times.values())
    shares = {form: round((count + PRIOR_OCCURRENCES * DEFAULT_SHARE) / (total + PRIOR_OCCURRENCES), 5) for form, count in times.items()}
    return {form: shares.get(form, DEFAULT_SHARE) for form in forms}
