"""Runs a comparison job: lets models, chains and baselines write for the same rows, and scores each against each, paired row by row.

The result holds figures and the ids of rows, never a text.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.payloads import Baseline, ComparisonSpec, Stage
from schemas.tables.models import Model
from workers.catalog import models
from workers.database import session
from workers.errors import UserError
from workers.evaluation import rows as held
from workers.evaluation import slices
from workers.evaluation.lexnorm import job as lexnorm
from workers.evaluation.margins import paired
from workers.evaluation.prompting import PromptSystems, is_prompt_system
from workers.evaluation.slices import HEADLINE
from workers.evaluation.systems import HeldBackRow
from workers.inference.guard import Guarded
from workers.inference.writer import Writer
from workers.jobs.context import JobContext, Outcome
from workers.metrics import baselines
from workers.metrics.scores import Scores, score, summarize
from workers.scorers import optional
from workers.scorers.scorer import Rows

_OF_BASELINE: Mapping[str, Callable[[str], str]] = {"lead": baselines.lead, "rules": baselines.rules, "as_is": str}
_HALF_WIDTH = 1.96  # standard errors, of a 95% interval
_POWER = 2.80  # standard errors: a difference of so many is found by such an interval four times in five


@dataclass(frozen=True)
class SystemRun:
    """What one system wrote for all rows, and what that took.

    Attributes:
        outputs: in the order of the rows.
        seconds: wall time for all of them, without loading.
        tokens_in: of all prompts; 0 for a baseline without a model.
        tokens_out: of all answers.
        retried: rows that were written again.
        fallbacks: rows in which the tweet's opening stands in.
    """

    outputs: Sequence[str] = field(repr=False)
    seconds: float
    tokens_in: int = 0
    tokens_out: int = 0
    retried: int = 0
    fallbacks: int = 0

    def cost(self) -> dict[str, Any]:
        """Return what the rows took, as the report shows it."""
        count = len(self.outputs)
        return {
            "seconds": round(self.seconds, 3),
            "seconds_per_tweet": self.seconds / count,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "retried": self.retried,
            "fallbacks": self.fallbacks,
            "n": count,
        }


def compare(context: JobContext, spec: ComparisonSpec) -> Outcome:
    """Score the systems of `spec` on the same rows.

    Raises:
        UserError: they can't be compared, or there are no rows that none of them has learnt from.
    """
    with session() as opened:
        compared = [models.by_id(opened, model_id) for model_id in spec.model_ids]
        _check(compared, spec.baselines)
        if spec.references and lexnorm.holds_gold(opened, spec.references):
            raise UserError(f"{spec.references}: a comparison needs lines of id, text, summary; `tweetmill evaluate` takes messy and clean")
        rows = held.of_references(opened, spec.references) if spec.references else held.held_back(opened, compared)
        writers = {model.name: Writer.of(opened, model, all_cores=True) for model in compared}
        pool = held.example_pool(opened, compared[0], spec.few_shot, spec.example_sets, spec.seed)
    rows = rows[: spec.limit] if spec.limit else rows
    optional.check(spec, spec.judge, Stage(compared[0].stage))
    prompts = PromptSystems(next(iter(writers.values())), pool)
    runs = _write_all(context, writers, prompts, spec, rows)
    texts = Rows([row.tweet for row in rows], [row.references for row in rows])
    outputs = {name: run.outputs for name, run in runs.items()}
    extra, scorers = optional.score(context, spec, texts, outputs)
    result = report(rows, runs, spec.resamples, spec.seed, extra)
    if prompts.choice:
        result["few_shot_best_of"] = prompts.choice
    if scorers:
        result["scorers"] = scorers
    if spec.judge is not None:
        result["judge"] = optional.judge(context, spec.judge, Stage(compared[0].stage), texts, outputs, writers.keys())
    return Outcome(result=result | {"references": spec.references or "test split", "stage": compared[0].stage, "guard": spec.guard})


def _check(compared: Sequence[Model], named: Sequence[Baseline]) -> None:
    stages = {model.stage for model in compared}
    if len(stages) > 1:
        told = ", ".join(f"{model.name} ({model.stage})" for model in compared)
        raise UserError(f"models {told}: they write different things. Compare models of one stage; a chain's stage is summary")
    for model in compared:
        if model.name in named:
            raise UserError(f"model {model.name}: it has the name of a baseline. Rename it, or leave the baseline out")
    asked = [name for name in named if is_prompt_system(name)]
    if asked and len({model.base for model in compared}) > 1:
        told = ", ".join(f"{model.name} ({model.base})" for model in compared)
        raise UserError(f"{asked[0]}: which base? The models have several: {told}. Compare models of one base, or leave prompts out")


def _write_all(
    context: JobContext, writers: Mapping[str, Writer], prompts: PromptSystems, spec: ComparisonSpec, rows: Sequence[HeldBackRow]
) -> dict[str, SystemRun]:
    tweets = [row.tweet for row in rows]
    done, total = 0, len(rows) * (len(writers) + sum(is_prompt_system(name) for name in spec.baselines))
    written: dict[str, SystemRun] = {}

    def on_progress(newly: int) -> None:
        nonlocal done
        done += newly
        context.progress(done=done, total=total)
        context.check()

    # One after the other by base: one engine is kept, and each other base is loaded anew.
    for name, writer in sorted(writers.items(), key=lambda item: item[1].base):
        context.progress(system=name)
        on_progress(0)
        writer.warm_up(tweets[0])
        started = time.monotonic()
        results = writer.write(tweets, guard=spec.guard, on_progress=on_progress)
        written[name] = _run(results, time.monotonic() - started)
    for baseline in spec.baselines:
        started = time.monotonic()
        if is_prompt_system(baseline):
            context.progress(system=baseline)
            on_progress(0)
            run = prompts.write(baseline, tweets, on_progress)
            written[baseline] = _run(run.answers, run.seconds)
        else:
            outputs = [_OF_BASELINE[baseline](tweet) for tweet in tweets]
            written[baseline] = SystemRun(outputs, time.monotonic() - started)
    return {name: written[name] for name in (*writers, *spec.baselines)}


def _run(results: Sequence[Guarded], seconds: float) -> SystemRun:
    return SystemRun(
        outputs=[result.text for result in results],
        seconds=seconds,
        tokens_in=sum(result.tokens_in for result in results),
        tokens_out=sum(result.tokens_out for result in results),
        retried=sum(result.tries > 1 for result in results),
        fallbacks=sum("fallback" in result.flags for result in results),
    )


def report(
    rows: Sequence[HeldBackRow],
    runs: Mapping[str, SystemRun],
    resamples: int,
    seed: int,
    extra: Mapping[str, Scores] | None = None,
) -> dict[str, Any]:
    """Return the comparison as JSON.

    `systems` with their figures and cost, `pairs` of them, `slices` with the SARI of parts of the rows, the `worst` rows, and the
    `verdict` in words. `extra` are the scores of optional scorers, by system.
    """
    tweets, references = [row.tweet for row in rows], [row.references for row in rows]
    scores = {name: {**score(tweets, run.outputs, references), **(extra or {}).get(name, {})} for name, run in runs.items()}
    named = list(itertools.combinations(runs, 2))
    metrics = list(next(iter(scores.values())))
    by_metric = {metric: paired(scores, named, metric, resamples, seed, together=metric == HEADLINE) for metric in metrics}
    pairs = [{"a": a, "b": b, "metric": metric} | by_metric[metric][a, b] for a, b in named for metric in metrics]
    return {
        "order": list(runs),  # Postgres keeps none of the keys of an object
        "systems": {
            name: {metric: figure.as_dict() for metric, figure in summarize(scores[name], resamples, seed).items()} | {"cost": run.cost()}
            for name, run in runs.items()
        },
        "pairs": pairs,
        "slices": slices.table(rows, scores, resamples, seed),
        "worst": {name: slices.worst(rows, of_system) for name, of_system in scores.items()},
        "verdict": [verdict(pair, len(named)) for pair in pairs if pair["metric"] == HEADLINE],
    }


def verdict(pair: Mapping[str, Any], pairs: int = 1) -> str:
    """Say in a sentence what the paired difference of two systems' SARI shows, or how large it would have to be to show.

    A difference of 2.8 standard errors is found by a 95% interval with a power of 80%. Where it is one of several `pairs`, it is said
    whether it still shows when all of them are counted.
    """
    first, second, count = pair["a"], pair["b"], pair["n"]
    value, low, high = pair["difference"], pair["low"], pair["high"]
    if count < 2:
        return f"One row shows nothing of {first} and {second}."
    if low > 0:
        return f"{first} is better than {second} by {value:.1f} SARI ({low:.1f} to {high:.1f}, n = {count:,}){_of_many(pair, pairs)}."
    if high < 0:
        return f"{second} is better than {first} by {-value:.1f} SARI ({-high:.1f} to {-low:.1f}, n = {count:,}){_of_many(pair, pairs)}."
    if low == high:
        return f"{first} and {second} score the same in each of the {count:,} rows."
    findable = _POWER * (high - low) / (2 * _HALF_WIDTH)
    return (
        f"No difference between {first} and {second} could be shown at n = {count:,}: {value:+.1f} SARI ({low:.1f} to {high:.1f});"
        f" a difference of {findable:.1f} would have been found four times in five."
    )


def _of_many(pair: Mapping[str, Any], pairs: int) -> str:
    if pairs < 2:
        return ""
    if pair["all_low"] > 0 or pair["all_high"] < 0:
        return f", also with all {pairs} pairs counted"
    return f", but of {pairs} pairs one may look so by chance"
