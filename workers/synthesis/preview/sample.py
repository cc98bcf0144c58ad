"""Draws a sample of the sources that a recipe names, for a preview whose cost does not grow with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from schemas.records import Pair
from schemas.synthesis import SynthesisSpec
from workers.synthesis.imported_rows import Imported
from workers.synthesis.inputs import tweets_with_threads
from workers.synthesis.plan import Inputs
from workers.synthesis.preflight import count_curated

# Raw: a sample by hash.
_DRAWN = """
SELECT key, text, clean, summary FROM (
    SELECT * FROM curated WHERE collection = :collection ORDER BY md5(cast(:seed AS text) || position) LIMIT :limit) AS drawn
ORDER BY position
"""


@dataclass(frozen=True)
class SourceSample:
    """How many rows a source has, and how many of them were looked at."""

    there: int
    looked_at: int

    @property
    def scale(self) -> float:
        """By what a count of the sample is multiplied to tell of the whole."""
        return self.there / self.looked_at if self.looked_at else 1.0


@dataclass(frozen=True)
class Sample:
    """The inputs that were drawn, and from how much: by `pairs`, `sentences` and `imports`."""

    inputs: Inputs
    parts: dict[str, SourceSample]

    @property
    def whole(self) -> bool:
        """Whether nothing was left out."""
        return all(part.there == part.looked_at for part in self.parts.values())


def draw_sample(connection: Connection, spec: SynthesisSpec, size: int) -> Sample:
    """Read at most `size` rows of each source, drawn by the recipe's seed. A teacher's tweets are not among them.

    Args:
        connection: to the database.
        spec: the recipe, its files brought in.
        size: rows a source.
    """
    named = {"pairs": spec.pairs, "sentences": spec.sentences, "imports": spec.imports.file if spec.imports else None}
    drawn = {kind: _drawn(connection, collection, spec.seed, size) for kind, collection in named.items() if collection}
    parts = {kind: SourceSample(count_curated(connection, str(named[kind])), len(rows)) for kind, rows in drawn.items()}
    pairs = [Pair(tweet_id=row.key, clean=row.clean, summary=row.summary) for row in drawn.get("pairs", [])]
    inputs = Inputs(
        pairs=pairs,
        tweets={tweet.id: tweet for tweet in tweets_with_threads(connection, [pair.tweet_id for pair in pairs])},
        sentences=[row.clean for row in drawn.get("sentences", [])],
        imports=[Imported(place=row.key, prompt=row.text, completion=row.summary) for row in drawn.get("imports", [])],
    )
    return Sample(inputs, parts)


def _drawn(connection: Connection, collection: str, seed: int, size: int) -> list[Any]:
    return list(connection.execute(text(_DRAWN), {"collection": collection, "seed": str(seed), "limit": size}))
