"""Compares the statistics of a dataset with what its recipe expects, before a GPU hour is spent on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from schemas.synthesis import Expectations


@dataclass(frozen=True)
class Statistics:
    """The counts and shares of a dataset.

    Attributes:
        train: training examples, after filters and ratios.
        test: test examples.
        human: training examples that a person wrote: curated pairs, and imports that say so.
        commonest_target: training examples that share the commonest target.
        rows_of_one: how many may share a target because one pair was noised; up to this number they are no canned answer.
        judged: examples that the filters saw.
        dropped: how many of them were dropped.
        read: rows of the sources: pairs, sentences, imports.
        refused: how many of them could not be used.
        usd: what the teacher has cost.
        reasons: examples dropped, by reason; one may have several.
    """

    train: int
    test: int
    human: int = 0
    commonest_target: int = 0
    rows_of_one: int = 1
    judged: int = 0
    dropped: int = 0
    read: int = 0
    refused: int = 0
    usd: float = 0.0
    reasons: Mapping[str, int] = field(default_factory=dict)


def unmet(expect: Expectations | None, counts: Statistics, dataset: str = "NAME") -> list[str]:
    """Return a message for each expectation that is not met: the key, what is asked, what is there, and what to do.

    `expect` has numbers alone: `Preflight.resolved` gives one to each `auto`.
    """
    return [] if expect is None else [*_sizes(expect, counts), *_shares(expect, counts, dataset), *_costs(expect, counts)]


def _sizes(expect: Expectations, counts: Statistics) -> Iterator[str]:
    if isinstance(expect.min_train, int) and counts.train < expect.min_train:
        yield (
            f"min_train asks for {expect.min_train:,} training examples, there are {counts.train:,}: "
            "add pairs or sentences, raise noise.copies or noise.limit, or loosen filters and ratios"
        )
    if isinstance(expect.min_test, int) and counts.test < expect.min_test:
        yield (
            f"min_test asks for {expect.min_test:,} test examples, there are {counts.test:,}: "
            "raise test_size, and add pairs if there are too few to hold back, or if most belong together (threads, near-duplicates)"
        )


def _shares(expect: Expectations, counts: Statistics, dataset: str) -> Iterator[str]:
    human = _share(counts.human, counts.train)
    if expect.min_human_share is not None and human < expect.min_human_share:
        yield (
            f"min_human_share asks for {_percent(expect.min_human_share)} of people, there are {_percent(human)} "
            f"({counts.human:,} of {counts.train:,}): add pairs, or take less of the rest with ratios, noise.limit or teacher.limit"
        )
    dropped = _share(counts.dropped, counts.judged)
    if expect.max_dropped_share is not None and dropped > expect.max_dropped_share:
        reasons = ", ".join(f"{name} {rows:,}" for name, rows in sorted(counts.reasons.items(), key=lambda item: (-item[1], item[0])))
        yield (
            f"max_dropped_share allows {_percent(expect.max_dropped_share)}, dropped were {_percent(dropped)} "
            f"({counts.dropped:,} of {counts.judged:,}{f': {reasons}' if reasons else ''}): "
            f"`tweetmill dataset dropped {dataset}` shows them"
        )
    refused = _share(counts.refused, counts.read)
    if expect.max_rejected_share is not None and refused > expect.max_rejected_share:
        yield (
            f"max_rejected_share allows {_percent(expect.max_rejected_share)}, refused were {_percent(refused)} "
            f"({counts.refused:,} of {counts.read:,}): `tweetmill rejected --origin {dataset}` says why, and of a file with its name"
        )
    same = _share(counts.commonest_target, counts.train)
    if expect.max_same_target_share is not None and same > expect.max_same_target_share and counts.commonest_target > counts.rows_of_one:
        yield (
            f"max_same_target_share allows {_percent(expect.max_same_target_share)} with one target, there are {_percent(same)} "
            f"({counts.commonest_target:,} of {counts.train:,}): look for a canned answer in the sources, or lower noise.copies"
        )


def _costs(expect: Expectations, counts: Statistics) -> Iterator[str]:
    if expect.max_usd is not None and counts.usd > expect.max_usd:
        yield (
            f"max_usd allows {expect.max_usd:.2f} dollars, the teacher has cost {counts.usd:.2f}: "
            "lower teacher.limit or set teacher.max_usd, which stops in time; answers are kept and not paid again"
        )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
