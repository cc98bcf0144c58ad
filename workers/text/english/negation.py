"""Finds what a text denies: by not, no and never, by verbs and adjectives such as `lacks` and `unable`, by a prefix, or an ironic NOT."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from workers.text.english.lexicon import AUXILIARIES, DENIALS, INTERJECTED_NO, NEGATION, OPPOSITES, SLANG, WEAK_DENIALS
from workers.text.english.words import WORD, join_acronyms, stem, stems
from workers.text.tokens import EMOJI, LINK, plain, split_hashtags

_REACH = 5  # content words after a negation that it may deny
_BEFORE = 4  # content words before it that it may be said of
_LIST = 2  # content words of a clause that may be the first of a list
_CLAUSE_BREAK = re.compile(
    rf"[,.;:!?]\s|\s[@~–—-]+\s|—|{EMOJI.pattern}|\b(?:but|and|because|if)\b|(?<!not )(?<!n't )(?<!never )\bso\b", re.IGNORECASE
)
_INSTEAD = "notbut"  # one word for: rather than, instead of
_IRONIC = "notatall"  # and one for a not at the end, which takes back what came before
_AFTER_A_VERB = re.compile(rf"\b(?:{'|'.join(sorted(AUXILIARIES))})\s$", re.IGNORECASE)
_AT_THE_END = re.compile(r"(?<=\S\s)\bnot\b(?=[\s\W]*$|[!.?]+\s)", re.IGNORECASE)
_OUT_OF = re.compile(
    r"\b(is|are|was|were|be|been|we're|they're|i'm|im|ran|run|runs|running|all|sold|fresh)\sout\sof(?=\s[a-z])"
    r"(?!\s(?:the|a|an|this|that|my|our|your|his|her|their|here|there|town|bed|control|order|office|hospital|line|place)\b)",
    re.IGNORECASE,
)
# "0 replies" is no reply; "bus 0 was late" and "from 0 to 60" say which, and how far.
_NOTHING_OF = re.compile(
    rf"(?<![\w.:,$£€/%-])0(?=\s[a-z])(?!\s(?:{'|'.join(sorted(AUXILIARIES))}|and|at|by|for|from|in|is|of|on|or|s|to|vs|was|with)\b)",
    re.IGNORECASE,
)
# Each with what a text must have for it, in small letters: most have nothing of it.
_SPELLED: tuple[tuple[str, re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    ("w/o", re.compile(r"\bw/o\b", re.IGNORECASE), "without"),
    ("!=", re.compile(r"\s!=\s?"), " not "),
    ("non", re.compile(r"\bnon\s", re.IGNORECASE), "not "),
    # After a verb that stands for another it is no irony: "the first bus was late, the second was not".
    ("not", _AT_THE_END, lambda match: match.group() if _AFTER_A_VERB.search(match.string[: match.start()]) else _IRONIC),
    ("0 ", _NOTHING_OF, "zero"),
    ("out of", _OUT_OF, r"\1 without"),
    ("", re.compile(r"\b(?:rather than|instead of|far from)\b", re.IGNORECASE), _INSTEAD),
)
# They say no without denying: "nothing but", "can't thank you enough", "could not have been more rude", "or not".
_IDIOMS = re.compile(
    r"\b(?:nothing|none|no one) but\b|\bnot only\b(?=.*\bbut\b)|\boh no\b|\bif not\b(?=,)|\bno (?:doubt|matter|wonder)\b|\bor not\b"
    r"|\b(?:can't|cant|cannot|can not)\b(?=(?: \w+){1,4} enough\b)"
    r"|\b(?:couldn't|couldnt|could not|can't|cant|cannot)\b(?= (?:have been |be |get )(?:any )?(?:more|less|better|worse|happier|\w+er)\b)",
    re.IGNORECASE,
)
_PREFIXES = ("un", "dis", "in", "im", "non", "ir")
_ALONE = frozenset({"nothing", "nobody", "none", "nowhere", "never", "noone", "without", "zero"})
"""Negations that deny something by themselves: the same one in both texts is the same denial, whatever stands beside it."""


_OF_THE_WRITER = frozenset({"idk", "dunno"})
"""They say that the writer doesn't know, and deny nothing of what comes after."""


class _Force(IntEnum):
    """How surely a word denies: `few` may stand for a denial, `lacks` is one, `not` is nothing else."""

    WEAK = 0
    VERB = 1
    FULL = 2


@dataclass(frozen=True)
class Denial:
    """A word that denies, the stems of the content words after it, nearest first, and of those before it.

    `beyond` are those of the next clause where that may go on with a list: "no coffee and no seat" lacks a seat too.
    An ironic one takes back what came before: "great service. NOT!"
    """

    word: str
    force: _Force
    after: tuple[str, ...]
    before: tuple[str, ...]
    beyond: tuple[str, ...] = ()
    ironic: bool = False

    @property
    def about(self) -> tuple[str, ...]:
        """What it denies."""
        return self.before if self.ironic else self.after

    @property
    def around(self) -> frozenset[str]:
        """What it may deny, seen generously."""
        return frozenset((*self.about[:3], *self.beyond, *self.before))

    def touches(self, other: Denial) -> bool:
        """Whether both may deny the same."""
        if self.word == other.word and self.word in _ALONE:
            return True
        return not self.about or not other.about or bool(set(self.about[:3]) & set(other.about))


def denies(text: str) -> bool:
    """Return whether the text denies anything; a word such as `hardly` or `fail` alone is too weak to count."""
    return any(one.force is not _Force.WEAK for one in _denials(text))


def differs(tweet: str, output: str) -> bool:
    """Whether the output denies what the tweet doesn't, or keeps what the tweet denied without its denial."""
    tweets, outputs = _words(tweet), _words(output)
    denied = (*_denials(tweet), *_by_prefix(tweet, stems(output)))
    wrote = (*_denials(output), *_by_prefix(output, stems(tweet)))
    # A verb that stands in both texts is the tweet's own, and excuses no other denial.
    excuses = [one for one in denied if one.force is _Force.FULL or (one.force is _Force.VERB and one.word not in outputs)]
    if any(_is_anew(one, excuses, tweets, stems(tweet)) for one in wrote):
        return True
    lost = [one for one in denied if one.force is not _Force.WEAK and one.word not in _OF_THE_WRITER]
    spelled = {*tweets, *(word for short in tweets for word in SLANG.get(short, ()))}
    if any(_is_turned(one, spelled, outputs, stems(output)) for one in lost):
        return True
    covers = [one for one in wrote if one.force is _Force.FULL or one.word not in tweets]
    lost = [one for one in lost if one.word not in outputs or (one.force is _Force.FULL and one.word not in _ALONE)]
    return any(_is_lost(one, covers, tweet, stems(output)) for one in lost)


def _is_anew(one: Denial, denied: Sequence[Denial], tweets: Collection[str], known: Collection[str]) -> bool:
    """Whether it denies something that the tweet has and doesn't deny; one of what stands nowhere in it needs some denial there."""
    if one.force is _Force.WEAK or (one.force is _Force.VERB and one.word in tweets):
        return False
    if not denied:
        return True
    return bool(one.about) and one.about[0] in known and not any(one.touches(other) for other in denied)


def _is_turned(one: Denial, tweets: Collection[str], outputs: Collection[str], known: Collection[str]) -> bool:
    """Whether the output says the contrary of the same: always late for never late; always late for never punctual is none."""
    kept = not one.about or one.about[0] in known
    return kept and any(one.word in words and opposite in outputs and opposite not in tweets for opposite, words in OPPOSITES.items())


def _is_lost(one: Denial, wrote: Sequence[Denial], tweet: str, output: Collection[str]) -> bool:
    """Whether the output keeps what this denial of the tweet is about, and no denial near it."""
    about = one.about
    if not about or not set(about[:3] if one.ironic else about[:1]) <= set(output):
        return False
    if any(not other.about or other.around.intersection(about[:2]) for other in wrote):
        return False
    if any(other.force is not _Force.WEAK for other in wrote) and not set(about[:2]) <= set(output):
        return False
    # Where the tweet says the same word without denying it as well, the output may mean that.
    free = {*_undenied(tweet), *(word for word, times in Counter(about).items() if times > 1)}
    return one.ironic or any(word in output and word not in free for word in about[:2])


@lru_cache(maxsize=1024)
def _denials(text: str) -> tuple[Denial, ...]:
    found: list[Denial] = []
    before: tuple[str, ...] = ()
    clauses = _clauses(text)
    for words, following in zip(clauses, [*clauses[1:], ()], strict=True):
        for place, word in enumerate(words):
            force = _force(words, place)
            if force is not None:
                after, nearest = _contents(words[place + 1 :])[:_REACH], (*before, *_contents(words[:place]))[::-1][:_BEFORE]
                # `#fail` alone denies nothing.
                if after or force is _Force.FULL:
                    beyond = _contents(following)[: _REACH - len(after)] if len(after) <= _LIST else ()
                    found.append(Denial(word, force, after, nearest, beyond, ironic=word == _IRONIC and not after))
        before = (*before, *_contents(words))[-_BEFORE:]
    return tuple(found)


@lru_cache(maxsize=256)
def _undenied(text: str) -> frozenset[str]:
    """Return stems of the content words that no negation comes before in their clause."""
    free: set[str] = set()
    for words in _clauses(text):
        first = next((place for place in range(len(words)) if (_force(words, place) or 0) > _Force.WEAK), len(words))
        free.update(_contents(words[:first]))
    return frozenset(free)


@lru_cache(maxsize=1024)
def _clauses(text: str) -> tuple[tuple[str, ...], ...]:
    """Return the words of each clause, in small letters."""
    found = (WORD.findall(clause) for clause in _CLAUSE_BREAK.split(_prepared(text)))
    return tuple(tuple(word if word == "US" else word.lower() for word in words) for words in found)


@lru_cache(maxsize=1024)
def _prepared(text: str) -> str:
    spelled_out = _IDIOMS.sub(" ", split_hashtags(join_acronyms(LINK.sub(" ", plain(text)))))
    lower = spelled_out.lower()
    for mark, pattern, spelled in _SPELLED:
        if mark in lower:
            spelled_out = pattern.sub(spelled, spelled_out)
    return spelled_out


def _force(words: Sequence[str], place: int) -> _Force | None:
    word = words[place]
    if word == "no" and (place + 1 == len(words) or words[place + 1] in INTERJECTED_NO):
        return None
    if word in NEGATION or word == _IRONIC or word.endswith("n't"):
        return _Force.FULL
    if word in DENIALS or DENIALS.intersection(SLANG.get(word, ())):
        return _Force.VERB
    return _Force.WEAK if word in WEAK_DENIALS else None


@lru_cache(maxsize=1024)
def _words(text: str) -> frozenset[str]:
    return frozenset(word for clause in _clauses(text) for word in clause)


def _contents(words: Sequence[str]) -> tuple[str, ...]:
    return stems(" ".join(words))


def _by_prefix(text: str, other: Collection[str]) -> tuple[Denial, ...]:
    """Find a denial for each word such as `unhelpful` of which the other text has the bare form alone."""
    found = []
    for word in _words(text):
        if not word.startswith(_PREFIXES):
            continue
        for prefix in _PREFIXES:
            bare = word.removeprefix(prefix)
            if bare != word and len(bare) >= 4 and stem(bare) in other and stem(word) not in other:
                found.append(Denial(word, _Force.FULL, (stem(bare),), ()))
    return tuple(found)
