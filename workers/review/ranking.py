"""Ranks the examples of a dataset for review: first where rare checks find fault, teachers disagree, or words are new."""

from __future__ import annotations

import math
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.payloads import Stage
from workers.catalog.examples.dropped_examples import meaning
from workers.text.checks import findings
from workers.text.english.words import content_words

# What each finding means to somebody who has the tweet and the target before them.
FINDINGS: Mapping[str, str] = {
    "promise": "is no single plain sentence of at most 15 words",
    "new_number": "has a number that the tweet lacks",
    "new_name": "has a name that the tweet lacks",
    "new_word": "has words that the tweet lacks",
    "negation": "denies what the tweet doesn't deny, or the other way round",
    "repetition": "says something twice",
    "question": "makes a question of a statement, or the other way round",
    "hedge": "says for sure what the tweet says with reserve",
    "fragment": "breaks off",
    "person": "speaks of another person than the tweet",
    "order": "has the words in another order than the tweet",
    "fused": "runs two sentences of the tweet together",
    "padding": "adds words to a tweet of a few words",
}
_LEFT_NOISE = "still holds a handle, a link or an emoji, or no word at all"

_DISAGREEMENT = 5.0  # candidates of a teacher that have nothing in common: as telling as an invented number
_NEW_WORDS = 1.0  # only words that stand in no other row
_ALONE = 0.5
_FLAGGED = 1000.0  # what a person wrote and a filter would have dropped comes before all else: more than checks can cost a summary
_BUCKETS = 1 << 20
_PRIOR = 20  # rows without a finding that are imagined beside the sample: the finding of an only row would say nothing


@dataclass(frozen=True)
class Candidate:
    """An example that may be reviewed.

    `alike` is how many rows of its cluster may be, itself among them; `flagged` what filters found in it, where it was kept all the same.
    """

    key: str
    stage: str
    prompt: str
    target: str
    scores: Mapping[str, Any] | None
    alike: int
    flagged: Sequence[str] | None = None


@dataclass(frozen=True)
class Ranked:
    """A row's value, the greatest to be shown first, and why, in words."""

    key: str
    value: float
    reasons: tuple[str, ...]


class Words:
    """In how many targets each word stands, in 4 MiB however many there are: words may share a counter, which makes both commoner."""

    def __init__(self, targets: Iterable[str]) -> None:
        self._rows = array("I", bytes(4 * _BUCKETS))
        for target in targets:
            for bucket in {_bucket(word) for word in content_words(target)}:
                self._rows[bucket] += 1

    def only_here(self, target: str) -> tuple[int, int]:
        """Return how many of the target's content words stand in no other one, and how many it has."""
        words = set(content_words(target))
        return sum(self._rows[_bucket(word)] <= 1 for word in words), len(words)


def _bucket(word: str) -> int:
    return zlib.crc32(word.encode()) % _BUCKETS


class Findings:
    """How much each check's finding says of one row: little where half of the rows have it, much where hardly any has."""

    def __init__(self, sample: Iterable[Candidate]) -> None:
        rows, having = 0, Counter[str]()
        for row in sample:
            rows += 1
            having.update(findings(row.prompt, row.target, Stage(row.stage)).keys())
        self._full = math.log(rows + _PRIOR)
        self._having = {name: math.log(1 + count) for name, count in having.items()}

    def weight(self, name: str) -> float:
        """Return how rare a finding is, from 0 (every row of the sample has it) to 1 (none has)."""
        return 1 - self._having.get(name, 0.0) / self._full


@dataclass(frozen=True)
class Known:
    """What is known of the dataset before its rows are ranked."""

    words: Words
    findings: Findings


def objections(prompt: str, target: str, stage: Stage) -> tuple[str, ...]:
    """Return what the checks find wrong with a target, in words."""
    return tuple(_in_words(name, stage) for name in findings(prompt, target, stage))


def _in_words(name: str, stage: Stage) -> str:
    return _LEFT_NOISE if name == "promise" and stage is Stage.CLEAN else FINDINGS[name]


def rank(row: Candidate, known: Known) -> Ranked:
    """Return the value of a look at `row`, and the reasons in words."""
    stage = Stage(row.stage)
    found = {name: cost * known.findings.weight(name) for name, cost in findings(row.prompt, row.target, stage).items()}
    value = sum(found.values()) + (_FLAGGED if row.flagged else 0.0)
    reasons = [f"filters: {meaning(name)}; kept, since a person wrote it" for name in row.flagged or ()]
    reasons += [f"checks: the target {_in_words(name, stage)}" for name in sorted(found, key=lambda name: -found[name])]
    agreement = _agreement(row.scores)
    if agreement is not None and agreement < 1:
        value += _DISAGREEMENT * (1 - agreement)
        reasons.append(f"teacher: its answers agree to {agreement:.0%}")
    fresh, every = known.words.only_here(row.target)
    if fresh:
        value += _NEW_WORDS * fresh / every
        reasons.append(f"new: {fresh} of {every} words {'stands' if fresh == 1 else 'stand'} in no other target")
    return Ranked(row.key, value + _ALONE / row.alike, tuple(reasons))


def _agreement(scores: Mapping[str, Any] | None) -> float | None:
    found = (scores or {}).get("agreement")
    return min(1.0, max(0.0, float(found))) if isinstance(found, (int, float)) else None
