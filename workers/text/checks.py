"""Checks an output against its tweet word by word, and sums the costs of what is found.

The costs were set on read outputs: what readers took for invention costs most. An output that costs 5 or more is worse than the
tweet's own opening.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from schemas.payloads import Stage
from workers.text.constraints import meets_constraints
from workers.text.english import endings, hedges, negation, order, questions, run_on, subjects
from workers.text.english.lexicon import FIRST_PERSON, SECOND_PERSON, SLANG, UNITS
from workers.text.english.rewordings import is_of_the_same_country, says_nothing_new
from workers.text.english.words import (
    SENTENCE_BOUNDARY,
    WORD,
    foreign_names,
    foreign_numbers,
    foreign_words,
    join_acronyms,
    lowered,
    stems,
    vocabulary,
)
from workers.text.prepare import REMEMBERED, prepare
from workers.text.tokens import EMOJI, EMOTICON, HANDLE, HASHTAG, LINK, plain, split_hashtag

_FEW = 4
_ABBREVIATED = re.compile(r"\b(?:[A-Z]|vs|[MD]rs?|Ms|St|[JS]r|Gov|Sen|Rep|Gen|Capt|Lt|Sgt|Prof|Rev|Mt|Jan|Feb|Aug|Sept?|Oct|Nov|Dec)\.$")


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
    return _check_all(tweet, output, stage) if only is None else _summed(findings(tweet, output, stage, only))


# The guard asks twice: for the flags of a first answer, and for its cost.
@lru_cache(maxsize=REMEMBERED)
def _check_all(tweet: str, output: str, stage: Stage) -> CheckResult:
    return _summed(findings(tweet, output, stage, None))


def _summed(found: dict[str, float]) -> CheckResult:
    return CheckResult(cost=sum(found.values()), flags=tuple(found))


def findings(tweet: str, output: str, stage: Stage, only: Collection[str] | None = None) -> dict[str, float]:
    """Return the cost of each check that finds something, by its name; arguments as of `check`."""
    form = _breaks_constraints if stage is Stage.SUMMARY else _left_noise
    wanted = {name: both for name, both in {"promise": (10.0, form), **_CHECKS}.items() if only is None or name in only}
    costs = {name: price * count(tweet, output) for name, (price, count) in wanted.items()}
    return {name: cost for name, cost in costs.items() if cost}


def _out_of_order(tweet: str, output: str) -> int:
    return order.swapped(" ".join(_sentences(tweet)), output)


def _run_on(tweet: str, output: str) -> int:
    return run_on.seams(_sentences(tweet), output)


def _added_words(tweet: str, output: str) -> int:
    """Count words, small ones too, that were added to a tweet of a few words, where there is nothing to shorten or to complete."""
    words = lowered(prepare(tweet))
    known = vocabulary(tweet)
    return 0 if len(words) > _FEW else sum(not known.has_word(word) for word in lowered(output))


def _breaks_constraints(tweet: str, output: str) -> int:
    return int(not meets_constraints(tweet, output))


def _left_noise(_: str, output: str) -> int:
    empty = not any(map(str.isalnum, output))
    return int(empty or any(pattern.search(output) for pattern in (HANDLE, LINK, EMOJI, EMOTICON)))


def _new_numbers(tweet: str, output: str) -> int:
    return len(foreign_numbers(tweet, output))


def _new_names(tweet: str, output: str) -> int:
    known = vocabulary(tweet)
    return sum(not is_of_the_same_country(name, known) for name in foreign_names(tweet, output))


def _new_words(tweet: str, output: str) -> int:
    known = vocabulary(tweet)
    return sum(not says_nothing_new(word, known) for word in foreign_words(tweet, output))


def _other_negation(tweet: str, output: str) -> int:
    """Find a negation that the tweet lacks, one of something else, or one lost while the output keeps what it denied."""
    return int(negation.differs(tweet, output))


def _repeated(tweet: str, output: str) -> int:
    in_tweet, in_output = Counter(stems(tweet)), Counter(stems(output))
    twice = {pair for pair in pairwise(lowered(output)) if pair[0] == pair[1]} - set(pairwise(lowered(tweet)))
    often = [word for word, number in in_output.items() if number > max(1, in_tweet[word])]
    if often:
        spelled = _spelled_out(tweet)
        often = [word for word in often if in_output[word] > spelled[word]]
    return len(twice) + len(often)


@lru_cache(maxsize=256)
def _spelled_out(tweet: str) -> Counter[str]:
    """Count the stems that a tweet says in any form: `diff` as different, `@BootShed` as boot and shed, `51 lbs` as pounds."""
    text = join_acronyms(plain(tweet))
    tags = " ".join(split_hashtag(match.group().lstrip("@＠#")) for match in (*HANDLE.finditer(text), *HASHTAG.finditer(text)))
    known = Counter[str]()
    for word in WORD.findall(f"{LINK.sub(' ', text)} {tags}"):
        short = word.lower()
        bare = short.lstrip("0123456789")
        known.update({*stems(short), *stems(" ".join((*SLANG.get(short, ()), *UNITS.get(bare, ()))))})
    return known


def _turned_question(tweet: str, output: str) -> int:
    return int(any(_turns(sentence, tweet, output) for sentence in SENTENCE_BOUNDARY.split(output)))


def _turns(sentence: str, tweet: str, output: str) -> bool:
    """Return whether a sentence of the output asks what the tweet says, or says what it asks and doesn't answer."""
    source = _source_of(sentence, tweet)
    if sentence.rstrip("\"').").endswith("?"):
        return "?" not in tweet and not questions.may_ask(source)
    if not questions.asks(source) or "?" in output:
        return False
    sentences = _sentences(tweet)
    return not questions.is_answered(source, sentences[sentences.index(source) + 1 :], output)


def _lost_hedge(tweet: str, output: str) -> int:
    return int(hedges.is_lost(_source_of(output, tweet), output))


def _fragment(tweet: str, output: str) -> int:
    return int(endings.breaks_off(_sentences(tweet), output))


def _flipped_person(tweet: str, output: str) -> int:
    in_tweet, in_output = set(lowered(tweet)), set(lowered(output))
    first_only = bool(in_tweet & FIRST_PERSON) and not in_tweet & SECOND_PERSON
    second_only = bool(in_tweet & SECOND_PERSON) and not in_tweet & FIRST_PERSON
    to_second = bool(in_output & SECOND_PERSON) and not in_output & FIRST_PERSON
    to_first = bool(in_output & FIRST_PERSON) and not in_output & SECOND_PERSON
    return int((first_only and to_second) or (second_only and to_first) or subjects.is_made_the_writers(_sentences(tweet), output))


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
    "order": (2.0, _out_of_order),
    "fused": (2.0, _run_on),
    "padding": (1.0, _added_words),
}

SERIOUS = frozenset({"promise"} | {name for name, (price, _) in _CHECKS.items() if price > 1})
"""The flags that matter by themselves: what the guard has written again for one of them alone."""


@lru_cache(maxsize=64)
def _sentences(text: str) -> tuple[str, ...]:
    found: list[str] = []
    for sentence in SENTENCE_BOUNDARY.split(prepare(text)):
        # "(finally!!)" ends no sentence either; what closes it is not kept by the split.
        if found and (_ABBREVIATED.search(found[-1]) or found[-1].rfind("(") > max(found[-1].rfind(")"), 0)):
            found[-1] += f" {sentence}"
        elif any(map(str.isalnum, sentence)):
            found.append(sentence)
    return tuple(found)


def _source_of(output: str, tweet: str) -> str:
    """Return the sentence of the tweet that shares most with the output, relative to its own length where two share as much."""
    wrote = set(stems(output))

    def likeness(sentence: str) -> tuple[int, float]:
        words = set(stems(sentence))
        return len(words & wrote), -len(words)

    return max(_sentences(tweet), key=likeness, default="")
