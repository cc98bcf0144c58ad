"""The verb that scores a model: evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.render.metric_columns import MetricColumns, captions, heading
from producers.render.output import MODELS, AsJson, emit, example, line, say, styled, titled_table
from producers.scoring import Similarity, SupportedBy, where
from producers.submitting import Wait
from schemas.metrics import Metric, metrics_of
from schemas.numbers import LARGEST_BIGINT

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_SYSTEMS = {
    "tuned": "what you get, guard included",
    "unguarded": "the model's first answer",
    "zero_shot": "the base with instructions",
    "zero_shot_guarded": "under the guard",
    "few_shot": "the base with examples too",
    "few_shot_guarded": "under the guard",
    "few_shot_best": "with the best of",
    "few_shot_best_guarded": "under the guard",
    "most_frequent": "each word as it is most often normalised in",
    "dictionary": "the same learnt from",
    "rules": "the tweet cleaned, without a model",
    "lead": "its first 15 words",
    "as_is": "the tweet itself",
}
_TO_BEAT = {"sari": ("lead", "rules"), "err": ("most_frequent", "as_is")}
_PROMPTS = ("zero_shot", "few_shot", "few_shot_best")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        rich_help_panel=MODELS,
        epilog=example(
            "tweetmill evaluate latest",
            "tweetmill evaluate demo --references mine.jsonl --no-guard-prompts",
            "tweetmill evaluate cleaner --references lexnorm.jsonl",
            "tweetmill evaluate demo --similarity minilm",
            "tweetmill evaluate demo --json | jq .tuned.sari",
        ),
    )(evaluate)


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, its id, or latest.")],
    references: Annotated[
        Path | None,
        typer.Option(metavar="FILE.jsonl", help="Lines of id, text, summary, or of id, messy, clean; default: the dataset's test split."),
    ] = None,
    train_references: Annotated[
        Path | None,
        typer.Option(metavar="FILE.jsonl", help="Lines of id, messy, clean: the dictionary to beat learns of them.", show_default=False),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, max=LARGEST_BIGINT, help="Score only the first N.", show_default=False)] = None,
    guard_prompts: Annotated[
        bool, typer.Option("--guard-prompts/--no-guard-prompts", help="Score the prompts with the guard too, which takes longest.")
    ] = True,
    similarity: Similarity = None,
    supported_by: SupportedBy = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Score a model beside its base by prompts, rules, and the tweet's first words: is it worth your weeks?"""
    from producers.submitting import asked, ended, job_line, say_rejected
    from schemas.payloads import EvaluationSpec
    from tasks import evaluation
    from workers import database
    from workers.catalog import models
    from workers.ingest.curated import import_collection

    with database.session() as session:
        model_id = models.resolve(session, model).id

    def brought_in(file: Path | None) -> str | None:
        return None if file is None else import_collection(file, "references", lambda counts: say_rejected(str(file), counts))

    if train_references is not None and references is None:
        raise typer.BadParameter("it goes with --references of id, messy, clean", param_hint="--train-references")
    spec = EvaluationSpec(
        model_id=model_id,
        references=brought_in(references),
        train_references=brought_in(train_references),
        limit=limit,
        guard_prompts=guard_prompts,
        similarity=where(similarity),
        supported_by=where(supported_by),
    )
    submitted = evaluation.enqueue(spec)
    if not wait:
        emit(asked(submitted), as_json, job_line)
        return
    result = ended(submitted).result or {}
    emit(result, as_json, lambda found: _page(found, spec.references))
    if not as_json:
        say(f"Job {str(submitted.job)[:8]}", "dim")


def _page(result: dict[str, Any], collection: str | None) -> RenderableType:
    """Return the tables below the model's worst rows."""
    from producers.render.comparison import worst_rows
    from workers import database
    from workers.catalog import scored_rows

    worst = result.get("worst", {}).get("tuned", [])
    if not worst:
        return result_tables(result)
    with database.session() as session:
        texts = scored_rows.texts(session, {row["id"] for row in worst}, collection)
    return result_tables(result, worst_rows("tuned", worst, texts))


def result_tables(result: dict[str, Any], above: Sequence[RenderableType] = ()) -> MetricColumns:
    """Return an evaluation's result as people read it: a table of all tweets, one of long ones, and a sentence with the verdict."""
    metrics = metrics_of(result["tuned"].keys() - result.get("scorers", {}).keys())  # those have a table of their own
    return MetricColumns(metrics, lambda shown: [*above, *_parts(result, shown, captions(shown, metrics))])


def _parts(result: dict[str, Any], metrics: Sequence[Metric], explained: Sequence[RenderableType]) -> list[RenderableType]:
    from producers.render.scorers import scored

    parts: list[RenderableType] = [_table(result, "All tweets", metrics)]
    if "long" in result:
        parts.append(_table(result["long"], "Tweets of more than 20 words", metrics))
    if "slices" in result:
        parts.append(_slices(result))
    legend = "; ".join(f"{system}: {meaning(system, result)}" for system in _SYSTEMS if system in result)
    parts.append(styled(f"± half of the 95% interval; the best in bold. {legend}.", style="dim"))
    parts += explained
    if "words" in result:
        words = result["words"]
        parts.append(styled(f"{words['needing']:,} of {words['scored']:,} words need normalisation."))
    if "scorers" in result:
        parts += scored({system: result[system] for system in _SYSTEMS if system in result}, result["scorers"])
    guard = result.get("guard")
    if guard:
        parts.append(
            styled(
                f"The guard had {guard['retried']} of {guard['n']} written again and replaced {guard['fallbacks']} by the tweet's opening; "
                f"{guard['tweets_per_second_guarded']:g} tweets/s with it, {guard['tweets_per_second_unguarded']:g} without."
            )
        )
    parts.append(styled(verdict(result), style="bold"))
    return parts


def meaning(system: str, result: dict[str, Any]) -> str:
    """Return what a system of an evaluation is; nothing for one that is not known."""
    learnt_from = result.get(f"{system}_of")
    told = _SYSTEMS.get(system, "")
    return f"{told} {learnt_from}" if learnt_from else told


def verdict(result: dict[str, Any]) -> str:
    """Say in one sentence whether the tuned model beats what needs no tuning, by the paired differences in SARI or ERR.

    Those are the baselines without a model, and the prompts: with the guard, where they were scored with it.
    """
    metric = next(name for name in _TO_BEAT if name in result["tuned"])
    margins = {system: result["margins"][system][metric] for system in (*_TO_BEAT[metric], *prompts_to_beat(result))}
    beaten = [system for system, margin in margins.items() if margin["low"] > 0]
    lost = [system for system, margin in margins.items() if margin["high"] < 0]
    open_ = [system for system in margins if system not in beaten and system not in lost]
    found = (("loses to", lost), ("is not proven better than", open_), ("beats", beaten))
    parts = [f"{how} {_listed(systems)}" for how, systems in found if systems]
    by_chance = [system for system in beaten if margins[system].get("all_low", 1) <= 0]
    doubt = f" Of {len(result['margins'])} comparisons, the one with {_listed(by_chance)} may look so by chance." if by_chance else ""
    return f"The tuned model {', and '.join(parts)} ({metric.upper()}, paired on the same rows).{doubt}"


def prompts_to_beat(result: dict[str, Any]) -> list[str]:
    """Return the prompts that a tuned model is held against: guarded as it is, or where none is, as they answer first."""
    under_guard = [f"{name}_guarded" for name in _PROMPTS if f"{name}_guarded" in result]
    return under_guard or [name for name in _PROMPTS if name in result]


def _listed(systems: Sequence[str]) -> str:
    return " and ".join([", ".join(systems[:-1]), systems[-1]]) if len(systems) > 1 else systems[0]


def _table(result: dict[str, Any], title: str, metrics: Sequence[Metric]) -> Table:
    table = titled_table(title)
    table.add_column("system", overflow="fold")
    systems = [system for system in _SYSTEMS if system in result]
    best = {metric: max(_shown(result[system][metric.key], metric)[0] for system in systems) for metric in metrics}
    for metric in metrics:
        table.add_column(heading(metric), justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for system in systems:
        cells = [_cell(result[system][metric.key], metric, best[metric]) for metric in metrics]
        table.add_row(system, *cells, str(result[system][metrics[0].key]["n"]))
    return table


def _slices(result: dict[str, Any]) -> Table:
    """Return a table of parts of the rows: the model's SARI, and its paired margin over the first words and over the best prompt of all."""
    prompts = prompts_to_beat(result)
    others = ["lead", *([max(prompts, key=lambda name: result[name]["sari"]["value"])] if prompts else [])]
    table = titled_table("SARI by what tweets hold; a slice is a hint where to look, and no proof")
    table.add_column("slice", overflow="fold")
    for title in ("n", "tuned", *(f"above {other}" for other in others)):
        table.add_column(title, justify="right", overflow="fold")
    for name, part in result["slices"].items():
        if "sari" not in part:
            table.add_row(styled(line(name)), f"{part['n']:,}", "too few")
            continue
        margins = (part["margins"][other] for other in others)
        cells = [f"{margin['value']:+.1f} ({margin['low']:.1f} to {margin['high']:.1f})" for margin in margins]
        table.add_row(styled(line(name)), f"{part['n']:,}", f"{part['sari']['tuned']['value']:.1f}", *cells)
    return table


def _cell(figure: dict[str, Any], metric: Metric, best: float) -> Text:
    value, half = _shown(figure, metric)
    cell = f"{value:.1f} ±{half:.1f}"
    return styled(cell, "bold" if metric.better == "higher" and value == best else "")


def _shown(figure: dict[str, Any], metric: Metric) -> tuple[float, float]:
    """Return the value and half of its interval, scaled and rounded as they are shown: what looks equal is equally good."""
    return round(metric.scale * figure["value"], 1), round(metric.scale * (figure["high"] - figure["low"]) / 2, 1)
