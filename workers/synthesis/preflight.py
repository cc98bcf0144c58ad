"""Checks, before a job is queued, whether the sources of a recipe can give what it asks for; reports everything at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sqlalchemy import Connection, func
from sqlmodel import col, select

from schemas.payloads import Stage
from schemas.synthesis import Expectations, SynthesisSpec
from schemas.tables.datasets import Curated
from schemas.tables.tweets import Tweet
from workers.database import session_on
from workers.errors import UserError
from workers.synthesis.split.holdout import size_of_test
from workers.synthesis.split.ratios import shares


@dataclass(frozen=True)
class Supply:
    """How much there is of each source that may become examples, at most.

    Attributes:
        pairs: curated pairs whose tweets are ingested.
        sentences: clean texts for noise, one that serves two stages twice.
        imports: rows of an imported file.
        unpaired: tweets that a teacher may be asked about.
        read: curated pairs in all.
        without_tweet: those whose tweet is not ingested.
    """

    pairs: int = 0
    sentences: int = 0
    imports: int = 0
    unpaired: int = 0
    read: int = 0
    without_tweet: int = 0


@dataclass(frozen=True)
class Preflight:
    """What `supply` can become under the recipe `spec`."""

    spec: SynthesisSpec
    supply: Supply

    def unmet(self) -> list[str]:
        """Return what can't be met whatever the filters keep: for each the key, what is asked, what there is, and what to do."""
        # Without a single pair nothing else can be said yet.
        return [*self._of_pairs()] or [*self._of_test(), *self._of_ratios(), *self._of_shares(), *self._of_sizes()]

    def notes(self) -> list[str]:
        """Return warnings: pairs about tweets that are not ingested."""
        return [self._without_tweet()] if self.supply.without_tweet else []

    def resolved(self) -> Expectations | None:
        """Return what the recipe expects, with a number for each `auto`: half of what the sources give under this recipe."""
        expect = self.spec.expect
        if expect is None:
            return None
        half = {"min_train": (self._given(self._learnt()) + 1) // 2, "min_test": (self._tested + 1) // 2}
        return expect.model_copy(update={key: number for key, number in half.items() if getattr(expect, key) == "auto"})

    @property
    def rows_of_one(self) -> int:
        """Examples that may have the target of one pair: its own, and those of its noise. So many alike are no canned answer."""
        return 1 + self._noised(Stage.SUMMARY)

    @property
    def humans(self) -> int:
        """What people wrote: the test is drawn among it."""
        return self.supply.pairs + (self._imported if self.spec.imports is not None and self.spec.imports.human else 0)

    @property
    def held(self) -> int:
        """How many of these are held back; a test that can't be is reckoned as the automatic one."""
        return size_of_test("auto" if self._too_large else self.spec.test_size, self.humans)

    @property
    def _too_large(self) -> bool:
        return self.spec.test_size != "auto" and self.spec.test_size > self.humans

    @property
    def _tested(self) -> int:
        """Test examples at most: of a pair one a stage."""
        return self.held * (len(self.spec.stages) if self.supply.pairs else 1)

    @property
    def _imported(self) -> int:
        limit = self.spec.imports.limit if self.spec.imports is not None else None
        return min(self.supply.imports, limit or self.supply.imports)

    def _noised(self, stage: Stage) -> int:
        """Noised examples of one pair."""
        noise = self.spec.noise
        return 0 if noise is None else ("clean" in noise.of) * noise.copies + ("summary" in noise.of and stage is Stage.SUMMARY)

    def _most(self) -> dict[str, int]:
        """Training examples of each origin at most, were nothing held back: a cluster may be too large for the test."""
        spec, supply = self.spec, self.supply
        most = {"human": supply.pairs * len(spec.stages), "import": self._imported}
        if spec.noise is not None:
            of_sentences = spec.noise.copies * supply.sentences if "sentence" in spec.noise.of else 0
            noised = sum(map(self._noised, spec.stages)) * supply.pairs + of_sentences
            most["noise"] = min(noised, spec.noise.limit or noised)
        if spec.teacher is not None:
            most["teacher"] = min(supply.unpaired, spec.teacher.limit) * len(spec.stages)
        return {origin: number for origin, number in most.items() if number}

    def _learnt(self) -> dict[str, int]:
        """Return the same without what is held back, where that are single rows: of pairs and people's imports by how many there are."""
        of_imports = round(self.held * (self.humans - self.supply.pairs) / self.humans) if self.humans else 0
        pairs = self.supply.pairs - self.held + of_imports
        return Preflight(self.spec, replace(self.supply, pairs=pairs, imports=self.supply.imports - of_imports))._most()

    def _given(self, there: dict[str, int]) -> int:
        """Return how many examples the ratios leave."""
        try:
            return sum((shares(there, self.spec.ratios) if self.spec.ratios is not None else there).values())
        except UserError:
            return sum(there.values())

    def _without_tweet(self) -> str:
        return (
            f"the tweets of {self.supply.without_tweet:,} of {self.supply.read:,} pairs are not ingested: "
            "`tweetmill ingest FILE` brings the tweets of these tweet_ids in"
        )

    def _of_pairs(self) -> Iterator[str]:
        if self.supply.without_tweet and not self.supply.pairs:
            yield f"pairs: {self._without_tweet()}"

    def _of_test(self) -> Iterator[str]:
        if self._too_large and self.humans:
            yield (
                f"test_size asks for {self.spec.test_size:,} pairs to be held back, but only {self.humans:,} are usable: lower it, "
                f"make it `auto`, which holds back {self.held:,}, or curate more"
            )
        elif self.humans and self.held == self.humans and not self._learnt():
            yield (
                f"test_size holds all {self.humans:,} usable pairs back, so that nothing is left to learn from: lower it, or make it "
                f"`auto`, which holds back {size_of_test('auto', self.humans):,}"
            )

    def _of_ratios(self) -> Iterator[str]:
        if self.spec.ratios is not None:
            try:
                shares(self._most(), self.spec.ratios)
            except UserError as error:
                yield str(error)

    def _of_shares(self) -> Iterator[str]:
        """Yield a problem where the ratios alone leave fewer examples by people than the recipe expects."""
        asked, ratios = (self.spec.expect or Expectations()).min_human_share, self.spec.ratios
        imported = self.spec.imports is not None and self.spec.imports.human
        if asked is None or ratios is None or ratios.human is None or (imported and ratios.imports is None):
            return
        people = ratios.human + (ratios.imports or 0.0) * imported
        most = people / (sum(ratios.model_dump(exclude_none=True).values()) or 1.0)
        if most < asked:
            yield (
                f"min_human_share asks for {100 * asked:.4g} % of people, the ratios leave {100 * most:.4g} % at most: "
                "lower it, or take less of the rest with ratios"
            )

    def _of_sizes(self) -> Iterator[str]:
        expect = self.spec.expect or Expectations()
        # Beside a test that can't be the usual one is reckoned with, so that nobody hears of the rest only after the next try.
        most = self._given(self._learnt() if self._too_large else self._most())
        if isinstance(expect.min_train, int) and most < expect.min_train:
            yield (
                f"min_train asks for {expect.min_train:,} training examples, the sources can give {most:,} at most: lower it, "
                "make it `auto`, add pairs or sentences, or raise noise.copies, noise.limit or ratios"
            )
        if isinstance(expect.min_test, int) and self._tested < expect.min_test:
            yield (
                f"min_test asks for {expect.min_test:,} test examples, of {self.humans:,} usable pairs {self._tested:,} at most are held "
                "back: lower it, make it `auto`, raise test_size, or curate more"
            )


def count_supply(connection: Connection, spec: SynthesisSpec) -> Supply:
    """Count in Postgres what is there for the recipe, whose files are imported."""
    known: dict[str, int] = {}
    if spec.pairs is not None:
        known |= _count_pairs(connection, spec.pairs)
    if spec.sentences is not None:
        known["sentences"] = count_curated(connection, spec.sentences) * len(spec.stages)
    if spec.imports is not None:
        known["imports"] = count_curated(connection, spec.imports.file)
    if spec.teacher is not None:
        known["unpaired"] = _count_tweets(connection, spec.teacher.source)
    return Supply(**known)


def _count_pairs(connection: Connection, collection: str) -> dict[str, int]:
    """Count curated pairs in one pass: all, those without their tweet, and those whose tweets' texts differ.

    Pairs of equal tweets are one in the end; which other ones fall away is seen when all is read.
    """
    without_tweet = func.count().filter(col(Tweet.id).is_(None))
    counts = select(func.count(), without_tweet, func.count(func.distinct(Tweet.text_hash))).select_from(Curated)
    joined = counts.join(Tweet, col(Tweet.id) == Curated.key, isouter=True).where(Curated.collection == collection)
    with session_on(connection) as session:
        read, missing, pairs = session.exec(joined).one()
    return {"read": read, "without_tweet": missing, "pairs": pairs}


def count_curated(connection: Connection, collection: str) -> int:
    """Return how many rows a collection has."""
    with session_on(connection) as session:
        return session.exec(select(func.count()).select_from(Curated).where(Curated.collection == collection)).one()


def _count_tweets(connection: Connection, source: str | None) -> int:
    """Return how many tweets are ingested, of all sources or of one."""
    statement = select(func.count()).select_from(Tweet)
    with session_on(connection) as session:
        return session.exec(statement if source is None else statement.where(Tweet.source == source)).one()


def unknown_source(connection: Connection, key: str, source: str | None) -> list[str]:
    """Return a problem where no tweet was ingested under the name that the recipe gives to `key`; it lists the names that there are."""
    if source is None or _count_tweets(connection, source):
        return []
    with session_on(connection) as session:
        there = ", ".join(session.exec(select(Tweet.source).distinct().order_by(Tweet.source).limit(10)))
    return [f"{key}: no tweet of a source {source} is ingested. There are {there or 'none'}"]


def checked(connection: Connection, spec: SynthesisSpec) -> tuple[Preflight, list[str], list[str]]:
    """Return what there is for the recipe, why it can't be built, and warnings."""
    preflight = Preflight(spec, count_supply(connection, spec))
    obstacles = unknown_source(connection, "teacher.source", spec.teacher.source if spec.teacher else None)
    # Noise that has no tweets to imitate is the fixed one.
    notes = unknown_source(connection, "noise.source", spec.noise.source if spec.noise else None)
    return preflight, [*obstacles, *preflight.unmet()], [*preflight.notes(), *notes]


def refusal(dataset: str, reasons: list[str]) -> str:
    """Join all reasons in one message."""
    return f"dataset {dataset}: the recipe asks for what its sources can't give. {'; '.join(reasons)}"
