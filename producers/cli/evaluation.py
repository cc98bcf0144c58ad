"""The verb that scores a model: evaluate."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.render.output import MODELS, AsJson, emit, example, say, styled
from producers.submitting import Wait
from schemas.numbers import LARGEST_BIGINT

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_COLUMNS = {"err": "ERR %", "sari": "SARI", "rougeL": "ROUGE-L", "chrf": "chrF", "promise": "promise %", "faithful": "faithful %"}
_SHARES = ("err", "promise", "faithful")
_CHECKS = {
    "promise": "answers that meet the output constraints",
    "faithful": "answers without a number, name or link that the tweet lacks, a check of words, not of truth",
}
_SYSTEMS = {
    "tuned": "what you get, guard included",
    "unguarded": "the model's first answer",
    "zero_shot": "the base with instructions",
    "few_shot": "and with examples",
    "most_frequent": "each word as it is most often normalised in",
    "dictionary": "the same learnt from",
    "rules": "the tweet cleaned, without a model",
    "lead": "its first 15 words",
    "as_is": "the tweet itself",
}
_TO_BEAT = {"sari": ("lead", "rules"), "err": ("most_frequent", "as_is")}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        rich_help_panel=MODELS,
        epilog=example(
            "tweetmill evaluate latest",
            "tweetmill evaluate demo --references mine.jsonl",
            "tweetmill evaluate cleaner --references lexnorm.jsonl",
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
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Score a model beside its base, rules, and the tweet's first words: is it worth your weeks?"""
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
    spec = EvaluationSpec(model_id=model_id, references=brought_in(references), train_references=brought_in(train_references), limit=limit)
    submitted = evaluation.enqueue(spec)
    if not wait:
        emit(asked(submitted), as_json, job_line)
        return
    emit(ended(submitted).result or {}, as_json, result_tables)
    if not as_json:
        say(f"Job {str(submitted.job)[:8]}", "dim")


def result_tables(result: dict[str, Any]) -> RenderableType:
    """Return an evaluation's result as people read it: a table of all tweets, one of long ones, and a sentence with the verdict."""
    from rich.console import Group

    parts: list[RenderableType] = [_table(result, "All tweets")]
    if "long" in result:
        parts.append(_table(result["long"], "Tweets of more than 20 words"))
    legend = "; ".join(f"{system}: {_meaning(system, result)}" for system in _SYSTEMS if system in result)
    parts.append(styled(f"± half of the 95% interval; the best in bold. {legend}.", style="dim"))
    checks = "; ".join(f"{_COLUMNS[metric]}: {meaning}" for metric, meaning in _CHECKS.items() if metric in result["tuned"])
    if checks:
        parts.append(styled(f"{checks}.", style="dim"))
    if "words" in result:
        words = result["words"]
        parts.append(styled(f"{words['needing']:,} of {words['scored']:,} words need normalisation."))
    guard = result.get("guard")
    if guard:
        parts.append(
            styled(
                f"The guard had {guard['retried']} of {guard['n']} written again and replaced {guard['fallbacks']} by the tweet's opening; "
                f"{guard['tweets_per_second_guarded']:g} tweets/s with it, {guard['tweets_per_second_unguarded']:g} without."
            )
        )
    parts.append(styled(verdict(result), style="bold"))
    return Group(*parts)


def _meaning(system: str, result: dict[str, Any]) -> str:
    learnt_from = result.get(f"{system}_of")
    return f"{_SYSTEMS[system]} {learnt_from}" if learnt_from else _SYSTEMS[system]


def verdict(result: dict[str, Any]) -> str:
    """Say in one sentence whether the tuned model beats what needs no model, by SARI or ERR. Only intervals that do not touch count."""
    metric = next(name for name in _TO_BEAT if name in result["tuned"])
    to_beat = _TO_BEAT[metric]
    tuned = result["tuned"][metric]
    beaten = [system for system in to_beat if tuned["low"] > result[system][metric]["high"]]
    lost = [system for system in to_beat if tuned["high"] < result[system][metric]["low"]]
    open_ = [system for system in to_beat if system not in beaten and system not in lost]
    if len(beaten) == len(to_beat):
        return f"The tuned model beats {_listed(to_beat)}: the intervals of their {metric.upper()} do not touch its own."
    parts = [f"loses to {_listed(lost)}"] * bool(lost) + [
        f"is not proven better than {_listed(open_)}, whose intervals touch its own"
    ] * bool(open_)
    parts += [f"beats {_listed(beaten)}"] * bool(beaten)
    return f"The tuned model {', and '.join(parts)} ({metric.upper()})."


def _listed(systems: Iterable[str]) -> str:
    return " and ".join(systems)


def _table(result: dict[str, Any], title: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("system", no_wrap=True)
    systems = [system for system in _SYSTEMS if system in result]
    metrics = [metric for metric in _COLUMNS if metric in result[systems[0]]]
    best = {metric: max(_shown(result[system][metric], metric)[0] for system in systems) for metric in metrics}
    for metric in metrics:
        table.add_column(_COLUMNS[metric], justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for system in systems:
        cells = [_cell(result[system][metric], metric, best[metric]) for metric in metrics]
        table.add_row(system, *cells, str(result[system][metrics[0]]["n"]))
    return table


def _cell(figure: dict[str, Any], metric: str, best: float) -> Text:
    value, half = _shown(figure, metric)
    cell = f"{value:.1f} ±{half:.1f}"
    return styled(cell, "bold" if value == best else "")


def _shown(figure: dict[str, Any], metric: str) -> tuple[float, float]:
    """Return the value and half of its interval, from 0 to 100, rounded as they are shown: what looks equal is equally good."""
    scale = 100 if metric in _SHARES else 1
    return round(scale * figure["value"], 1), round(scale * (figure["high"] - figure["low"]) / 2, 1)
