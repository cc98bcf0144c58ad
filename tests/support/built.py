"""A dataset built in memory of what a test hands over: the phases of a synthesis job without Postgres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.records import Pair
from schemas.synthesis import SynthesisSpec
from workers.noise.methods import Noising
from workers.synthesis.build import gather_rows
from workers.synthesis.imported_rows import Imported
from workers.synthesis.plan import Inputs, plan
from workers.synthesis.rows import ExampleRow, RejectedPair
from workers.synthesis.split.threads import Ingested


@dataclass(frozen=True)
class Built:
    """A dataset, what was refused, and how many rows became what."""

    examples: list[ExampleRow]
    rejected: list[RejectedPair]
    counts: dict[str, int]


def build(
    spec: SynthesisSpec,
    tweets: Mapping[str, str | Ingested],
    pairs: Sequence[Pair],
    sentences: Sequence[str],
    noising: Noising | None,
    imports: Sequence[Imported] = (),
) -> Built:
    """Plan and gather. A tweet may be its text alone."""
    known = {key: tweet if isinstance(tweet, Ingested) else Ingested(key, tweet) for key, tweet in tweets.items()}
    planned = plan(spec, Inputs(pairs, known, sentences, imports))
    gathered = gather_rows(planned, noising)
    return Built(list(gathered.kept()), list(planned.rejected), dict(planned.counts))
