"""The verbs of learning curves: run, show, fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from typer.core import TyperGroup

from producers.cli.comparison import Limit
from producers.curve.costs import MINUTES_A_PAIR
from producers.curve.worth import Worth, parse
from producers.render.output import MODELS, AsJson, emit, example, say
from producers.submitting import Overrides, RecipeFile
from schemas.numbers import HIGHEST_PRICE, LARGEST_BIGINT
from workers.errors import UserError

if TYPE_CHECKING:
    from workers.curves.points import Point
    from workers.ingest.curated_files import BadLine

_REJECTED_SHOWN = 10


class _DrawsByDefault(TyperGroup):
    """`curve -r RECIPE` means `curve run -r RECIPE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` before options of its own: the group itself has none but `--help`."""
        if args and args[0].startswith("-") and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    curve = typer.Typer(
        cls=_DrawsByDefault,
        no_args_is_help=True,
        help="How quality grows with the number of pairs, and whether more are worth it. `curve -r RECIPE` is `curve run -r RECIPE`.",
        epilog=example("tweetmill curve -r recipes/train-cpu.yaml --sizes 25,50,100,200", "tweetmill curve fit points.csv"),
    )
    recipe = "tweetmill curve run -r recipes/train-cpu.yaml"
    curve.command(
        epilog=example(
            f"{recipe} name=mine dataset=mine --dry-run",
            f"{recipe} name=mine dataset=mine --sizes 25,50,100,200,400 --seeds 3",
            f"{recipe} name=mine dataset=mine --origins human,noise,mix --methods lora,freeze --budget steps",
        )
    )(run)
    curve.command(epilog=example("tweetmill curve show mine", "tweetmill curve show mine --json | jq .series"))(show)
    curve.command(
        epilog=example(
            "tweetmill curve fit points.csv",
            "tweetmill curve fit losses.csv --lower-is-better --at 800,1600",
            "tweetmill curve fit points.csv --worth 0.5/hour --minutes-a-pair 3 --json | jq .verdict",
        )
    )(fit)
    app.add_typer(curve, name="curve", rich_help_panel=MODELS)


WorthText = Annotated[
    str | None,
    typer.Option(
        "--worth",
        metavar="N|N/hour",
        help="The smallest gain of twice the pairs that counts, or that an hour of writing them must bring; default: 1% of the largest "
        "size's value.",
        show_default=False,
    ),
]


def _minutes(default: str) -> Any:
    told = f"What a pair takes you to write; default: {default}."
    return typer.Option("--minutes-a-pair", min=0.01, max=10_000, help=told, show_default=False)


MinutesAPair = Annotated[float | None, _minutes(f"what `tweetmill review` measured of this dataset, else {MINUTES_A_PAIR:g}")]
AssumedMinutes = Annotated[float | None, _minutes(f"{MINUTES_A_PAIR:g}")]
UsdPerHour = Annotated[
    float | None,
    typer.Option(
        min=0, max=HIGHEST_PRICE, help="What an hour of a machine that trains costs, for the price of the trainings.", show_default=False
    ),
]
Prompting = Annotated[
    bool, typer.Option("--prompting/--no-prompting", help="Score the untuned base by prompts on the same rows, once a curve.")
]


Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE.png", help="Draw the curve as an image; the ending names its form.", show_default=False),
]


def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    sizes: Annotated[str, typer.Option(metavar="N,N…", help="Curated pairs to learn from.")] = "25,50,100,200,400",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Subsets of each size, each trained once.")] = 3,
    origins: Annotated[str, typer.Option(metavar="NAME,…", help="human: the pairs; noise: what was made of them; mix: both.")] = "human",
    methods: Annotated[str | None, typer.Option(metavar="NAME,…", help="Default: the recipe's.", show_default=False)] = None,
    budget: Annotated[str, typer.Option(metavar="epochs|steps", help="What is equal between the points.")] = "epochs",
    limit: Limit = None,
    prompting: Prompting = True,
    worth: WorthText = None,
    minutes_a_pair: MinutesAPair = None,
    usd_per_hour: UsdPerHour = None,
    plot: Plot = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train on nested subsets of the pairs, score each model on the same held-back rows, and say whether more pairs are worth it.

    The points are jobs: as many at once as there are workers. The same call again goes on, and more sizes or seeds add to it.
    """
    from producers.curve.completion import complete
    from producers.curve.costs import known
    from producers.curve.points import ORIGINS
    from producers.curve.report import drawn, planned
    from producers.curve.run import enqueue
    from producers.recipes import read_training
    from producers.render.curve import drawn_page, plan_table
    from schemas.training import MethodName
    from workers import destinations

    if plot is not None:
        destinations.check(plot)  # not after hours of training
    spec, counts = read_training(recipe, overrides or []), _counts(worth)
    asked = {"sizes": _numbers(sizes), "seeds": seeds, "origins": _names(origins, "--origins", ORIGINS), "budget": _budget(budget)}
    chosen = _names(methods, "--methods", get_args(MethodName)) if methods else [spec.method]
    points, fingerprint, plan = planned(spec, usd_per_hour, methods=chosen, **asked)
    if dry_run:
        emit(plan, as_json, plan_table)
        return
    if not as_json:
        say(plan["words"])
    jobs = enqueue(points, fingerprint)
    found, _ = complete(spec.name, jobs, limit, prompting=prompting)
    answer = drawn(spec.name, found, counts, known(minutes_a_pair, spec.dataset, usd_per_hour), jobs)
    _draw(answer["series"], answer["metric"], spec.name, plot)
    emit(answer, as_json, drawn_page)
    if not answer["series"]:
        raise UserError(f"curve {spec.name}: no point has a score. `tweetmill jobs --state failed` lists why")


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name in the recipe of the curve.")],
    wait: Annotated[bool, typer.Option("--wait", help="Ask for the scores that are missing, and wait for all points.")] = False,
    prompting: Prompting = True,
    limit: Annotated[
        int | None,
        typer.Option(min=1, max=LARGEST_BIGINT, help="Scores on the first N rows; default: those of most points.", show_default=False),
    ] = None,
    worth: WorthText = None,
    minutes_a_pair: MinutesAPair = None,
    usd_per_hour: UsdPerHour = None,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Show a curve as far as it is drawn: the points that have a score, what is foretold, and the verdict."""
    from producers.curve.completion import complete
    from producers.curve.costs import known
    from producers.curve.report import drawn
    from producers.curve.run import scored_rows, status
    from producers.curve.shown import newest
    from producers.render.curve import drawn_page, progress_words

    counts, limit = _counts(worth), limit or scored_rows(name)
    found, progress = status(name, limit)
    if wait:
        found, progress = complete(name, None, limit, prompting=prompting)
    costs = known(minutes_a_pair, newest(found).recipe["dataset"], usd_per_hour)
    answer = drawn(name, found, counts, costs)
    answer |= {"points": progress.points, "done": progress.done, "failed": progress.failed, "not_asked": progress.not_asked}
    _draw(answer["series"], answer["metric"], name, plot)
    emit(answer, as_json, drawn_page)
    if not as_json:
        say(progress_words(name, answer, progress.shown.detail))


def fit(
    file: Annotated[
        Path, typer.Argument(metavar="FILE|-", help="Rows of size,value or size,value,se; repeated sizes are seeds.", show_default=False)
    ],
    lower_is_better: Annotated[bool, typer.Option("--lower-is-better", help="The value is a loss or an error rate.")] = False,
    at: Annotated[
        str | None,
        typer.Option(metavar="SIZE,SIZE…", help="Sizes to foretell; default: twice and four times the largest.", show_default=False),
    ] = None,
    worth: WorthText = None,
    minutes_a_pair: AssumedMinutes = None,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Fit a learning curve to points of yours: what more pairs would bring, with 95% intervals, and whether that is worth it.

    Needs no server. Exit code 1 when no row could be used.
    """
    from producers.curve.costs import Costs, pace
    from producers.curve.report import fitted
    from producers.render.curve import fitted_page

    counts = _counts(worth)
    points, rejected = _read(file)
    foretold = _sizes(at) if at is not None else None
    answer = fitted(points, foretold, counts, Costs(pace(minutes_a_pair)), lower_is_better=lower_is_better)
    answer["rejected"] = [{"place": bad.place, "field": bad.field, "reason": bad.reason} for bad in rejected]
    _draw({"measured": answer}, "value", file.name, plot)
    for bad in rejected[:_REJECTED_SHOWN]:
        say(f"{file}: {bad.place}: {bad.reason}", "yellow")
    if len(rejected) > _REJECTED_SHOWN:
        say(f"{file}: {len(rejected) - _REJECTED_SHOWN} more rows could not be used; --json lists them", "yellow")
    emit(answer, as_json, fitted_page)


def _read(file: Path) -> tuple[list[Point], list[BadLine]]:
    from producers.sources.points import read
    from workers.curves.points import Point
    from workers.ingest.readers.errors import SourceError

    points: list[Point] = []
    rejected: list[BadLine] = []
    try:
        for each in read(file):
            if isinstance(each, Point):
                points.append(each)
            else:
                rejected.append(each)
    except SourceError as error:
        raise UserError(f"{file}: {error}") from None
    if not points:
        first = f": {rejected[0].place}: {rejected[0].reason}" if rejected else ""
        raise UserError(f"{file}: no row could be used{first}")
    return points, rejected


def _draw(series: Mapping[str, Any], metric: str, title: str, plot: Path | None) -> None:
    from producers.render.curve import save_plot
    from producers.render.plots import asked_for

    if plot is not None and series:
        with asked_for(plot, "Curve"):
            save_plot(series, metric, title, plot)


def _counts(worth: str | None) -> Worth:
    try:
        return parse(worth)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--worth") from None


def _numbers(text: str) -> list[int]:
    try:
        sizes = [int(each) for each in text.split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1 or max(sizes) > LARGEST_BIGINT:
        raise typer.BadParameter("give numbers of pairs, separated by commas: --sizes 25,50,100", param_hint="--sizes")
    return sizes


def _names(text: str, option: str, known: Collection[str]) -> list[Any]:
    names = list(dict.fromkeys(each.strip() for each in text.split(",")))
    if not set(names) <= set(known):
        raise typer.BadParameter(f"give one or more of {', '.join(known)}, separated by commas", param_hint=option)
    return names


def _budget(name: str) -> Any:
    from producers.curve.points import Budget

    if name not in get_args(Budget):
        raise typer.BadParameter("say epochs or steps", param_hint="--budget")
    return name


def _sizes(text: str) -> list[float]:
    from producers.sources.points import LARGEST_SIZE

    try:
        sizes = [float(each) for each in text.split(",")]
    except ValueError:
        sizes = []
    if not sizes or not all(1 / LARGEST_SIZE <= each <= LARGEST_SIZE for each in sizes):
        raise typer.BadParameter(f"give sizes above 0, up to {LARGEST_SIZE:g}, separated by commas: --at 800,1600", param_hint="--at")
    return sizes
