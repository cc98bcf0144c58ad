"""Finds words, numbers and names of an output that its tweet lacks, allowing for spelling, slang and inflection."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

from workers.text.english import numerals
from workers.text.english.expansions import expansions
from workers.text.english.lexicon import AMBIGUOUS_NUMBERS, DOUBLED, FUNCTION, IRREGULAR, NUMBERS, OPENERS, SLANG
from workers.text.tokens import HANDLE, HASHTAG, LINK, plain, split_hashtag

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
SENTENCE_BOUNDARY = re.compile(r"(?<=[.!?])[\"')\]]*\s+")

_LETTERS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_ACRONYM = re.compile(r"\b(?:[A-Za-z]\.){2,}")
_COUNTED = re.compile(r"(\d+)(?:st|nd|rd|th|x)")
_PREFIXES = ("un", "dis", "in", "im", "non")
_SUFFIXES = ("'s", "ings", "ing", "ies", "ied", "ier", "ers", "est", "ed", "er", "es", "ly", "in'", "s", "y", "e")
_LONG_NAME = 7  # letters from which one that differs is a slip, and not another name
_RUN = re.compile(r"([^\W\d_])\1{2,}", re.IGNORECASE)


@dataclass(frozen=True)
class Vocabulary:
    """What a tweet says, in forms that an output is looked up in."""

    forms: frozenset[str]
    """Lower-case words, with hashtags and handles split, elongations undone and slang spelled out."""
    stems: frozenset[str]
    tags: tuple[str, ...]
    """Hashtags and handles in one piece, since `#newyorkcity` has no capitals to be split at."""
    numbers: frozenset[str]

    @cached_property
    def _short_stems(self) -> frozenset[str]:
        return frozenset(map(stem, self.stems))

    def has_name(self, word: str) -> bool:
        """Whether the tweet has `word` as a name: the same letters, or part of a hashtag or handle."""
        name = _bare(word)
        if len(name) >= _LONG_NAME and any(_one_edit_apart(name, known) for known in self.forms):
            return True
        return name in self.forms or _full_stem(name) in self.stems or (len(name) > 2 and any(name in tag for tag in self.tags))

    def has_word(self, word: str) -> bool:
        """Whether the tweet has `word`, allowing for inflection (its first five letters count) and for one mended letter."""
        form = _bare(word)
        if form in self.forms or stem(form) in self._short_stems or self.has_name(word):
            return True
        if len(form) >= 5 and any(_one_edit_apart(form, known) for known in self.forms):
            return True
        # Whether the tweet denies it is asked elsewhere.
        return any(form != (bare := form.removeprefix(prefix)) and len(bare) >= 4 and self.has_word(bare) for prefix in _PREFIXES)


@lru_cache(maxsize=4096)
def vocabulary(tweet: str) -> Vocabulary:
    """Return the words of `tweet` as it was sent."""
    text = join_acronyms(plain(tweet))
    tags = [match.group().lstrip("@＠") for match in HANDLE.finditer(text)] + HASHTAG.findall(text)
    spelled = LINK.sub(" ", text) + " " + " ".join(map(split_hashtag, tags))
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", spelled)
    found = [word.lower() for word in WORD.findall(spelled) + WORD.findall(spaced)]
    found += [part for word in found if not word.isalpha() for part in _LETTERS.findall(word)]
    found += [first + second for first, second in pairwise(found)]
    forms = {form for word in found for form in _variants(word)}
    forms |= {word for form in tuple(forms) for word in SLANG.get(form, ())}
    forms |= expansions(text)
    return Vocabulary(
        forms=frozenset(forms),
        stems=frozenset(map(_full_stem, forms)),
        tags=tuple(tag.lower() for tag in tags),
        numbers=frozenset(numerals.values(spelled)),
    )


def foreign_numbers(tweet: str, output: str) -> list[str]:
    """Return the numbers of `output` that `tweet` lacks, as written there."""
    known = vocabulary(tweet)
    return [
        one.text
        for one in numerals.mentions(_spoken(output))
        if not one.values & known.numbers and not (one.single and one.text.isalpha() and known.has_name(one.text))
    ]


def foreign_names(tweet: str, output: str) -> list[str]:
    """Return the capitalised words of `output` that `tweet` lacks; at the start of a sentence any form of a word of the tweet will do."""
    known = vocabulary(tweet)
    names = []
    for sentence in SENTENCE_BOUNDARY.split(_spoken(output)):
        words = WORD.findall(sentence)
        for place, word in enumerate(words):
            if not word[0].isupper() or _is_function(word) or word.lower() in numerals.WORDS or (place == 0 and word.lower() in OPENERS):
                continue
            found = known.has_word(word) if place == 0 else known.has_name(word)
            if not found and not _joined(words, place) & known.forms:
                names.append(word)
    return names


def foreign_words(tweet: str, output: str) -> list[str]:
    """Return the content words of `output`, names and numbers apart, that `tweet` lacks."""
    known = vocabulary(tweet)
    names = set(foreign_names(tweet, output))
    found = WORD.findall(_spoken(output))
    foreign = []
    for place, word in enumerate(found):
        if word in names or _is_function(word) or word.lower() in numerals.WORDS or any(map(str.isdigit, word)) or known.has_word(word):
            continue
        if not _joined(found, place) & known.forms:
            foreign.append(word)
    return foreign


def _joined(words: list[str], place: int) -> set[str]:
    """Join the word with its neighbours, as a tweet may write them: `Wi-Fi` for `wifi`."""
    lowered = [_bare(word) for word in words[max(0, place - 1) : place + 2]]
    return {"".join(lowered[:2]), "".join(lowered[-2:])} if len(lowered) > 1 else set()


def content_words(text: str) -> list[str]:
    """Return lower-case content words of `text` in order."""
    return [_bare(word) for word in WORD.findall(text) if not _is_function(word)]


# The checks of one pair look at the same few texts again and again: remembering them makes ranking a dataset three times as fast.
@lru_cache(maxsize=8192)
def stems(text: str) -> tuple[str, ...]:
    """Return the stems of the content words of `text` in order; a number is its digits, as words, `6th` and `6x` as well."""
    return tuple(map(_counted_stem, content_words(text)))


@lru_cache(maxsize=65536)
def content_stem(word: str) -> str | None:
    """Return the stem of a single word as `stems` does; None for a function word."""
    return None if _is_function(word) else _counted_stem(_bare(word))


@lru_cache(maxsize=1024)
def lowered(text: str) -> tuple[str, ...]:
    """Return all words of `text` in small letters, but for the country US, which is no pronoun."""
    return tuple(word if word == "US" else word.lower() for word in WORD.findall(join_acronyms(plain(text))))


def join_acronyms(text: str) -> str:
    """Write `U.S.` as `US`, so that its periods end no sentence."""
    return _ACRONYM.sub(lambda match: match.group().replace(".", ""), text)


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """Return the first five letters of the word without its ending: enough to tell words apart, and blind to inflection."""
    return _full_stem(word)[:5]


@lru_cache(maxsize=8192)
def undo_elongation(word: str) -> str:
    """Shorten `goooood` to `good`, `sooo` to `so`, `yesss` to `yes`; a word without a letter three times in a row stays."""
    if not _RUN.search(word):
        return word
    twice = _RUN.sub(r"\1\1", word)
    return twice if twice.lower() in DOUBLED else _RUN.sub(r"\1", word)


@lru_cache(maxsize=1024)
def _spoken(output: str) -> str:
    """Return a text without its links, which are compared whole, elsewhere."""
    return join_acronyms(LINK.sub(" ", plain(output)))


@lru_cache(maxsize=65536)
def _variants(word: str) -> frozenset[str]:
    variants = {word, _bare(word)}
    if _RUN.search(word):
        once = undo_elongation(word)
        variants |= {once, _RUN.sub(r"\1\1", word), _bare(once)}
    if word.endswith(("in", "in'")):
        variants.add(word.rstrip("'") + "g")
    return frozenset(variants | {variant.replace("'", "") for variant in variants} if "'" in word else variants)


@lru_cache(maxsize=8192)
def _bare(word: str) -> str:
    lowered = word.lower()
    return lowered.removesuffix("'s").removesuffix("'") or lowered


@lru_cache(maxsize=65536)
def _full_stem(word: str) -> str:
    base = IRREGULAR.get(word, word)
    for suffix in _SUFFIXES:
        if base.endswith(suffix) and len(base) - len(suffix) >= (2 if suffix == "ing" else 3):
            base = base.removesuffix(suffix)
            break
    if len(base) > 3 and base[-1] == base[-2]:
        base = base[:-1]
    return base.rstrip("ei") if len(base) > 3 else base


@lru_cache(maxsize=65536)
def _counted_stem(word: str) -> str:
    if word in NUMBERS and word not in AMBIGUOUS_NUMBERS:
        return NUMBERS[word]
    counted = _COUNTED.fullmatch(word)
    return counted.group(1) if counted else stem(undo_elongation(word))


@lru_cache(maxsize=8192)
def _is_function(word: str) -> bool:
    lowered = word.lower()
    return lowered in FUNCTION or _bare(word) in FUNCTION


def _one_edit_apart(one: str, other: str) -> bool:
    """Whether one letter added, dropped, replaced or two neighbours swapped turn `one` into `other`; both begin alike."""
    if one[0] != other[0] or abs(len(one) - len(other)) > 1:
        return False
    start = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    rest, other_rest = one[start:], other[start:]
    swapped = len(rest) > 1 and len(other_rest) > 1 and rest[0] == other_rest[1] and rest[1] == other_rest[0]
    return rest[1:] == other_rest or rest == other_rest[1:] or rest[1:] == other_rest[1:] or (swapped and rest[2:] == other_rest[2:])
