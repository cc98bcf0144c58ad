"""Measures the features of style by which the classifier two-sample test separates noise from tweets, whatever they are about.

None of them is the identity of a word that tells a topic: lengths, capitals, marks, where they stand, spelling, and the little words
that every text is held together by (as in authorship attribution: Mosteller and Wallace, 1964). They are counted by other means than
those of the fit, and there are more of them, so that a noise can't pass by copying what its own fit has counted.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from workers.noise.fitting.word_lists import ARTICLES, words
from workers.text.tokens import EMOJI, EMOTICON, HANDLE, HASHTAG, LINK

Frequencies = Mapping[str, int]
"""How often each standard word was seen in a large body of English; what is not in it counts as unknown."""

PRONOUNS = frozenset(words("i me my mine you your yours he him his she her it its we us our they them their this that these those"))
VERBS = frozenset(words("am is are was were be been being have has had do does did will would can could should may might must"))
JOINTS = frozenset(words("and or but so because if when while as than to of in on at for with from by about into over after before up out"))
SMALL_TALK = frozenset(words("lol lmao rofl haha hahaha hehe omg wtf smh ugh yay wow hmm oh ah aww hey yeah yep nah damn please thanks"))
BARE = frozenset(
    words(
        "im ive id dont cant wont didnt doesnt isnt wasnt arent couldnt wouldnt shouldnt havent hasnt aint thats whats hes shes theres "
        "youre theyre weve youve theyve youll theyll itll lets"
    )
)
LETTERS = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
TOKEN = re.compile(r"\S+")
CAMEL = re.compile(r"[a-z][A-Z]")
VOWEL = re.compile(r"[aeiouy]", re.IGNORECASE)
MARK_RUN = re.compile(r"[!?.,]{2,}")
SENTENCE = re.compile(r"[.!?…]+(?=\s|$)")
ENTITY = re.compile(r"&(?:amp|lt|gt|quot|#\d+);")
STRETCHED = re.compile(r"([^\W\d_])\1{2,}")
NO_WORDS = re.compile("|".join(pattern.pattern for pattern in (LINK, HANDLE, HASHTAG)), re.IGNORECASE)
_MARKS = {
    ".": "full stops",
    ",": "commas",
    "!": "exclamation marks",
    "?": "question marks",
    ":": "colons",
    ";": "semicolons",
    "-": "hyphens",
    '"': "double quotes",
    "'": "apostrophes and single quotes",
    "(": "opening brackets",
    "/": "slashes",
    "*": "asterisks",
    "&": "ampersands",
    "$": "dollar signs",
    "%": "percent signs",
    "_": "underscores",
    "|": "bars",
    "+": "plus signs",
    "=": "equals signs",
    "~": "tildes",
}


@dataclass(frozen=True)
class Text:
    """A text, raw and taken apart, so that each measure need not do it again."""

    raw: str
    body: str
    tokens: list[str]
    words: list[str]
    frequencies: Frequencies

    @classmethod
    def of(cls, raw: str, frequencies: Frequencies) -> Text:
        """Take a text apart. `body` has neither links nor handles nor hashtags, nor the blanks around them."""
        shown = html.unescape(raw)
        body = " ".join(NO_WORDS.sub(" ", shown).split())
        return cls(raw, body, TOKEN.findall(shown), LETTERS.findall(body), frequencies)

    def share(self, fits: Callable[[str], bool]) -> float:
        """Return the share of the words that fit."""
        return sum(map(fits, self.words)) / max(1, len(self.words))

    def where(self, sign: str, first: bool) -> int:
        """Return how many tokens at one end begin with `sign`, links and other signs skipped."""
        ordered = self.tokens if first else self.tokens[::-1]
        found = 0
        for token in ordered:
            if token.startswith(sign):
                found += 1
            elif not token.startswith(("#", "@", ".@", "http", "RT")):
                break
        return found

    def count(self, pattern: re.Pattern[str]) -> int:
        """Return how often `pattern` occurs in the body."""
        return len(pattern.findall(self.body))


@dataclass(frozen=True)
class Measure:
    """One number of a text; `words` say what it is, after `more` or `less`."""

    words: str
    of: Callable[[Text], float]


def _known(text: Text, word: str) -> bool:
    lowered = word.lower().replace("’", "'")
    return lowered in text.frequencies or lowered.removesuffix("'s") in text.frequencies


def _unknown(text: Text, small: bool) -> float:
    fitting = [word for word in text.words if word.islower() or not small]
    return sum(not _known(text, word) for word in fitting) / max(1, len(text.words))


def _sentences(text: Text) -> list[str]:
    return [sentence.strip() for sentence in SENTENCE.split(text.body) if sentence.strip()]


def _small_openings(text: Text) -> float:
    sentences = _sentences(text)
    return sum(sentence[0].islower() for sentence in sentences) / max(1, len(sentences))


def _ends_with(*marks: str) -> Callable[[Text], float]:
    return lambda text: float(text.body.rstrip("\"')”’ ").endswith(marks))


def _share_of(vocabulary: frozenset[str]) -> Callable[[Text], float]:
    return lambda text: text.share(lambda word: word.lower() in vocabulary)


def _counted(pattern: str) -> Callable[[Text], float]:
    compiled = re.compile(pattern)
    return lambda text: float(text.count(compiled))


def _rarity(text: Text) -> float:
    known = [text.frequencies[word.lower()] for word in text.words if word.lower() in text.frequencies]
    return sum(value < 20_000 for value in known) / max(1, len(text.words))


def _twice(text: Text) -> float:
    lowered = [word.lower() for word in text.words]
    return float(sum(one == other for one, other in itertools.pairwise(lowered)))


def _opens_with(vocabulary: frozenset[str]) -> Callable[[Text], float]:
    return lambda text: float(bool(text.words) and text.words[0].lower() in vocabulary)


def _longest(pattern: re.Pattern[str], text: Text) -> int:
    return max((len(found.group()) for found in pattern.finditer(text.raw)), default=0)


def _place_of_link(text: Text) -> float:
    places = [place for place, token in enumerate(text.tokens) if LINK.match(token)]
    return float(bool(places) and places[0] < len(text.tokens) - 1)


MEASURES: dict[str, Measure] = {
    "characters": Measure("characters", lambda text: len(text.raw)),
    "words": Measure("words", lambda text: len(text.words)),
    "word_length": Measure("letters a word", lambda text: sum(map(len, text.words)) / max(1, len(text.words))),
    "longest_word": Measure("letters in the longest word", lambda text: max(map(len, text.words), default=0)),
    "short_words": Measure("words of one or two letters", lambda text: text.share(lambda word: len(word) <= 2)),
    "sentences": Measure("sentences", lambda text: len(_sentences(text))),
    "words_a_sentence": Measure("words a sentence", lambda text: len(text.words) / max(1, len(_sentences(text)))),
    "capitals": Measure(
        "capital letters among the letters",
        lambda text: sum(map(str.isupper, text.body)) / max(1, sum(map(str.isalpha, text.body))),
    ),
    "no_capitals": Measure("texts without any capital", lambda text: float(text.body == text.body.lower())),
    "opens_small": Measure("texts whose first letter is small", lambda text: float(text.words[:1] != [] and text.words[0][0].islower())),
    "small_openings": Measure("sentences that open with a small letter", _small_openings),
    "small_i": Measure("small i for I", lambda text: float(sum(word in ("i", "im", "ive", "i'm", "i've", "i'll") for word in text.words))),
    "capitalised": Measure("words with a capital first", lambda text: text.share(lambda word: word[0].isupper() and not word.isupper())),
    "shouted": Measure("words in capitals", lambda text: float(sum(len(word) > 1 and word.isupper() for word in text.words))),
    "camel": Measure("capitals inside words", lambda text: float(len(CAMEL.findall(text.raw)))),
    "digits": Measure("digits", lambda text: sum(map(str.isdigit, text.body))),
    "digit_words": Measure("words with letters and digits", _counted(r"\b(?:\d+[A-Za-z]+|[A-Za-z]+\d+)\w*")),
    **{f"mark {mark}": Measure(name, lambda text, mark=mark: text.body.count(mark)) for mark, name in _MARKS.items()},  # type: ignore[misc]
    "marks": Measure(
        "signs that are neither letters nor digits, a character",
        lambda text: sum(not (sign.isalnum() or sign.isspace()) for sign in text.body) / max(1, len(text.body)),
    ),
    "mark_runs": Measure("runs of marks such as !! or ...", lambda text: text.count(MARK_RUN)),
    "longest_run": Measure("marks in the longest run", lambda text: max(map(len, MARK_RUN.findall(text.body)), default=0)),
    "dots": Measure("two dots or more in a row", _counted(r"\.{2,}|…")),
    "two_bangs": Measure("runs of exclamation marks", _counted(r"!{2,}")),
    "mixed_runs": Measure("runs of ! and ? together", _counted(r"[!?]*(?:!\?|\?!)[!?]*")),
    "blank_before_mark": Measure("blanks before a mark", _counted(r"\s[!?.,](?!\d)")),
    "no_blank_after_mark": Measure("marks without a blank after them", _counted(r"[^\W\d][!?.,:;]+[^\W\d]")),
    "two_blanks": Measure("two blanks or more in a row", lambda text: len(re.findall(r"\S\s{2,}\S", text.raw))),
    "line_breaks": Measure("line breaks", lambda text: text.raw.count("\n")),
    "ends_bare": Measure("texts that end without a mark", lambda text: float(text.body[-1:].isalnum())),
    "ends_stop": Measure("texts that end with one full stop", lambda text: float(bool(re.search(r"(?<!\.)\.[\"')]*$", text.body)))),
    "ends_bang": Measure("texts that end with !", _ends_with("!")),
    "ends_question": Measure("texts that end with ?", _ends_with("?")),
    "stretched": Measure("words with a letter three times in a row", lambda text: text.count(STRETCHED)),
    "doubled": Measure("words said twice in a row", _twice),
    "apostrophes": Measure("contractions with an apostrophe", _counted(r"\w['’](?:s|t|m|re|ve|ll|d)\b")),
    "bare_contractions": Measure(
        "contractions without an apostrophe", lambda text: float(sum(word.lower() in BARE for word in text.words))
    ),
    "clipped_g": Measure("words in -in for -ing", _counted(r"\w{3,}in['’]?(?=\s|$)")),
    "single_letters": Measure(
        "single letters as words", lambda text: float(sum(len(word) == 1 and word.lower() not in ("i", "a") for word in text.words))
    ),
    "lone_numbers": Measure("the digits 2 and 4 as words", _counted(r"(?<=\s)[24](?=\s)")),
    "no_vowel": Measure("words without a vowel", lambda text: text.share(lambda word: not VOWEL.search(word))),
    "unknown": Measure("words that no dictionary has", lambda text: _unknown(text, small=False)),
    "unknown_small": Measure("words in small letters that no dictionary has", lambda text: _unknown(text, small=True)),
    "rare": Measure("rare words", _rarity),
    "articles": Measure("articles", _share_of(ARTICLES)),
    "pronouns": Measure("pronouns", _share_of(PRONOUNS)),
    "verbs": Measure("auxiliary verbs", _share_of(VERBS)),
    "joints": Measure("prepositions and conjunctions", _share_of(JOINTS)),
    "small_talk": Measure("words such as lol, haha, omg", _share_of(SMALL_TALK)),
    "opens_pronoun": Measure("texts that open with a pronoun", _opens_with(PRONOUNS)),
    "opens_article": Measure("texts that open with an article", _opens_with(ARTICLES)),
    "opens_joint": Measure("texts that open with a preposition or conjunction", _opens_with(JOINTS)),
    "hashtags": Measure("hashtags", lambda text: float(len(HASHTAG.findall(text.raw)))),
    "hashtags_last": Measure("hashtags at the end", lambda text: text.where("#", first=False)),
    "hashtags_first": Measure("hashtags at the beginning", lambda text: text.where("#", first=True)),
    "hashtag_length": Measure("characters in the longest hashtag", lambda text: _longest(HASHTAG, text)),
    "hashtag_capitals": Measure("hashtags with a capital", lambda text: float(len(re.findall(r"#\w*[A-Z]", text.raw)))),
    "handles": Measure("handles", lambda text: float(len(HANDLE.findall(text.raw)))),
    "handles_first": Measure("handles at the beginning", lambda text: text.where("@", first=True)),
    "handles_last": Measure("handles at the end", lambda text: text.where("@", first=False)),
    "handle_length": Measure("characters in the longest handle", lambda text: _longest(HANDLE, text)),
    "links": Measure("links", lambda text: float(len(LINK.findall(text.raw)))),
    "link_inside": Measure("texts that go on after a link", _place_of_link),
    "retweets": Measure("retweet marks", lambda text: float(bool(re.search(r"\b(?:RT|MT)\b", text.raw)))),
    "via": Measure("credits such as via @name", lambda text: float(bool(re.search(r"\b(?:via|cc)\s*@", text.raw, re.IGNORECASE)))),
    "emoji": Measure("emoji", lambda text: float(len(EMOJI.findall(text.raw)))),
    "emoticons": Measure("emoticons", lambda text: float(len(EMOTICON.findall(html.unescape(NO_WORDS.sub(" ", text.raw)))))),
    "emoticon_last": Measure(
        "texts that end with an emoticon", lambda text: float(bool(text.body) and bool(EMOTICON.fullmatch(text.body.split()[-1])))
    ),
    "entities": Measure("entities such as &amp;", lambda text: float(len(ENTITY.findall(text.raw)))),
    "foreign_signs": Measure("characters outside ASCII", lambda text: float(sum(ord(sign) > 127 for sign in text.body))),
}


def feature_values(raw: str, frequencies: Frequencies) -> list[float]:
    """Return the measures of one text, in the order of `MEASURES`."""
    text = Text.of(raw, frequencies)
    return [float(measure.of(text)) for measure in MEASURES.values()]
