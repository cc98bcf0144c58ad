"""What a dataset must be before a GPU hour is spent on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from schemas.synthesis import Expectations


@dataclass(frozen=True)
class Told:
    """A dataset in numbers.

    Attributes:
        train: training examples, after filters and ratios.
        test: test examples.
        human: training examples that a person wrote: curated pairs, and imports that say so.
        commonest_target: training examples that share the commonest target.
        rows_of_one: how many share a target because one pair was noised: so many are no canned answer.
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


def unmet(expect: Expectations | None, told: Told, dataset: str = "NAME") -> list[str]:
    """What the dataset fails to be: for each the key, what is asked, what is there, and what to do. Empty when all is met.

    `expect` has numbers alone: `Preflight.resolved` gives one to each `auto`.
    """
    return [] if expect is None else [*_sizes(expect, told), *_shares(expect, told, dataset), *_costs(expect, told)]


def _sizes(expect: Expectations, told: Told) -> Iterator[str]:
    if isinstance(expect.min_train, int) and told.train < expect.min_train:
        yield (
            f"min_train asks for {expect.min_train:,} training examples, there are {told.train:,}: "
            "add pairs or sentences, raise noise.copies or noise.limit, or loosen filters and ratios"
        )
    if isinstance(expect.min_test, int) and told.test < expect.min_test:
        yield (
            f"min_test asks for {expect.min_test:,} test examples, there are {told.test:,}: "
            "raise test_size, and add pairs if there are too few to hold back, or if most belong together (threads, near-duplicates)"
        )


def _shares(expect: Expectations, told: Told, dataset: str) -> Iterator[str]:
    human = _share(told.human, told.train)
    if expect.min_human_share is not None and human < expect.min_human_share:
        yield (
            f"min_human_share asks for {_percent(expect.min_human_share)} of people, there are {_percent(human)} "
            f"({told.human:,} of {told.train:,}): add pairs, or take less of the rest with ratios, noise.limit or teacher.limit"
        )
    dropped = _share(told.dropped, told.judged)
    if expect.max_dropped_share is not None and dropped > expect.max_dropped_share:
        reasons = ", ".join(f"{name} {rows:,}" for name, rows in sorted(told.reasons.items(), key=lambda item: (-item[1], item[0])))
        yield (
            f"max_dropped_share allows {_percent(expect.max_dropped_share)}, dropped were {_percent(dropped)} "
            f"({told.dropped:,} of {told.judged:,}{f': {reasons}' if reasons else ''}): `tweetmill dataset dropped {dataset}` shows them"
        )
    refused = _share(told.refused, told.read)
    if expect.max_rejected_share is not None and refused > expect.max_rejected_share:
        yield (
            f"max_rejected_share allows {_percent(expect.max_rejected_share)}, refused were {_percent(refused)} "
            f"({told.refused:,} of {told.read:,}): `tweetmill rejected --origin {dataset}` says why, and of a file with its name"
        )
    same = _share(told.commonest_target, told.train)
    if expect.max_same_target_share is not None and same > expect.max_same_target_share and told.commonest_target > told.rows_of_one:
        yield (
            f"max_same_target_share allows {_percent(expect.max_same_target_share)} with one target, there are {_percent(same)} "
            f"({told.commonest_target:,} of {told.train:,}): look for a canned answer in the sources, or lower noise.copies"
        )


def _costs(expect: Expectations, told: Told) -> Iterator[str]:
    if expect.max_usd is not None and told.usd > expect.max_usd:
        yield (
            f"max_usd allows {expect.max_usd:.2f} dollars, the teacher has cost {told.usd:.2f}: "
            "lower teacher.limit or set teacher.max_usd, which stops in time; answers are kept and not paid again"
        )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
