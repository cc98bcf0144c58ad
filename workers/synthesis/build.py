"""A dataset from curated pairs and noise: the same inputs and seeds give the same rows, byte for byte."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from schemas.payloads import NoiseSource, Stage, SynthesisSpec
from schemas.records import Pair
from workers.synthesis import imported
from workers.synthesis.filters import clean_text, first_of_each, plain_sentence
from workers.synthesis.imported import Imported
from workers.synthesis.mixing import mixed
from workers.synthesis.near_duplicates import clusters
from workers.synthesis.noising import Fixed, Noising
from workers.synthesis.rates import NoiseRates
from workers.synthesis.rows import Built, ExampleRow, RejectedPair, sha256
from workers.synthesis.splits import Member, Split, fair_shares, split

LONG_TWEET = 20  # words: above it summarizing means choosing


@dataclass(frozen=True)
class _Clusters:
    """The cluster of each pair, sentence and import."""

    pairs: list[int]
    sentences: list[int]
    imports: list[int]


@dataclass(frozen=True)
class _Seed:
    """A clean text to be noised, and what the model shall answer to the result."""

    kind: Literal["summary", "clean", "sentence"]
    text: str
    target: str
    cluster: int
    tweet_id: str | None = None


def build(
    spec: SynthesisSpec,
    tweets: Mapping[str, str],
    pairs: Sequence[Pair],
    sentences: Sequence[str],
    noising: Noising | None,
    imports: Sequence[Imported] = (),
) -> Built:
    """Build the examples of `spec`.

    Args:
        spec: the recipe; `pairs`, `sentences` and `imports` in it are names, their contents are the arguments below.
        tweets: text by tweet id, for the pairs.
        pairs: curated pairs, in order.
        sentences: clean sentences for noise; unfit ones and near-duplicates are counted and left out.
        noising: the noise; None: that of tweets in general.
        imports: rows of a prompt and its answer from elsewhere. Those near to what is held back are left out, unless a person wrote them.

    Raises:
        UserError: fewer usable pairs than `test_size`.
    """
    counts: Counter[str] = Counter(pairs=0, train=0, test=0, noise=0)
    usable, rejected = _usable(pairs, tweets)
    fit = _fit_sentences(sentences, spec.stage, counts)
    foreign, refused = imported.usable(imports, spec, counts)
    grouped = _clusters(usable, tweets, fit, foreign, spec.near_duplicate)
    held = _held_back(usable, tweets, grouped, spec)
    examples = [
        ExampleRow(spec.stage, tweets[pair.tweet_id], _target(pair, spec.stage), "human", {"tweet_id": pair.tweet_id}, side, cluster)
        for pair, cluster, side in zip(usable, grouped.pairs, _sides(grouped.pairs, held), strict=True)
    ]
    examples += imported.examples(foreign, grouped.imports, _sides(grouped.imports, held), spec, refused, counts)
    if spec.noise is not None:
        seeds = list(_pair_seeds(usable, grouped.pairs, held, spec.stage))
        seeds += _sentence_seeds(fit, grouped.sentences, held, counts)
        examples += _noised(seeds, spec.noise, spec.stage, noising or Fixed(NoiseRates()), counts)
    examples = mixed(_distinct(examples, counts), spec.ratios, spec.seed, counts)
    counts["pairs"] = len(usable)
    counts.update(example.split for example in examples)
    counts["noise"] = sum(example.origin == "noise" for example in examples)
    return Built(examples, rejected + refused, dict(counts))


def _usable(pairs: Sequence[Pair], tweets: Mapping[str, str]) -> tuple[list[Pair], list[RejectedPair]]:
    """Pairs whose tweet is known, one for each tweet and one for each text."""
    known: dict[str, Pair] = {}
    rejected = []
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
    for position, (pair, first) in enumerate(zip(candidates, first_of_each(tweets[key] for key in known), strict=True)):
        if first == position:
            usable.append(pair)
        else:
            reason = f"tweet {candidates[first].tweet_id} has the same text and an earlier pair"
            rejected.append(RejectedPair(pair.tweet_id, "tweet_id", reason))
    return usable, rejected


def _target(pair: Pair, stage: Stage) -> str:
    return pair.summary if stage is Stage.SUMMARY else pair.clean


def _fit_sentences(sentences: Sequence[str], stage: Stage, counts: Counter[str]) -> list[str]:
    plain = [plain_sentence(sentence) if stage is Stage.SUMMARY else clean_text(sentence) for sentence in sentences]
    fit = [sentence for sentence in plain if sentence is not None]
    counts["sentences"] = len(sentences)
    counts["sentences_unfit"] = len(sentences) - len(fit)
    return fit


def _clusters(
    usable: Sequence[Pair], tweets: Mapping[str, str], fit: Sequence[str], foreign: Sequence[Imported], threshold: float
) -> _Clusters:
    """Clusters of the pairs, each with its three texts as one, of the sentences, and of the imports, each with both its texts."""
    texts = [text for pair in usable for text in (tweets[pair.tweet_id], pair.clean, pair.summary)]
    linked = [(3 * number, 3 * number + part) for number in range(len(usable)) for part in (1, 2)]
    start = len(texts) + len(fit)
    linked += [(start + 2 * number, start + 2 * number + 1) for number in range(len(foreign))]
    numbers = clusters([*texts, *fit, *(text for row in foreign for text in (row.prompt, row.completion))], threshold, linked)
    return _Clusters(numbers[: len(texts) : 3], numbers[len(texts) : start], numbers[start::2])


def _held_back(usable: Sequence[Pair], tweets: Mapping[str, str], grouped: _Clusters, spec: SynthesisSpec) -> set[int]:
    """The clusters of the test split: drawn among those of what a person wrote."""
    members = [
        Member(cluster, human=True, long=len(tweets[pair.tweet_id].split()) > LONG_TWEET)
        for pair, cluster in zip(usable, grouped.pairs, strict=True)
    ]
    members += [Member(cluster, human=False) for cluster in grouped.sentences]
    members += [Member(cluster, human=spec.imports is not None and spec.imports.human) for cluster in grouped.imports]
    sides = split(members, spec.test_size, spec.seed)
    return {member.cluster for member, side in zip(members, sides, strict=True) if side == "test"}


def _sides(numbers: Sequence[int], held: set[int]) -> list[Split]:
    return ["test" if number in held else "train" for number in numbers]


def _pair_seeds(usable: Sequence[Pair], pair_clusters: Sequence[int], held: set[int], stage: Stage) -> Iterator[_Seed]:
    for pair, cluster in zip(usable, pair_clusters, strict=True):
        if cluster in held:
            continue
        yield _Seed("clean", pair.clean, _target(pair, stage), cluster, pair.tweet_id)
        if stage is Stage.SUMMARY:
            yield _Seed("summary", pair.summary, pair.summary, cluster, pair.tweet_id)


def _sentence_seeds(fit: Sequence[str], numbers: Sequence[int], held: set[int], counts: Counter[str]) -> Iterator[_Seed]:
    """One sentence a cluster; none that is near to a pair that is held back."""
    taken: set[int] = set()
    for sentence, cluster in zip(fit, numbers, strict=True):
        if cluster in held:
            counts["sentences_withheld"] += 1
        elif cluster in taken:
            counts["sentences_duplicate"] += 1
        else:
            taken.add(cluster)
            yield _Seed("sentence", sentence, sentence, cluster)


def _noised(seeds: Sequence[_Seed], source: NoiseSource, stage: Stage, noising: Noising, counts: Counter[str]) -> list[ExampleRow]:
    """Noise of every seed, `copies` of each but one of a summary; a limit is shared evenly among the three kinds."""
    chosen = [seed for seed in seeds if seed.kind in source.of]
    wanted = [(seed, copy) for seed in chosen for copy in range(1 if seed.kind == "summary" else source.copies)]
    if source.limit is not None and len(wanted) > source.limit:
        wanted = _sampled(wanted, source.limit, source.seed)
    counts.update(f"noise_of_{seed.kind}" for seed, _ in wanted)
    return [_noised_once(seed, copy, source.seed, stage, noising) for seed, copy in wanted]


def _sampled(wanted: list[tuple[_Seed, int]], limit: int, seed: int) -> list[tuple[_Seed, int]]:
    by_kind = [[place for place, (item, _) in enumerate(wanted) if item.kind == kind] for kind in ("clean", "summary", "sentence")]
    rng = random.Random(f"sample {seed}")
    shares = fair_shares([len(places) for places in by_kind], limit)
    chosen = {place for places, share in zip(by_kind, shares, strict=True) for place in rng.sample(places, share)}
    return [item for place, item in enumerate(wanted) if place in chosen]


def _noised_once(seed: _Seed, copy: int, noise_seed: int, stage: Stage, noising: Noising) -> ExampleRow:
    source = sha256(seed.text)
    noisy = noising.apply(seed.text, random.Random(f"noise {noise_seed} {source} {seed.kind} {copy}"))
    lineage: dict[str, object] = {
        "source": source,
        "kind": seed.kind,
        "seed": noise_seed,
        "copy": copy,
        "operations": [asdict(operation) for operation in noisy.operations],
        "profile": {"name": noising.name, "fingerprint": noising.fingerprint},
    }
    if seed.tweet_id is not None:
        lineage["tweet_id"] = seed.tweet_id
    return ExampleRow(stage, noisy.text, seed.target, "noise", lineage, "train", seed.cluster)


def _distinct(examples: Sequence[ExampleRow], counts: Counter[str]) -> list[ExampleRow]:
    """One row a key: short texts often come out of the noise twice the same."""
    kept = {example.example_key: example for example in reversed(examples)}
    counts["examples_duplicate"] = len(examples) - len(kept)
    return [example for example in examples if kept.get(example.example_key) is example]
