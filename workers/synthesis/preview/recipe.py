"""Previews what a recipe would give before it is run: some examples, about how many there will be, and what a teacher will cost.

Nothing is stored but a teacher's answers, which the run then finds. Of long sources a part is looked at, drawn by the seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from schemas.synthesis import Expectations, NoiseSource, SynthesisSpec
from workers.database import transaction
from workers.noise.methods import Noising, learn
from workers.synthesis import inputs, preflight
from workers.synthesis.build import gather_rows
from workers.synthesis.expectations import Statistics, unmet
from workers.synthesis.plan import plan
from workers.synthesis.preflight import Preflight
from workers.synthesis.preview.sample import Sample, SourceSample, draw_sample
from workers.synthesis.preview.teacher import TeacherSample, ask_sample
from workers.synthesis.row_store import RowStore
from workers.synthesis.rows import DroppedRow, ExampleRow, flags_of
from workers.synthesis.split import ratios

SOURCE_ROWS = 300
"""Rows of each source that are looked at, at least: a few seconds' work."""

TWEETS_TO_IMITATE = 2000
"""Tweets that the noise of a preview is learnt from; a run reads up to 50,000."""

ORIGINS = ("human", "import", "noise", "teacher")


def preview(spec: SynthesisSpec, number: int) -> dict[str, Any]:
    """Preview a recipe on a sample of its sources.

    Args:
        spec: the recipe, its files brought in.
        number: examples of each origin to show, and tweets to ask a teacher about.

    Raises:
        UserError: the recipe can't be built; says why.
    """
    with transaction() as connection:
        sample = draw_sample(connection, spec, max(SOURCE_ROWS, 10 * number))
        checked, impossible, notes = preflight.checked(connection, spec)
    noising, imitated, there = _noising(spec, spec.noise) if spec.noise else (None, 0, 0)
    gathered = gather_rows(plan(_for_sample(spec, sample, checked), sample.inputs), noising)
    sampled = ask_sample(spec, number) if spec.teacher else None
    made = [*_made(gathered), *(sampled.rows if sampled else ())]
    counts = _Counts(spec, sample.parts, made, sampled)
    return {
        "dataset": spec.dataset,
        "sources": {kind: {"there": part.there, "looked_at": part.looked_at} for kind, part in sample.parts.items()},
        "noise": noising and {"profile": noising.name, "tweets": imitated, "of": there},
        "about": counts.about or not sample.whole,
        "counts": {
            "train": counts.train,
            "test": counts.test,
            "dropped": sum(counts.dropped.values()),
            "dropped_share": counts.dropped_share,
        },
        "dropped": counts.reasons,
        "flagged": gathered.flagged,
        "unmet": _unmet(impossible, counts.unmet(checked.resolved())),
        "notes": notes,
        "teacher": sampled and sampled.statistics,
        "examples": [_shown(each) for each in _drawn(made, number, spec.seed)],
    }


def _for_sample(spec: SynthesisSpec, sample: Sample, checked: Preflight) -> SynthesisSpec:
    """Return the recipe for a part of its sources: limits and ratios are those of the whole, and reckoned afterwards."""
    there, looked_at = checked.humans, _usable(spec, sample)
    # A test that is larger than what there is is reported as unmet: the examples are shown all the same.
    held = checked.held
    return spec.model_copy(
        update={
            "test_size": min(looked_at, round(held * looked_at / there)) if there else 0,
            "expect": None,
            "noise": spec.noise and spec.noise.model_copy(update={"limit": None}),
            "imports": spec.imports and spec.imports.model_copy(update={"limit": None}),
            "ratios": None,
            "teacher": None,
        }
    )


def _usable(spec: SynthesisSpec, sample: Sample) -> int:
    """Return what people wrote of the sample."""
    imports = len(sample.inputs.imports) if spec.imports is not None and spec.imports.human else 0
    return imports + len({pair.tweet_id for pair in sample.inputs.pairs} & sample.inputs.tweets.keys())


def _unmet(impossible: list[str], reckoned: list[str]) -> list[str]:
    """Return what can't be met, and what would not be: each key once, named by its first word."""
    return list({reason.split()[0]: reason for reason in [*reckoned, *impossible]}.values())


def _noising(spec: SynthesisSpec, noise: NoiseSource) -> tuple[Noising, int, int]:
    """Return the noise, how many tweets it was learnt from here, and how many a run would read."""
    with transaction() as connection:
        there = inputs.to_imitate(connection, spec, noise, inputs.paired(connection, spec))
    tweets = there[:TWEETS_TO_IMITATE]
    return learn(noise.profile, tweets), len(tweets), len(there)


def _made(gathered: RowStore) -> Iterator[DroppedRow]:
    yield from (DroppedRow(row, ()) for row in gathered.kept())
    yield from gathered.dropped


def _drawn(made: list[DroppedRow], number: int, seed: int) -> Iterator[DroppedRow]:
    """Yield examples of each origin, kept and dropped ones as they come."""
    for origin in ORIGINS:
        there = [each for each in made if each.row.origin == origin]
        yield from random.Random(f"preview {seed} {origin}").sample(there, min(number, len(there)))


def _shown(each: DroppedRow) -> dict[str, Any]:
    row = each.row
    about = {"origin": row.origin, "stage": row.stage.value, "split": row.split, "reasons": list(each.reasons), "flagged": flags_of(row)}
    return {"key": row.example_key, **about, "prompt": row.prompt_text, "target": row.target_text}


class _Counts:
    """How many examples there will be, reckoned from those of the sample."""

    def __init__(
        self, spec: SynthesisSpec, parts: Mapping[str, SourceSample], made: list[DroppedRow], sampled: TeacherSample | None
    ) -> None:
        self._spec = spec
        limits = {"noise": spec.noise.limit if spec.noise else None, "import": spec.imports.limit if spec.imports else None}
        scales = [_scale(each.row, parts, sampled) for each in made]
        whole: dict[str, float] = {}
        for each, scale in zip(made, scales, strict=True):
            whole[each.row.origin] = whole.get(each.row.origin, 0.0) + scale
        cut = {origin: min(1.0, limit / whole[origin]) for origin, limit in limits.items() if limit and origin in whole}
        self.about = sampled is not None or any(share < 1 for share in cut.values())
        kept: dict[tuple[str, str], float] = {}
        reasons: dict[str, float] = {}
        dropped: dict[str, float] = {}
        for each, scale in zip(made, scales, strict=True):
            weight = scale * cut.get(each.row.origin, 1.0)
            if each.reasons:
                dropped[each.row.origin] = dropped.get(each.row.origin, 0.0) + weight
            else:
                name = (each.row.split, each.row.origin)
                kept[name] = kept.get(name, 0.0) + weight
            for reason in each.reasons:
                reasons[reason] = reasons.get(reason, 0.0) + weight
        self.test = round(sum(number for (split, _), number in kept.items() if split == "test"))
        learnt = {origin: round(number) for (split, origin), number in kept.items() if split == "train"}
        self._judged = sum(learnt.values()) + self.test
        self.train = ratios.shares(learnt, spec.ratios) if spec.ratios else learnt
        self.dropped = {origin: round(number) for origin, number in dropped.items()}
        self.reasons = {reason: round(number) for reason, number in sorted(reasons.items(), key=lambda item: -item[1])}

    @property
    def dropped_share(self) -> float:
        """Share of the judged examples."""
        dropped = sum(self.dropped.values())
        return round(dropped / (self._judged + dropped), 4) if dropped else 0.0

    def unmet(self, expect: Expectations | None) -> list[str]:
        """Return what the recipe expects and this would not give, as far as a preview can tell."""
        if expect is None:
            return []
        unknown = {"max_rejected_share": None, "max_same_target_share": None, "max_usd": None}
        human = self.train.get("human", 0)
        if self._spec.imports is not None and self._spec.imports.human:
            human += self.train.get("import", 0)
        dropped = sum(self.dropped.values())
        counts = Statistics(
            sum(self.train.values()), self.test, human, judged=self._judged + dropped, dropped=dropped, reasons=self.reasons
        )
        return unmet(expect.model_copy(update=unknown), counts, self._spec.dataset)


def _scale(row: ExampleRow, parts: Mapping[str, SourceSample], sampled: TeacherSample | None) -> float:
    if row.origin == "teacher":
        return sampled.scale if sampled else 1.0
    kind = "imports" if row.origin == "import" else "sentences" if row.lineage.get("kind") == "sentence" else "pairs"
    return parts[kind].scale if kind in parts else 1.0
