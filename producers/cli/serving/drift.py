"""The verb that looks for drift: drift."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.render import streams
from producers.render.output import SUMMARIES, AsJson, emit, example, json_text, line, say, styled, titled_table
from producers.submitting import Wait
from schemas.numbers import LARGEST_BIGINT

if TYPE_CHECKING:
    from rich.console import RenderableType

    from schemas.payloads import DriftSpec

_SHOWN = 12
_SAID = 5
_VERDICTS = {
    "drift": "Tweets have changed since the model learnt.",
    "no drift seen": "No drift seen: what came in looks like what was learnt.",
    "too few": "Too few to tell.",
}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    lines = (
        "tweetmill drift",
        "tweetmill drift --stream news --hours 24",
        "tweetmill drift --source archive --model demo",
        "tweetmill drift --dataset mine --sample-to next.jsonl",
    )
    app.command(rich_help_panel=SUMMARIES, epilog=example(*lines))(drift)


def drift(
    source: Annotated[str | None, typer.Option(metavar="NAME", help="Only tweets of this source; default: all.")] = None,
    stream: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only tweets that arrived for this stream.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Its name, its id, or latest; default: the stream's, or the one in service.", show_default=False
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Compare with this dataset instead of the model's.", show_default=False)
    ] = None,
    last: Annotated[int, typer.Option("--last", "-n", min=1, max=20_000, help="The newest N tweets.")] = 2000,
    hours: Annotated[float | None, typer.Option(min=0.001, max=1_000_000, help="Only those of the last hours.", show_default=False)] = None,
    language: Annotated[str, typer.Option(metavar="CODE", help="The language that tweets are expected in.")] = "en",
    sample_to: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Write the tweets to pair next, for `tweetmill import`.", show_default=False)
    ] = None,
    sample: Annotated[int, typer.Option(min=1, max=1000, help="How many tweets to pair next.")] = 50,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_BIGINT, help="Draws the training texts, and among tweets that differ alike.")] = 0,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Compare the newest tweets with what a model learnt from: has anything changed, in what, and which tweets to pair next?"""
    from producers.submitting import asked, ended, job_line
    from schemas.payloads import DriftSpec
    from tasks import drift
    from workers import destinations

    if source is not None and stream is not None:
        raise typer.BadParameter("a stream has its tweets whatever their source: give one of both", param_hint="--source")
    if sample_to is not None:
        if not wait:
            raise typer.BadParameter("the sample is there when the job has ended: leave --no-wait out", param_hint="--sample-to")
        destinations.check(sample_to)
    spec = DriftSpec(
        model_id=_compared_with(model, dataset, stream),
        dataset=dataset,
        source=source,
        stream=stream,
        last=last,
        hours=hours,
        language=language,
        sample=sample,
        seed=seed,
    )
    submitted = drift.enqueue(spec)
    if not wait:
        emit(asked(submitted), as_json, job_line)
        return
    result = ended(submitted).result or {}
    if sample_to is not None:
        _write_sample(sample_to, result["sample"], spec)
    emit(result, as_json, _page)


def _compared_with(model: str | None, dataset: str | None, stream: str | None) -> int | None:
    """Return the id of the model whose training texts and guard figures count; None where a dataset alone is named.

    Raises:
        NotFound: there is no such model, dataset or stream, or none is in service.
    """
    from workers import database
    from workers.catalog import datasets, models

    with database.session() as session:
        if dataset is not None:
            datasets.resolve(session, dataset)
        served = models.of_stream(session, stream) if stream is not None else None
        if model is None and dataset is None:
            return (served or models.resolve(session, models.IN_SERVICE)).id
        return models.resolve(session, model).id if model is not None else None


def _write_sample(path: Path, sample: list[dict[str, str]], spec: DriftSpec) -> None:
    """Write each tweet with a draft of its summary, in the form prompt-completion: what the model wrote, else the tweet's opening."""
    from workers import database, destinations
    from workers.catalog import summaries
    from workers.text.clean import opening, rules
    from workers.text.constraints import MAX_WORDS

    with database.session() as session:
        known = summaries.of_tweets(session, [each["tweet"] for each in sample], spec.model_id)
    rows = []
    for each in sample:
        tweet, wrote = known.get(each["tweet"], ("", None))
        draft = wrote or opening(rules(tweet), MAX_WORDS)
        if draft:  # a tweet without words has no summary
            rows.append({"tweet_id": each["tweet"], "prompt": tweet, "completion": draft, "because": each["because"]})
    with destinations.open_text(path) as out:
        out.writelines(json_text(row) + "\n" for row in rows)
    name = line(str(path))
    say(f"{len(rows)} tweets with drafts are in {name}. `tweetmill import {name} --form prompt-completion --dataset next` takes them,")
    say("and `tweetmill review next` shows them one by one, to be accepted or edited.")


def _page(result: dict[str, Any]) -> RenderableType:
    from rich.console import Group

    counted = f"{result['incoming']:,} tweets beside {result['learnt']:,} training texts of {result['dataset']}."
    parts: list[RenderableType] = [styled(f"{_VERDICTS[result['verdict']]} {counted}", "bold")]
    parts += [styled(f"  {said}") for said in result["says"][:_SAID]]
    if result["figures"]:
        parts += ["", *_tables(result["figures"])]
    if result["over_time"]:
        parts += ["", *_over_time(result["over_time"])]
    if result["sample"] and result["verdict"] == "drift":
        parts.append(styled("\n`--sample-to FILE.jsonl` writes the tweets that differ most, with drafts to review: pair those next."))
    return Group(*parts)


def _tables(figures: list[dict[str, Any]]) -> list[RenderableType]:
    """Return the figures that drifted, and as many others as there is room for, those first that differ most."""
    order = sorted(figures, key=lambda figure: (not figure["drifted"], -abs(figure["effect"])))
    table = titled_table("What was compared")
    table.add_column("", overflow="fold")
    for head in ("now", "before", "difference, 95%", ""):
        table.add_column(head, justify="right", no_wrap=True)
    for figure in order[: max(_SHOWN, sum(figure["drifted"] for figure in figures))]:
        percent = figure["share"] or figure["name"] == "unknown words"

        def shown(name: str, sign: str = "", figure: dict[str, Any] = figure, percent: bool = percent) -> str:
            return f"{100 * figure[name]:{sign}.1f}" if percent else f"{figure[name]:{sign}.1f}"

        words = f"{figure['words']}, %" if percent else figure["words"]
        bounds = f"{shown('low', '+')} to {shown('high', '+')}"
        table.add_row(styled(words), shown("value"), shown("baseline"), bounds, "drift" if figure["drifted"] else "")
    left = len(figures) - table.row_count
    legend = (
        f"n = {figures[0]['n']:,} and {figures[0]['baseline_n']:,}. Drift: not chance with all {len(figures)} counted, and no small effect."
    )
    more = f" {left} more differ less: `--json` has them." if left else ""
    return [table, styled(legend + more, style="dim")]


def _over_time(points: list[dict[str, Any]]) -> list[RenderableType]:
    from producers.render.plots import spark

    shares = [point["flagged"] for point in points]
    drawn = spark(list(enumerate(shares)), 24) if streams.speaks_unicode() else ""
    span = f"{points[0]['since'][:16].replace('T', ' ')} to {points[-1]['since'][:16].replace('T', ' ')}"
    said = f"Summaries with a serious flag, {span}: {shares[0]:.0%} first, {shares[-1]:.0%} last, {max(shares):.0%} at most  {drawn}"
    return [styled(said)]
