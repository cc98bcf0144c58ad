"""Plans a dataset: what is used, which of it belongs together, and what is held back for the test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.payloads import Stage
from schemas.records import Pair
from schemas.synthesis import SynthesisSpec
from workers.errors import UserError
from workers.synthesis import imported_rows, preflight
from workers.synthesis.disk_rows import DiskRows
from workers.synthesis.imported_rows import Imported
from workers.synthesis.preflight import Preflight, Supply
from workers.synthesis.rows import RejectedPair, rejected_on_disk
from workers.synthesis.split import threads
from workers.synthesis.split.holdout import Member, hold_back
from workers.synthesis.split.leaks import HeldBack
from workers.synthesis.split.threads import Ingested
from workers.text import near_duplicates
from workers.text.near_duplicates import Numbers
from workers.text.sentences import clean_text, first_of_each, plain_sentence

LONG_TWEET = 20  # words: above it summarizing means choosing


@dataclass(frozen=True)
class Inputs:
    """What a dataset is made of. Long ones may lie on disk: they are read in order.

    Attributes:
        pairs: curated pairs, in order.
        tweets: those of the pairs, by id.
        sentences: clean sentences for noise.
        imports: rows of a prompt and its answer from elsewhere.
        unpaired: tweets that a teacher would be asked about.
    """

    pairs: Sequence[Pair] = ()
    tweets: Mapping[str, Ingested] = field(default_factory=dict)
    sentences: Sequence[str] = ()
    imports: Sequence[Imported] = ()
    unpaired: Sequence[Ingested] = ()


@dataclass(frozen=True)
class Fit:
    """A clean text that noise may be made of, and what it teaches."""

    stage: Stage
    text: str
    sentence: int


@dataclass(frozen=True)
class Clusters:
    """The cluster of each pair, clean text, import and unpaired tweet; `count` is how many clusters there are."""

    pairs: Numbers
    sentences: Numbers
    imports: Numbers
    unpaired: Numbers
    count: int


def answer(pair: Pair, stage: Stage) -> str:
    """Return what a person wrote for this stage."""
    return pair.summary if stage is Stage.SUMMARY else pair.clean


class Impossible(UserError):
    """The sources can't give what the recipe asks for. `rejected` are the pairs that could not be used."""

    def __init__(self, message: str, rejected: DiskRows[RejectedPair]) -> None:
        super().__init__(message)
        self.rejected = rejected


@dataclass(frozen=True)
class Plan:
    """What is used of the inputs, what of it belongs together, and which clusters are held back (`held`, by number).

    `supply` says how much there is of each source.
    """

    spec: SynthesisSpec
    inputs: Inputs
    pairs: Sequence[Pair]
    tweets: Mapping[str, Ingested]
    sentences: Sequence[Fit]
    imports: Sequence[Imported]
    unpaired: Sequence[Ingested]
    clusters: Clusters
    held: NDArray[np.bool_]
    rejected: DiskRows[RejectedPair]
    counts: Counter[str]
    supply: Supply

    @property
    def read(self) -> int:
        """Rows of the sources."""
        return len(self.inputs.pairs) + len(self.inputs.sentences) + len(self.inputs.imports)

    @property
    def refused(self) -> int:
        """Those of them that could not be used."""
        return len(self.rejected) + self.counts["sentences_unfit"]

    def to_ask(self) -> Iterator[tuple[Ingested, int]]:
        """Yield the tweets that a teacher may be asked about, each with its cluster: none of what is held back."""
        for tweet, cluster in zip(self.unpaired, self.clusters.unpaired.tolist(), strict=True):
            if not self.held[cluster]:
                yield tweet, cluster

    def to_show(self) -> Iterator[tuple[Ingested, Pair]]:
        """Yield the pairs of the training side with their tweets: what a teacher may be shown."""
        for pair, cluster in zip(self.pairs, self.clusters.pairs.tolist(), strict=True):
            if not self.held[cluster]:
                yield self.tweets[pair.tweet_id], pair

    def held_back(self) -> HeldBack:
        """Return the texts of the test."""
        return HeldBack(self._held_texts(), self.spec.near_duplicate)

    def _held_texts(self) -> Iterator[str]:
        for pair, cluster in zip(self.pairs, self.clusters.pairs.tolist(), strict=True):
            if self.held[cluster]:
                yield from (self.tweets[pair.tweet_id].text, pair.clean, pair.summary)
        if self.spec.imports is not None and self.spec.imports.human:
            for row, cluster in zip(self.imports, self.clusters.imports.tolist(), strict=True):
                if self.held[cluster]:
                    yield from (row.prompt, row.completion)


def plan(spec: SynthesisSpec, inputs: Inputs, folder: Path | None = None, on_text: Callable[[int], None] | None = None) -> Plan:
    """Choose what is used, put what is alike into clusters, and hold some of them back.

    Args:
        spec: the recipe; `pairs`, `sentences` and `imports` in it are names, their contents are in `inputs`.
        inputs: pairs that cannot be used and rows that are said twice are rejected, unfit sentences counted and left out.
        folder: for what does not stay in memory.
        on_text: hears before each text that is looked at how many there were; what it raises ends the work.

    Raises:
        Impossible: the sources can't give what the recipe asks for, such as a test of more pairs than are usable.
    """
    counts: Counter[str] = Counter(pairs=0, train=0, test=0, noise=0)
    rejected = rejected_on_disk(folder)
    pairs = _usable(inputs.pairs, inputs.tweets, rejected)
    counts["pairs"] = len(pairs)
    fit = _fit(inputs.sentences, spec.stages, counts, folder)
    foreign = imported_rows.usable(inputs.imports, spec, counts, rejected, folder)
    supply = Supply(len(pairs), len(fit), len(foreign), len(inputs.unpaired), len(inputs.pairs))
    if reasons := Preflight(spec, supply).unmet():
        raise Impossible(preflight.refusal(spec.dataset, reasons), rejected)
    tweets = {pair.tweet_id: inputs.tweets[pair.tweet_id] for pair in pairs}
    clusters = _clusters(spec, pairs, tweets, fit, foreign, inputs.unpaired, folder, on_text)
    held = np.zeros(clusters.count, bool)
    members = _members(spec, pairs, tweets, clusters)
    held[list(hold_back(members, range(clusters.count), spec.test_size, spec.seed))] = True
    return Plan(spec, inputs, pairs, tweets, fit, foreign, inputs.unpaired, clusters, held, rejected, counts, supply)


def _usable(pairs: Sequence[Pair], tweets: Mapping[str, Ingested], rejected: DiskRows[RejectedPair]) -> list[Pair]:
    """Select the pairs whose tweet is known, one for each tweet and one for each text."""
    known: dict[str, Pair] = {}
    for pair in pairs:
        if pair.tweet_id not in tweets:
            rejected.append(RejectedPair(pair.tweet_id, "tweet_id", "tweet not ingested"))
        elif pair.tweet_id in known:
            rejected.append(RejectedPair(pair.tweet_id, "tweet_id", "an earlier pair is about the same tweet"))
        elif not pair.clean.strip() or not pair.summary.strip():
            rejected.append(RejectedPair(pair.tweet_id, "summary" if pair.clean.strip() else "clean", "there is only white space"))
        else:
            known[pair.tweet_id] = pair
    candidates = list(known.values())
    usable = []
    for position, (pair, first) in enumerate(zip(candidates, first_of_each(tweets[key].text for key in known), strict=True)):
        if first == position:
            usable.append(pair)
        else:
            reason = f"tweet {candidates[first].tweet_id} has the same text and an earlier pair"
            rejected.append(RejectedPair(pair.tweet_id, "tweet_id", reason))
    return usable


def _fit(sentences: Sequence[str], stages: Sequence[Stage], counts: Counter[str], folder: Path | None) -> DiskRows[Fit]:
    """Select the sentences that can be targets: a text for each stage that may have it as a target."""
    fit: DiskRows[Fit] = DiskRows(
        lambda row: [row.stage.value, row.text, row.sentence], lambda cells: Fit(Stage(cells[0]), cells[1], cells[2]), folder
    )
    fitting = 0
    for number, sentence in enumerate(sentences):
        before = len(fit)
        for stage in stages:
            plain = plain_sentence(sentence) if stage is Stage.SUMMARY else clean_text(sentence)
            if plain is not None:
                fit.append(Fit(stage, plain, number))
        fitting += len(fit) > before
    counts["sentences"] = len(sentences)
    counts["sentences_unfit"] = len(sentences) - fitting
    return fit


def _clusters(
    spec: SynthesisSpec,
    pairs: Sequence[Pair],
    tweets: Mapping[str, Ingested],
    fit: Sequence[Fit],
    foreign: Sequence[Imported],
    unpaired: Sequence[Ingested],
    folder: Path | None,
    on_text: Callable[[int], None] | None,
) -> Clusters:
    """Cluster pairs (each with its three texts as one), clean texts, imports (each with both its texts) and tweets."""
    sentences = 3 * len(pairs)
    imports = sentences + len(fit)
    asked = imports + 2 * len(foreign)

    def texts() -> Iterator[str]:
        for pair in pairs:
            yield from (tweets[pair.tweet_id].text, pair.clean, pair.summary)
        yield from (row.text for row in fit)
        for row in foreign:
            yield from (row.prompt, row.completion)
        yield from (tweet.text for tweet in unpaired)

    def linked() -> Iterator[tuple[int, int]]:
        yield from ((3 * number, 3 * number + part) for number in range(len(pairs)) for part in (1, 2))
        yield from ((imports + 2 * number, imports + 2 * number + 1) for number in range(len(foreign)))
        yield from _duplicates(fit, sentences)
        known = [*(tweets[pair.tweet_id] for pair in pairs), *unpaired]
        places = [*range(0, sentences, 3), *range(asked, asked + len(unpaired))]
        yield from ((places[one], places[other]) for one, other in threads.links(known, spec.thread_minutes))

    def watched() -> Iterator[str]:
        for number, each in enumerate(texts()):
            if on_text is not None:
                on_text(number)
            yield each

    numbers = near_duplicates.numbered(watched(), spec.near_duplicate, linked(), folder)
    return Clusters(
        numbers[:sentences:3], numbers[sentences:imports], numbers[imports:asked:2], numbers[asked:], int(numbers.max(initial=-1)) + 1
    )


def _duplicates(fit: Iterable[Fit], start: int) -> Iterator[tuple[int, int]]:
    """Yield the places of two texts that came of one sentence, for two stages: they belong together."""
    earlier = -1
    for place, row in enumerate(fit, start):
        if row.sentence == earlier:
            yield place - 1, place
        earlier = row.sentence


def _members(spec: SynthesisSpec, pairs: Sequence[Pair], tweets: Mapping[str, Ingested], clusters: Clusters) -> Iterator[Member]:
    """Yield what people wrote: the test is drawn among it."""
    for pair, cluster in zip(pairs, clusters.pairs.tolist(), strict=True):
        yield Member(cluster, human=True, long=len(tweets[pair.tweet_id].text.split()) > LONG_TWEET)
    if spec.imports is not None and spec.imports.human:
        yield from (Member(cluster, human=True) for cluster in clusters.imports.tolist())
