"""Builds the rows of a dataset from its plan, one after the other. The same inputs and seeds give the same rows, byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from workers.noise.fitting.rates import NoiseRates
from workers.noise.methods import Fixed, Noising
from workers.synthesis import imported_rows
from workers.synthesis.filters import ExampleFilters
from workers.synthesis.noised_rows import noised_examples
from workers.synthesis.plan import Plan, answer
from workers.synthesis.row_store import RowStore
from workers.synthesis.rows import ExampleRow
from workers.synthesis.split.holdout import Split

Judged = tuple[ExampleRow, tuple[str, ...]]
"""A row, and why it is not learnt from."""


def gather_rows(
    plan: Plan,
    noising: Noising | None = None,
    answers: Iterable[Judged] = (),
    folder: Path | None = None,
    on_row: Callable[[int], None] | None = None,
) -> RowStore:
    """Return all rows of the dataset: filtered, without duplicates, in the ratios of the recipe.

    Args:
        plan: what to build; its counts are completed, and what is refused on the way is added to its rejected rows.
        noising: the noise; None: that of tweets in general.
        answers: what a teacher answered, with the reasons not to learn from it.
        folder: for the rows, which do not stay in memory.
        on_row: called after each row with how many there were; what it raises ends the work.

    Raises:
        UserError: the ratios name an origin that there is nothing of.
    """
    gathered = RowStore(folder)
    filters = ExampleFilters(plan.spec.filters, plan.spec.near_duplicate)
    held = plan.held_back()
    for number, (row, reasons) in enumerate(_rows(plan, noising or Fixed(NoiseRates()), answers), start=1):
        # The test stays what people wrote.
        if row.split == "test":
            row = filters.look_at(row)
        elif not reasons:
            row, reasons = filters.judge(row)
        if reasons:
            gathered.drop(row, reasons)
        elif row.split == "train" and (held.is_near(row.prompt_text) or held.is_near(row.target_text)):
            plan.counts["withheld"] += 1
        else:
            gathered.add(row)
        if on_row is not None:
            on_row(number)
    gathered.distinct(plan.counts)
    gathered.mix(plan.spec.ratios, plan.spec.seed, plan.counts)
    gathered.count(plan.counts)
    return gathered


def _rows(plan: Plan, noising: Noising, answers: Iterable[Judged]) -> Iterator[Judged]:
    for row in _human(plan):
        yield row, ()
    for row in imported_rows.imported_examples(plan.imports, plan.clusters.imports, plan.held, plan.spec, plan.rejected, plan.counts):
        yield row, ()
    yield from answers
    if plan.spec.noise is not None:
        for row in noised_examples(plan, plan.spec.noise, noising):
            yield row, ()


def _human(plan: Plan) -> Iterator[ExampleRow]:
    for pair, cluster in zip(plan.pairs, plan.clusters.pairs.tolist(), strict=True):
        side: Split = "test" if plan.held[cluster] else "train"
        for stage in plan.spec.stages:
            tweet = plan.tweets[pair.tweet_id].text
            yield ExampleRow(stage, tweet, answer(pair, stage), "human", {"tweet_id": pair.tweet_id}, side, cluster)
