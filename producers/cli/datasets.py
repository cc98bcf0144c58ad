"""The verbs of datasets: synthesize, datasets, dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.cli.asking import Overrides, RecipeFile, Wait
from producers.cli.output import DATA, AsJson, emit, example, say

if TYPE_CHECKING:
    from rich.console import RenderableType

_EXAMPLES_SHOWN = 3


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    recipe = "tweetmill synthesize -r recipes/synthesis-summary.yaml"
    app.command(rich_help_panel=DATA, epilog=example(recipe, f"{recipe} dataset=more noise.copies=5"))(synthesize)
    app.command(rich_help_panel=DATA, epilog=example("tweetmill datasets"))(datasets)
    app.command(rich_help_panel=DATA, epilog=example("tweetmill dataset summaries", "tweetmill dataset summaries --json | jq .counts"))(
        dataset
    )


def synthesize(recipe: RecipeFile, overrides: Overrides = None, wait: Wait = True, as_json: AsJson = False) -> None:
    """Build a dataset of a recipe: curated pairs, and clean sentences messed up in the fashion of the ingested tweets."""
    from sqlalchemy import text

    from producers.cli.asking import asked, ended, job_line, say_rejected
    from producers.recipes import read_synthesis
    from tasks import synthesis
    from workers.store import transaction

    spec = read_synthesis(recipe, overrides or [], lambda path, counts: say_rejected(str(path), counts))
    with transaction() as connection:
        tweets = connection.execute(text("SELECT count(*) FROM tweet")).scalar_one()
    submitted = synthesis.enqueue(spec, tweets=tweets)
    if not wait:
        emit(asked(submitted), as_json, job_line)
        return
    job = ended(submitted)
    emit({"job": str(job.id), **(job.result or {})}, as_json, _built_line)


def _built_line(answer: dict[str, Any]) -> RenderableType:
    from rich.text import Text

    counts = ", ".join(f"{name} {count:,}" for name, count in answer["counts"].items())
    return Text(f"Dataset {answer['dataset']}: {counts}.\n`tweetmill dataset {answer['dataset']}` shows some examples.")


_DATASETS = """
SELECT dataset.name, dataset.created_at, dataset.fingerprint, dataset.recipe->>'stage' AS stage, count(example.key) AS examples,
       count(example.key) FILTER (WHERE example.split = 'train') AS train,
       count(example.key) FILTER (WHERE example.split = 'test') AS test
FROM dataset LEFT JOIN example ON example.dataset = dataset.id
GROUP BY dataset.id ORDER BY dataset.created_at DESC, dataset.id DESC
"""


def datasets(as_json: AsJson = False) -> None:
    """List the datasets, the newest first."""
    from sqlalchemy import text

    from workers.store import transaction

    with transaction() as connection:
        found = [dict(row._mapping) for row in connection.execute(text(_DATASETS))]
    emit(found, as_json, _datasets_table)
    if not found and not as_json:
        say("No dataset yet: [bold]tweetmill synthesize[/bold] builds one.")


def _datasets_table(found: list[dict[str, Any]]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("dataset", "stage", "train", "test", "created"):
        table.add_column(column, justify="right" if column in ("train", "test") else "left")
    for each in found:
        row = (each["name"], each["stage"] or "", f"{each['train']:,}", f"{each['test']:,}", f"{each['created_at']:%Y-%m-%d %H:%M}")
        table.add_row(*map(Text, row))
    return table


# A few of each kind, the same ones every time.
_EXAMPLES = """
SELECT origin, split, prompt_text AS prompt, target_text AS target
FROM (SELECT *, row_number() OVER (PARTITION BY split, origin ORDER BY key) AS place FROM example WHERE dataset = :dataset) AS numbered
WHERE place <= :shown ORDER BY split DESC, origin, place
"""


def dataset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The dataset's name.")],
    shown: Annotated[int, typer.Option("--examples", "-n", min=0, max=1000, help="Examples of each kind to show.")] = _EXAMPLES_SHOWN,
    as_json: AsJson = False,
) -> None:
    """Show a dataset: its recipe, its counts by split and origin, and a few examples."""
    from sqlalchemy import text

    from workers.errors import NotFound
    from workers.store import transaction

    with transaction() as connection:
        row = connection.execute(text("SELECT * FROM dataset WHERE name = :name"), {"name": name}).one_or_none()
        if row is None:
            raise NotFound(f"dataset {name}: there is none. `tweetmill datasets` lists them")
        counts = connection.execute(
            text("SELECT split, origin, count(*) AS examples FROM example WHERE dataset = :id GROUP BY 1, 2 ORDER BY 1 DESC, 2"),
            {"id": row.id},
        )
        seen: dict[str, Any] = {"name": row.name, "created_at": row.created_at, "fingerprint": row.fingerprint, "recipe": row.recipe}
        seen["counts"] = [dict(count._mapping) for count in counts]
        examples = connection.execute(text(_EXAMPLES), {"dataset": row.id, "shown": shown})
        seen["examples"] = [dict(each._mapping) for each in examples]
    emit(seen, as_json, _dataset_page)


def _dataset_page(seen: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column()
    facts.add_row("dataset", Text(seen["name"]))
    facts.add_row("built", f"{seen['created_at']:%Y-%m-%d %H:%M}")
    facts.add_row("fingerprint", seen["fingerprint"][:12])
    for key, value in seen["recipe"].items():
        if key != "dataset" and value is not None:
            facts.add_row(f"recipe {key}", Text(str(value)))
    for count in seen["counts"]:
        facts.add_row(f"{count['split']} {count['origin']}", f"{count['examples']:,}")
    if not seen["examples"]:
        return facts
    examples = Table(show_lines=True, header_style="bold")
    for column in ("split", "origin", "tweet", "target"):
        examples.add_column(column)
    for each in seen["examples"]:
        examples.add_row(each["split"], each["origin"], Text(each["prompt"]), Text(each["target"]))
    return Group(facts, examples)
