"""Makes the noised rows of a plan: which clean texts are noised, how often, and with which target."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from schemas.payloads import Stage
from schemas.synthesis import NoiseSource
from workers.files import sha256
from workers.noise.methods import Noising
from workers.synthesis.plan import Plan, answer
from workers.synthesis.rows import ExampleRow
from workers.synthesis.split.holdout import fair_shares

Kind = Literal["clean", "summary", "sentence"]
_KINDS: tuple[Kind, ...] = ("clean", "summary", "sentence")
_Name = tuple[Stage, Kind]


@dataclass(frozen=True)
class _Seed:
    """A clean text to be noised, and the target of the result."""

    stage: Stage
    kind: Kind
    text: str
    target: str
    cluster: int
    tweet_id: str | None = None


def noised_examples(plan: Plan, source: NoiseSource, noising: Noising) -> Iterator[ExampleRow]:
    """Yield `copies` noised rows of every clean text that is not held back, and one of a summary; the kinds share a limit evenly."""
    fresh = _fresh(plan)
    sizes = _sizes(plan, source, fresh)
    wanted = sum(sizes.values()) if source.limit is None else source.limit
    shares = dict(zip(sizes, fair_shares(list(sizes.values()), wanted), strict=True))
    for (_, kind), share in shares.items():
        if share:
            plan.counts[f"noise_of_{kind}"] += share
    chosen = _chosen(sizes, shares, source.seed)
    seen = dict.fromkeys(sizes, 0)
    for seed in _seeds(plan, fresh):
        name = (seed.stage, seed.kind)
        for copy in range(_copies(seed.kind, source) if name in sizes else 0):
            if chosen[name][seen[name]]:
                yield _noised_once(seed, copy, source.seed, noising)
            seen[name] += 1


def _fresh(plan: Plan) -> NDArray[np.bool_]:
    """Return which clean sentences are used: one a cluster and stage, and none that is near to a pair that is held back."""
    withheld = plan.held[plan.clusters.sentences]
    stages = np.fromiter((plan.spec.stages.index(row.stage) for row in plan.sentences), np.int64, len(plan.sentences))
    names = plan.clusters.sentences.astype(np.int64) * len(plan.spec.stages) + stages
    fresh = np.zeros(len(names), bool)
    fresh[np.unique(names, return_index=True)[1]] = True
    fresh &= ~withheld
    if len(names):
        plan.counts["sentences_withheld"] += int(withheld.sum())
        plan.counts["sentences_duplicate"] += int((~withheld & ~fresh).sum())
    return fresh


def _sizes(plan: Plan, source: NoiseSource, fresh: NDArray[np.bool_]) -> dict[_Name, int]:
    """Return how many noised examples of each stage and kind there can be."""
    pairs = int((~plan.held[plan.clusters.pairs]).sum())
    sentences = dict.fromkeys(plan.spec.stages, 0)
    for row, used in zip(plan.sentences, fresh.tolist(), strict=True):
        sentences[row.stage] += used
    sizes: dict[_Name, int] = {}
    for stage in plan.spec.stages:
        for kind in (kind for kind in _KINDS if kind in source.of and (stage is Stage.SUMMARY or kind != "summary")):
            sizes[stage, kind] = (sentences[stage] if kind == "sentence" else pairs) * _copies(kind, source)
    return sizes


def _copies(kind: Kind, source: NoiseSource) -> int:
    return 1 if kind == "summary" else source.copies


def _chosen(sizes: Mapping[_Name, int], shares: Mapping[_Name, int], seed: int) -> dict[_Name, NDArray[np.bool_]]:
    """Return which of each kind are made, in the order in which they come; drawn by the seed where they are not all."""
    rng = random.Random(f"sample {seed}")
    limited = sum(shares.values()) < sum(sizes.values())
    chosen = {}
    for name, size in sizes.items():
        chosen[name] = np.full(size, not limited)
        if limited:
            chosen[name][rng.sample(range(size), shares[name])] = True
    return chosen


def _seeds(plan: Plan, fresh: NDArray[np.bool_]) -> Iterator[_Seed]:
    for pair, cluster in zip(plan.pairs, plan.clusters.pairs.tolist(), strict=True):
        for stage in plan.spec.stages if not plan.held[cluster] else ():
            yield _Seed(stage, "clean", pair.clean, answer(pair, stage), cluster, pair.tweet_id)
            yield _Seed(stage, "summary", pair.summary, pair.summary, cluster, pair.tweet_id)
    for row, cluster, used in zip(plan.sentences, plan.clusters.sentences.tolist(), fresh.tolist(), strict=True):
        if used:
            yield _Seed(row.stage, "sentence", row.text, row.text, cluster)


def _noised_once(seed: _Seed, copy: int, noise_seed: int, noising: Noising) -> ExampleRow:
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
    return ExampleRow(seed.stage, noisy.text, seed.target, "noise", lineage, "train", seed.cluster)
