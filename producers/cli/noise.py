"""The verbs of noise: fit, apply, gauge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.render import streams
from producers.render.output import DATA, AsJson, emit, example, json_text, say, styled
from producers.submitting import Wait
from schemas.numbers import LARGEST_BIGINT, LARGEST_SEED

if TYPE_CHECKING:
    from rich.console import RenderableType

    from workers.ingest.curated_files import BadLine

NOISES = {"none": "the clean text", "fixed": "operations at mean rates", "fitted": "observed styles"}
_PAIRS_OF_THE_DEMO = Path(__file__).resolve().parents[2] / "samples" / "pairs.jsonl"
_CORRELATIONS_SHOWN = 5

Source = Annotated[str | None, typer.Option(metavar="NAME", help="Only tweets of this source; default: all.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="The same seed gives the same result.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    noise = typer.Typer(
        no_args_is_help=True,
        help="Noise fitted to your tweets: learn it, apply it, see how real it looks.",
        epilog=example("tweetmill noise fit --profile mine.json", "tweetmill noise gauge"),
    )
    noise.command(epilog=example("tweetmill noise fit --profile mine.json", "tweetmill noise fit --source airline --json"))(fit)
    noise.command(epilog=example("tweetmill noise apply sentences.txt --profile mine.json --seed 1 > noisy.jsonl"))(apply)
    noise.command(epilog=example("tweetmill noise gauge", "tweetmill noise gauge --json | jq .fitted.auc"))(gauge)
    app.add_typer(noise, name="noise", rich_help_panel=DATA)


def fit(
    source: Source = None,
    profile: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Where the profile goes.", show_default=False)] = None,
    seed: Seed = 0,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Learn from ingested tweets what people do to English: how often, how unevenly, and what goes with what. Counts only, no text."""
    from producers.submitting import asked, ended, job_line
    from schemas.payloads import NoiseFitSpec
    from tasks import noise
    from workers import destinations

    if profile is not None:
        destinations.check(profile)
    submitted = noise.enqueue_fit(NoiseFitSpec(source=source, seed=seed), tweets=_tweets())
    if not wait:
        emit(asked(submitted), as_json, job_line)
        return
    result = ended(submitted).result or {}
    if profile is not None:
        destinations.write_destination(profile, json_text(result["profile"]) + "\n")
        say(f"Profile {result['fingerprint'][:12]} is in {profile}.")
    emit(result["profile"], as_json, _profile_page)


def apply(
    file: Annotated[
        Path, typer.Argument(metavar="FILE|-", help="Clean sentences: one a line, a CSV with such a column, or - for standard input.")
    ],
    profile: Annotated[Path, typer.Option(metavar="FILE.json", help="What `noise fit` wrote.")],
    seed: Seed = 0,
    copies: Annotated[int, typer.Option(min=1, max=50, help="Noisy versions of each sentence.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="The answer is JSON Lines, with or without this.")] = False,
) -> None:
    """Add noise to clean sentences. One JSON object a line: the noisy text, the clean one, and each operation with its word."""
    del as_json
    from tasks import noise
    from workers.ingest import curated_files

    refused: list[BadLine] = []
    path = Path("/dev/stdin") if str(file) == "-" else file
    if not path.exists():
        raise FileNotFoundError(2, "No such file", str(file))
    document = profile.read_text(encoding="utf-8")
    for row in noise.noised(_clean(curated_files.read(path, "sentences"), refused), document, str(profile), seed, copies):
        streams.write(json_text(row) + "\n")
    if refused:
        first = refused[0]
        lines = "line" if len(refused) == 1 else "lines"
        say(f"{len(refused)} {lines} could not be used, the first line {first.number}: {first.reason}", "yellow")


def _clean(lines: Iterable[Any], refused: list[BadLine]) -> Iterator[str]:
    for line in lines:
        if hasattr(line, "reason"):
            refused.append(line)
        else:
            yield line.clean


def gauge(
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Curated pairs to compare; default: all that were imported.")
    ] = None,
    source: Source = None,
    limit: Annotated[int, typer.Option(min=50, max=LARGEST_BIGINT, help="Texts a side at most.")] = 2000,
    seed: Seed = 0,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw real against synthetic.", show_default=False)] = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Train a classifier to distinguish noise from real tweets by style: AUC 0.5 is as good as real, 1 is plain to see.

    It names the features that distinguish them best.
    """
    from producers.submitting import asked, ended, job_line
    from schemas.payloads import NoiseGaugeSpec
    from tasks import noise
    from workers import destinations

    if plot is not None:
        destinations.check(plot, [pairs])
    spec = NoiseGaugeSpec(pairs=_collection(pairs), source=source, limit=limit, seed=seed)
    submitted = noise.enqueue_gauge(spec, tweets=_tweets(), pairs=_curated_rows())
    if not wait:
        emit(asked(submitted), as_json, job_line)
        return
    result = ended(submitted).result or {}
    if plot is not None:
        from producers.render.plots import save_shares

        save_shares(result["measures"], list(NOISES), "Texts that have any of it", plot)
        say(f"The picture is in {plot}.")
    emit(result, as_json, _gauge_page)


def _tweets() -> int:
    from workers import database
    from workers.catalog import tweets

    with database.session() as session:
        return tweets.count(session)


def _curated_rows() -> int:
    from workers import database
    from workers.catalog.examples import curated

    with database.session() as session:
        return curated.count(session)


def _collection(pairs: Path | None) -> str | None:
    """Return the collection of the pairs; None for all. Before any was imported, those of the demo are taken."""
    from producers.submitting import say_rejected
    from workers import database
    from workers.catalog.examples import curated
    from workers.errors import UserError
    from workers.ingest.curated import import_collection

    if pairs is None:
        with database.session() as session:
            known = curated.has_pairs(session)
        if known:
            return None
        if not _PAIRS_OF_THE_DEMO.is_file():
            raise UserError("no pairs were imported yet: name a file with --pairs FILE.jsonl")
        pairs = _PAIRS_OF_THE_DEMO
        say(f"No pairs were imported yet: comparing with those of the demo, {pairs.name}.")
    return import_collection(pairs, "pairs", lambda counts: say_rejected(str(pairs), counts))


def _profile_page(profile: dict[str, Any]) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.table import Table

    table = Table(title=f"{profile['tweets']:,} tweets", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("operation", no_wrap=True)
    for column in ("tweets %", "a tweet", "±", "median", "90th", "99th"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, spread in sorted(profile["operations"].items(), key=lambda item: -item[1]["share"]):
        quantiles = (f"{value:g}" for value in spread["quantiles"])
        table.add_row(name, f"{100 * spread['share']:.1f}", f"{spread['mean']:.3f}", f"{spread['deviation']:.3f}", *quantiles)
    pairs = [f"{each['one']} and {each['other']} {each['correlation']:+.2f}" for each in profile["together"][:_CORRELATIONS_SHOWN]]
    return Group(table, styled(f"Together more often than by chance, or less: {'; '.join(pairs)}." if pairs else ""))


def _gauge_page(result: dict[str, Any]) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("noise", "AUC", "95% interval", "n a side"):
        table.add_column(column, justify="left" if column == "noise" else "right", no_wrap=True)
    for name, meaning in NOISES.items():
        auc = result[name]["auc"]
        table.add_row(f"{name}: {meaning}", f"{auc['value']:.3f}", f"{auc['low']:.3f} to {auc['high']:.3f}", str(auc["n"]))
    parts: list[RenderableType] = [table]
    for name in NOISES:
        parts.append(styled(f"What gives {name} away", style="bold"))
        parts += [styled(f"  {telltale['says']}") for telltale in result[name]["telltales"]] or [styled("  nothing by itself")]
    parts.append(
        styled(f"The noise was fitted to {result['about']['fitted_to']:,} tweets that are not among the compared ones.", style="dim")
    )
    return Group(*parts)
