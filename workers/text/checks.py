"""Checks an output against its tweet word by word, and sums the costs of what is found.

The costs were set on read outputs: what readers took for invention costs most. An output that costs 5 or more is worse than the
tweet's own opening.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from schemas.payloads import Stage
from workers.text.constraints import meets_constraints
from workers.text.english import negation
from workers.text.english.lexicon import CONJUNCTIONS, FIRST_PERSON, HEDGES, OPEN_ENDINGS, QUESTION_OPENERS, SECOND_PERSON
from workers.text.english.words import (
    SENTENCE_BOUNDARY,
    WORD,
    content_words,
    foreign_names,
    foreign_numbers,
    foreign_words,
    join_acronyms,
    stem,
    undo_elongation,
    vocabulary,
)
from workers.text.prepare import prepare
from workers.text.tokens import EMOJI, EMOTICON, HANDLE, LINK, plain

_FEW = 4


@dataclass(frozen=True)
class CheckResult:
    """The summed cost of the checks that found something, and their names; 0 and none where none did."""

    cost: float
    flags: tuple[str, ...]


def check(tweet: str, output: str, stage: Stage = Stage.SUMMARY, only: Collection[str] | None = None) -> CheckResult:
    """Judge `output` against `tweet`, as it was sent. The clean stage may have several sentences, so only its words are judged.

    Args:
        tweet: as it was sent.
        output: the text to judge.
        stage: what was asked for.
        only: the flags to look for; default: all.
    """
    found = findings(tweet, output, stage, only)
    return CheckResult(cost=sum(found.values()), flags=tuple(found))


def findings(tweet: str, output: str, stage: Stage, only: Collection[str] | None = None) -> dict[str, float]:
    """Return the cost of each check that finds something, by its name; arguments as of `check`."""
    form = _breaks_constraints if stage is Stage.SUMMARY else _left_noise
    wanted = {name: both for name, both in {"promise": (10.0, form), **_CHECKS}.items() if only is None or name in only}
    costs = {name: price * count(tweet, output) for name, (price, count) in wanted.items()}
    return {name: cost for name, cost in costs.items() if cost}


def _out_of_order(tweet: str, output: str) -> int:
    """Count words that stand in another order than in the tweet, the longest run in order apart: the mark of who and whom swapped."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, word in enumerate(_stems(tweet)):
        places[word].append(place)
    shared, seen = 0, Counter[str]()
    ends: list[int] = []  # ends[n]: the smallest place at which a run of n + 1 words in order can end
    for word in _stems(output):
        seen[word] += 1
        if seen[word] > len(places[word]):
            continue
        shared += 1
        for place in reversed(places[word]):
            at = bisect_left(ends, place)
            ends[at : at + 1] = [place]
    return shared - len(ends)


def _run_on(tweet: str, output: str) -> int:
    """Count words of two sentences of the tweet run together: no mark and no conjunction between them says that they were two."""
    sentences = [set(_stems(sentence)) for sentence in _sentences(tweet)]
    seams, before, joined = 0, set[int](), True
    for token in output.split():
        word = token.strip("\"'()[]").rstrip(".,!?;:")
        joined = joined or word.lower() in CONJUNCTIONS
        homes = {place for place, stems in enumerate(sentences) if stems & set(_stems(word))}
        if homes:
            seams += bool(before) and not joined and not homes & before
            before, joined = (homes & before if homes & before and not joined else homes), False
        joined = joined or token[-1] in ",;:.!?-)"
    return seams


def _added_words(tweet: str, output: str) -> int:
    """Count words, small ones too, that were added to a tweet of a few words, where there is nothing to shorten or to complete."""
    words = _lowered(prepare(tweet))
    known = vocabulary(tweet)
    return 0 if len(words) > _FEW else sum(not known.has_word(word) for word in _lowered(output))


def _breaks_constraints(tweet: str, output: str) -> int:
    return int(not meets_constraints(tweet, output))


def _left_noise(_: str, output: str) -> int:
    empty = not any(map(str.isalnum, output))
    return int(empty or any(pattern.search(output) for pattern in (HANDLE, LINK, EMOJI, EMOTICON)))


def _new_numbers(tweet: str, output: str) -> int:
    return len(foreign_numbers(tweet, output))


def _new_names(tweet: str, output: str) -> int:
    return len(foreign_names(tweet, output))


def _new_words(tweet: str, output: str) -> int:
    return len(foreign_words(tweet, output))


def _other_negation(tweet: str, output: str) -> int:
    """Find a negation that the tweet lacks, one of something else, or one lost while the output keeps what it denied."""
    return int(negation.differs(tweet, output))


def _repeated(tweet: str, output: str) -> int:
    in_tweet, in_output = Counter(_stems(tweet)), Counter(_stems(output))
    twice = {pair for pair in pairwise(_lowered(output)) if pair[0] == pair[1]} - set(pairwise(_lowered(tweet)))
    return len(twice) + sum(number > max(1, in_tweet[word]) for word, number in in_output.items())


def _turned_question(tweet: str, output: str) -> int:
    sentence = _source_of(output, tweet)
    if output.rstrip("\"')").endswith("?"):
        return int("?" not in tweet and _first_word(sentence) not in QUESTION_OPENERS)
    return int(sentence.rstrip("\"')").endswith("?"))


def _lost_hedge(tweet: str, output: str) -> int:
    return int(_hedged(_source_of(output, tweet)) and not _hedged(output))


def _fragment(tweet: str, output: str) -> int:
    """Find an ending such as `of the`, unless the tweet itself stops there."""
    words = _lowered(output)
    if not words or words[-1] not in OPEN_ENDINGS:
        return 0
    endings = {(_lowered(part) or ("",))[-1] for sentence in _sentences(tweet) for part in sentence.split(",")}
    return int(words[-1] not in endings)


def _flipped_person(tweet: str, output: str) -> int:
    in_tweet, in_output = set(_lowered(tweet)), set(_lowered(output))
    first_only = bool(in_tweet & FIRST_PERSON) and not in_tweet & SECOND_PERSON
    second_only = bool(in_tweet & SECOND_PERSON) and not in_tweet & FIRST_PERSON
    to_second = bool(in_output & SECOND_PERSON) and not in_output & FIRST_PERSON
    to_first = bool(in_output & FIRST_PERSON) and not in_output & SECOND_PERSON
    return int((first_only and to_second) or (second_only and to_first))


_CHECKS: dict[str, tuple[float, Callable[[str, str], int]]] = {
    "new_number": (5.0, _new_numbers),
    "new_name": (5.0, _new_names),
    "new_word": (2.0, _new_words),
    "negation": (3.0, _other_negation),
    "repetition": (3.0, _repeated),
    "question": (3.0, _turned_question),
    "hedge": (2.0, _lost_hedge),
    "fragment": (3.0, _fragment),
    "person": (2.0, _flipped_person),
    "order": (1.0, _out_of_order),
    "fused": (2.0, _run_on),
    "padding": (1.0, _added_words),
}

SERIOUS = frozenset({"promise"} | {name for name, (price, _) in _CHECKS.items() if price > 1})
"""The flags that matter by themselves: what the guard has written again for one of them alone."""


@lru_cache(maxsize=64)
def _sentences(text: str) -> tuple[str, ...]:
    return tuple(sentence for sentence in SENTENCE_BOUNDARY.split(prepare(text)) if any(map(str.isalnum, sentence)))


def _source_of(output: str, tweet: str) -> str:
    """Return the sentence of the tweet that shares most with the output, relative to its own length where two share as much."""
    wrote = set(_stems(output))

    def likeness(sentence: str) -> tuple[int, float]:
        stems = set(_stems(sentence))
        return len(stems & wrote), -len(stems)

    return max(_sentences(tweet), key=likeness, default="")


# The checks of one pair look at the same few texts again and again: remembering them makes ranking a dataset three times as fast.
@lru_cache(maxsize=1024)
def _stems(text: str) -> tuple[str, ...]:
    return tuple(stem(undo_elongation(word)) for word in content_words(text))


@lru_cache(maxsize=1024)
def _lowered(text: str) -> tuple[str, ...]:
    # The country is no pronoun.
    return tuple(word if word == "US" else word.lower() for word in WORD.findall(join_acronyms(plain(text))))


def _first_word(sentence: str) -> str:
    return next(iter(_lowered(sentence)), "")


def _hedged(text: str) -> bool:
    words = _lowered(text)
    return bool(HEDGES & set(words)) or any(pair in {("will", "you"), ("can", "you")} for pair in pairwise(words))
