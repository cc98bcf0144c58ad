"""Filters examples by the recipe's rules, and masks personal data in them first. docs/data.md lists the filters and what they cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace

from schemas.synthesis import Filters
from workers.synthesis.rows import FLAGGED, ExampleRow
from workers.text import checks, language
from workers.text.constraints import foreign_links
from workers.text.near_duplicates import jaccard, shingles
from workers.text.pii import scrub
from workers.text.sentences import normalise
from workers.text.tokens import count_words

_FAITHFUL = ("new_number", "new_name", "new_word", "negation")
# What a person writes anew is mostly a word mended that the check can't follow, and those pairs teach most.
_FAITHFUL_BY_HAND = ("new_number", "new_name", "negation")
# Noise misspells names and words on purpose; numbers and negations it keeps.
_FAITHFUL_TO_NOISE = ("new_number", "negation")


class ExampleFilters:
    """Applies the filters of a recipe to one example after the other.

    A decision depends on the example alone, but for near-duplicates: of those the first one is kept.

    Args:
        filters: those of the recipe; None: everything passes as it is.
        near_duplicate: Jaccard similarity from which two tweets count as one, the recipe's.

    Raises:
        UserError: the wanted language is not known.
    """

    def __init__(self, filters: Filters | None, near_duplicate: float = 0.7) -> None:
        self._filters = filters or Filters()
        self._near_duplicate = near_duplicate
        self._kept: dict[int, list[str]] = defaultdict(list)
        if self._filters.language is not None:
            language.require(self._filters.language)

    def judge(self, row: ExampleRow) -> tuple[ExampleRow, tuple[str, ...]]:
        """Return the example, scrubbed, and the reasons to drop it; none for one that is kept.

        The reasons are names of `workers.catalog.examples.dropped_examples.REASONS`. A check may be wrong about what a person wrote: that
        is kept, its lineage lists what was found (`flagged`), and a review shows it first. Of near-duplicates one is enough, whoever wrote
        them.
        """
        row = self._scrubbed(row)
        reasons = self._found(row)
        if self._filters.human == "flag" and by_hand(row):
            row, reasons = _flagged(row, reasons), ()
        if not reasons and self._filters.near_duplicates and row.origin != "noise" and self._is_known(row):
            reasons = ("near_duplicate",)
        return row, reasons

    def look_at(self, row: ExampleRow) -> ExampleRow:
        """Return an example of the test, unchanged but for what the filters find in it: that is listed in its lineage."""
        return _flagged(row, self._found(row))

    def _found(self, row: ExampleRow) -> tuple[str, ...]:
        return tuple(reason for check in self._checks(row) for reason in check(row))

    def _scrubbed(self, row: ExampleRow) -> ExampleRow:
        if not self._filters.scrub:
            return row
        clean = scrub(row.prompt_text, row.target_text, self._filters.scrub)
        if not clean.counts:
            return row
        return replace(row, prompt_text=clean.prompt, target_text=clean.target, lineage={**row.lineage, "scrubbed": clean.counts})

    def _checks(self, row: ExampleRow) -> Iterator[Callable[[ExampleRow], Iterator[str]]]:
        # Of a noised text the words are other ones on purpose, and as many as the noise made of them.
        noised = row.origin == "noise"
        if self._filters.promise or self._filters.faithful:
            yield self._noise_flags if noised else self._flags
        if self._filters.faithful and not noised:
            yield _links
        if not noised:
            yield self._lengths
        if self._filters.language is not None:
            yield self._languages

    def _flags(self, row: ExampleRow) -> Iterator[str]:
        names: tuple[str, ...] = ("promise",) if self._filters.promise else ()
        if self._filters.faithful:
            names += _FAITHFUL_BY_HAND if by_hand(row) else _FAITHFUL
        yield from checks.check(row.prompt_text, row.target_text, row.stage, names).flags

    def _noise_flags(self, row: ExampleRow) -> Iterator[str]:
        # The form alone: a noise that joins words would make any target look longer than its tweet.
        if self._filters.promise:
            yield from checks.check(row.target_text, row.target_text, row.stage, ("promise",)).flags
        if self._filters.faithful:
            yield from checks.check(row.prompt_text, row.target_text, row.stage, _FAITHFUL_TO_NOISE).flags

    def _lengths(self, row: ExampleRow) -> Iterator[str]:
        tweet, target = count_words(row.prompt_text), count_words(row.target_text)
        if target < self._filters.shortest * tweet:
            yield "too_short"
        if self._filters.longest is not None and target > self._filters.longest * tweet:
            yield "too_long"

    def _languages(self, row: ExampleRow) -> Iterator[str]:
        assert self._filters.language is not None
        texts = (row.target_text,) if row.origin == "noise" else (row.prompt_text, row.target_text)
        if any(language.surely_other(text, self._filters.language) for text in texts):
            yield "language"

    def _is_known(self, row: ExampleRow) -> bool:
        """Whether an example that was kept has nearly the same tweet; if not, this one is remembered.

        Near-duplicates share a cluster, but so do the tweets of one thread, and pairs of one summary: those are no duplicates.
        """
        kept = self._kept[row.cluster]
        mine = normalise(row.prompt_text)
        if any(_alike(mine, other, self._near_duplicate) for other in kept):
            return True
        kept.append(mine)
        return False


def by_hand(row: ExampleRow) -> bool:
    """Whether a person wrote the target: a curated pair, or an import that says so."""
    return row.origin == "human" or (row.origin == "import" and bool(row.lineage.get("human")))


def _flagged(row: ExampleRow, reasons: tuple[str, ...]) -> ExampleRow:
    return replace(row, lineage={**row.lineage, FLAGGED: list(reasons)}) if reasons else row


def _links(row: ExampleRow) -> Iterator[str]:
    if foreign_links(row.prompt_text, row.target_text):
        yield "link"


def _alike(one: str, other: str, threshold: float) -> bool:
    return one == other or jaccard(shingles(one), shingles(other)) >= threshold
