"""The verbs between datasets and files of other tools: import pairs, and dataset export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.cli.default_command import by_default
from producers.cli.serving import batch
from producers.render.examples import dropped_sentence, flagged_sentence
from producers.render.output import DATA, AsJson, emit, example, styled
from producers.submitting import Encoding, Wait
from schemas.forms import Form
from schemas.numbers import LARGEST_BIGINT

if TYPE_CHECKING:
    from rich.console import RenderableType

    from schemas.synthesis import SynthesisSpec
    from tasks.enqueue import Submitted
    from workers.ingest.counts import Counts

FormOption = Annotated[Form, typer.Option("--form", help="How a row says what is asked and answered.")]


def register(app: typer.Typer) -> None:
    """Add the group import; `producers.cli.dataset.verbs` adds export to its own."""
    lines = (
        "tweetmill import teacher.jsonl --form alpaca --dataset taught",
        "tweetmill import edited.csv --form csv --map prompt=tweet,completion=short --dataset edited --test-size 100",
    )
    group = typer.Typer(
        cls=by_default("pairs"),
        no_args_is_help=True,
        rich_markup_mode="rich",
        help="Bring in what other tools made: pairs to learn from, summaries. `import FILE` is `import pairs FILE`.",
        epilog=example(*lines, "tweetmill import summaries answers.parquet --model demo"),
    )
    spelt = (command.replace("tweetmill import", "tweetmill import pairs") for command in lines)
    group.command("pairs", epilog=example(*spelt))(pairs)
    group.command("summaries", epilog=batch.IMPORT_EXAMPLES)(batch.import_summaries)
    app.add_typer(group, name="import", rich_help_panel=DATA)


def pairs(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON, a CSV with a header, or Parquet; also packed.")],
    form: FormOption,
    dataset: Annotated[str, typer.Option(metavar="NAME", help="The name of the dataset to make.")],
    columns: Annotated[
        str | None,
        typer.Option(
            "--map",
            metavar="prompt=COLUMN,completion=COLUMN",
            help="Columns of another name or dotted paths, for csv and prompt-completion.",
        ),
    ] = None,
    stage: Annotated[
        str, typer.Option(metavar="summary|clean", help="What the answers are: summaries, or the whole message in standard English.")
    ] = "summary",
    test_size: Annotated[
        int, typer.Option(min=0, max=LARGEST_BIGINT, help="Hold N rows back for the test; only right where a person wrote the answers.")
    ] = 0,
    limit: Annotated[
        int | None, typer.Option(min=1, max=LARGEST_BIGINT, help="At most N rows, drawn by the seed.", show_default=False)
    ] = None,
    strip_instruction: Annotated[
        bool, typer.Option("--strip-instruction", help="Take off what every prompt begins with and ends in, such as an instruction.")
    ] = False,
    licence: Annotated[str | None, typer.Option(help="Under which the rows came; `why` shows it.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_BIGINT, help="Draws the test and the limit.")] = 0,
    encoding: Encoding = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Make a dataset of pairs from another tool. Rows that can't be used are kept with their line, field and reason.

    A recipe mixes imports with your own pairs and with noise: see its key imports.
    """
    from producers.recipes import import_source
    from producers.submitting import say_rejected
    from tasks import synthesis

    source = {"file": str(file), "form": form, "map": _columns(columns), "stage": stage, "human": test_size > 0, "limit": limit}
    source |= {"licence": licence, "strip_instruction": strip_instruction, "encoding": encoding}
    spec = _spec({"dataset": dataset, "stage": stage, "imports": source, "test_size": test_size, "seed": seed})
    assert spec.imports is not None
    became: dict[str, int] = {}

    def report_file(path: Path, counts: Counts) -> None:
        became.update({name: getattr(counts, name) for name in ("read", "inserted", "duplicates", "rejected")})
        say_rejected(str(path), counts)

    brought = import_source(spec.imports, Path(), report_file)
    spec = spec.model_copy(update={"imports": brought})
    synthesis.check(spec)
    # Without noise nothing depends on the tweets.
    built(synthesis.enqueue(spec, tweets=0), wait, as_json, {"rows": became})


def _spec(values: dict[str, Any]) -> SynthesisSpec:
    from pydantic import ValidationError

    from schemas.synthesis import SynthesisSpec

    try:
        return SynthesisSpec.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        option = f"--{str(first['loc'][-1]).replace('_', '-')}" if first["loc"] else None
        raise typer.BadParameter(first["msg"].removeprefix("Value error, "), param_hint=option) from None


def _columns(option: str | None) -> dict[str, str] | None:
    from producers.submitting import parse_map

    return parse_map(option, ("prompt", "completion"), "prompt=COLUMN,completion=COLUMN, or one of them") or None


def built(submitted: Submitted, wait: bool, as_json: bool, before: dict[str, Any] | None = None) -> None:
    """Print the result of a verb that builds a dataset: its job, or, once that has ended, what was built; and what came before it."""
    from producers.submitting import asked, ended, job_line

    if not wait:
        emit(asked(submitted) | (before or {}), as_json, job_line)
        return
    job = ended(submitted)
    emit({"job": str(job.id), **(job.result or {}), **(before or {})}, as_json, _built_line)


def _built_line(answer: dict[str, Any]) -> RenderableType:
    counts_of = answer["counts"]
    counts = ", ".join(f"{name} {count:,}" for name, count in counts_of.items() if not name.startswith("dropped_"))
    noise = answer.get("noise")
    sources = f" Its noise: {noise['profile']}, learnt from {noise['tweets']:,} tweets." if noise else ""
    sources += _teacher_line(answer.get("teacher"))
    sources += dropped_sentence(answer.get("dropped") or {}) + flagged_sentence(answer.get("flagged") or {}, counts_of.get("flagged", 0))
    name = answer["dataset"]
    then = f"`tweetmill dataset show {name}` shows some examples"
    then += f", `tweetmill review {name}` the flagged ones first." if answer.get("flagged") else "."
    if counts_of.get("rejected"):
        then += f" `tweetmill rejected --origin {name}` says why rows were rejected."
    rows = answer.get("rows")
    came = ""
    if rows:
        new, known, refused = rows["inserted"], rows["duplicates"], rows["rejected"]
        came = f"The file: {new:,} new rows, {known:,} known already, {refused:,} rejected.\n"
    return styled(f"{came}Dataset {name}: {counts}.{sources}\n{then}")


def _teacher_line(teacher: dict[str, Any] | None) -> str:
    if not teacher:
        return ""
    text = f" Its teacher {teacher['model']}: {teacher['asked']:,} tweets asked, {teacher['cached']:,} known before"
    text += f", {teacher['accepted']:,} answers learnt from, {teacher['rejected']:,} dropped" if "accepted" in teacher else ""
    text += "".join(f", {number:,} not asked because of {budget}" for budget, number in teacher["not_asked"].items())
    text += f", {teacher['unanswered']:,} without an answer" if teacher["unanswered"] else ""
    text += f"; {teacher['usd']:.4g} USD and {teacher['seconds']:,.0f} s"
    if estimated := teacher.get("tokens_estimated"):
        text += f", with the tokens of {estimated:,} requests estimated, since the server returned no usable count"
    if without := teacher.get("asked_without"):
        text += f". The server takes no {', '.join(without)}: it was asked without"
    return f"{text}."


def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The dataset's name.")],
    form: FormOption,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the files go; other datasets may be there.")],
    split: Annotated[str | None, typer.Option(metavar="train|test", help="Only this split; default: both.", show_default=False)] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="A CSV for a program: without the apostrophes before cells that a spreadsheet would compute.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a dataset for other tools: a file a split, and an entry in LLaMA-Factory's dataset_info.json.

    The same examples give the same bytes. `tweetmill import` reads the files again.
    """
    from workers import database
    from workers.catalog import datasets
    from workers.catalog.examples.export import DATASET_INFO, SPLITS, write_dataset

    if split is not None and split not in SPLITS:
        raise typer.BadParameter(f"there are {' and '.join(SPLITS)}", param_hint="--split")
    if raw and form is not Form.CSV:
        raise typer.BadParameter(f"{form} is exact as it is: --raw goes with --form csv", param_hint="--raw")
    with database.session() as session:
        found = datasets.resolve(session, name)
        written = write_dataset(session, found.id, name, form, out, (split,) if split else SPLITS, raw)
    answer = {"dataset": name, "form": form, "files": written, "dataset_info": out / DATASET_INFO}
    emit(answer, as_json, _export_lines)


def _export_lines(answer: dict[str, Any]) -> RenderableType:
    lines = [f"{each.file}: {each.rows:,} rows of {each.split}, sha256 {each.sha256[:12]}" for each in answer["files"]]
    return styled("\n".join([*lines, f"{answer['dataset_info']}: their entries for LLaMA-Factory"]))
