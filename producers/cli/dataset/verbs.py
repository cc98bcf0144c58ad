"""The verbs of datasets: synthesize, datasets, and the group dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from producers.cli.dataset import diff, dropped, exchange
from producers.render.output import DATA, AsJson, brief, emit, example, say, styled
from producers.submitting import Overrides, RecipeFile, Wait

if TYPE_CHECKING:
    from rich.console import RenderableType

_EXAMPLES_SHOWN = 3

Name = Annotated[str, typer.Argument(metavar="NAME", help="The dataset's name.")]


class _ShowsByName(TyperGroup):
    """`tweetmill dataset NAME` is short for `tweetmill dataset show NAME`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = next((word for word in args if not word.startswith("-")), None)
        if first is not None and first not in self.commands:
            args = ["show", *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    recipe = "tweetmill synthesize -r recipes/synthesis-summary.yaml"
    app.command(rich_help_panel=DATA, epilog=example(f"{recipe} --preview 10", recipe, f"{recipe} dataset=more noise.copies=5"))(synthesize)
    app.command(rich_help_panel=DATA, epilog=example("tweetmill datasets"))(datasets)
    group = typer.Typer(cls=_ShowsByName, no_args_is_help=True, rich_markup_mode="rich")
    group.command("list", epilog=example("tweetmill dataset list --json | jq '.[].name'"))(datasets)
    group.command(epilog=example("tweetmill dataset show summaries", "tweetmill dataset show summaries --json | jq .counts"))(show)
    group.command(
        epilog=example("tweetmill dataset diff summaries more", "tweetmill dataset diff summaries more --json | jq .changed.count")
    )(diff.diff)
    group.command(
        epilog=example("tweetmill dataset dropped summaries", "tweetmill dataset dropped summaries --reason new_name --json | jq .examples")
    )(dropped.dropped)
    group.command(epilog=example("tweetmill dataset export summaries --form messages --out exported"))(exchange.export)
    app.add_typer(
        group,
        name="dataset",
        rich_help_panel=DATA,
        help="Look at datasets: list, show NAME (or the name alone), dropped, diff, export.",
        epilog=example("tweetmill dataset list", "tweetmill dataset summaries"),
    )


def synthesize(
    recipe: RecipeFile,
    overrides: Overrides = None,
    preview: Annotated[
        int | None,
        typer.Option("--preview", metavar="N", min=1, max=100, help="Only show what it would give, N of each origin; no worker is needed."),
    ] = None,
    ask_again: Annotated[
        str | None,
        typer.Option(
            "--ask-again", metavar="unanswered", help="Ask the teacher once more about tweets that it refused for good.", show_default=False
        ),
    ] = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Build a dataset of a recipe: curated pairs, imports, a teacher's answers, and texts with the noise of the ingested tweets.

    A preview stores no dataset. A teacher is asked about N tweets for it, which the run does not ask again.
    """
    from producers.recipes import read_synthesis
    from producers.submitting import say_rejected
    from tasks import synthesis
    from workers import database
    from workers.catalog import tweets

    again = [] if ask_again is None else [f"teacher.ask_again={ask_again}"]
    spec = read_synthesis(recipe, [*(overrides or []), *again], lambda path, counts: say_rejected(str(path), counts))
    if preview is not None:
        from producers.render.preview import page

        emit(synthesis.previewed(spec, preview), as_json, page)
        return
    for note in synthesis.check(spec):
        say(f"Note: {note}.", "yellow")
    with database.session() as session:
        ingested = tweets.count(session)
    exchange.built(synthesis.enqueue(spec, tweets=ingested), wait, as_json)


def datasets(as_json: AsJson = False) -> None:
    """List the datasets, the newest first."""
    from workers import database
    from workers.catalog import datasets

    with database.session() as session:
        found = datasets.listed(session)
    emit(found, as_json, _datasets_table)
    if not found and not as_json:
        say("No dataset yet: `tweetmill synthesize` builds one, `tweetmill import` makes one of a file.")


def _datasets_table(found: list[dict[str, Any]]) -> RenderableType:
    from producers.render.listing import Column, Listing

    columns = (
        Column("dataset", least=40),
        Column("stage", 3),
        Column("train", right=True),
        Column("test", right=True),
        Column("created", 2),
        Column("fingerprint", 1),
    )
    rows = [
        (
            each["name"],
            each["stage"] or "",
            f"{each['train']:,}",
            f"{each['test']:,}",
            f"{each['created_at']:%Y-%m-%d %H:%M}",
            each["fingerprint"][:12],
        )
        for each in found
    ]
    return Listing(columns, rows)


def show(
    name: Name,
    shown: Annotated[int, typer.Option("--examples", "-n", min=0, max=1000, help="Examples of each kind to show.")] = _EXAMPLES_SHOWN,
    as_json: AsJson = False,
) -> None:
    """Show a dataset: its recipe, its counts by split and origin, and a few examples."""
    from workers import database
    from workers.catalog import datasets
    from workers.catalog.removal import taken_back

    with database.session() as session:
        found = datasets.resolve(session, name)
        seen: dict[str, Any] = {
            "name": found.name,
            "created_at": found.created_at,
            "fingerprint": found.fingerprint,
            "recipe": found.recipe,
        }
        seen["counts"] = datasets.counts(session, found.id)
        seen["taken_back"] = taken_back.of_dataset(session, found.id)
        number, reasons = datasets.flagged(session, found.id)
        seen["flagged"] = {"examples": number, "reasons": reasons}
        seen["examples"] = datasets.examples(session, found.id, shown)
    emit(seen, as_json, _dataset_page)


def _dataset_page(seen: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    from producers.render.examples import blocks, flagged_sentence

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("dataset", styled(seen["name"]))
    facts.add_row("built", f"{seen['created_at']:%Y-%m-%d %H:%M}")
    facts.add_row("fingerprint", seen["fingerprint"][:12])
    for key, value in seen["recipe"].items():
        if key != "dataset" and value is not None:
            facts.add_row(f"recipe {key}", styled(brief(value)))
    for count in seen["counts"]:
        facts.add_row(f"{count['split']} {count['origin']}", f"{count['examples']:,}")
    if seen["taken_back"]:
        facts.add_row("taken back", f"{seen['taken_back']:,} examples, which the fingerprint still counts: their tweets were forgotten")
    flags = flagged_sentence(seen["flagged"]["reasons"], seen["flagged"]["examples"]).strip()
    if not seen["examples"]:
        return Group(facts, styled(flags)) if flags else facts
    examples = blocks(
        (f"{each['key'][:8]} · {each['split']} · {each['origin']}", {"tweet": each["prompt"], "target": each["target"]})
        for each in seen["examples"]
    )
    then = styled("`tweetmill why EXAMPLE` says where one came from.", style="dim")
    if not flags:
        return Group(facts, examples, then)
    return Group(facts, examples, then, styled(f"{flags} `tweetmill review {seen['name']}` shows them first.", style="yellow"))
