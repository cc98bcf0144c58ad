"""The verbs that write what other programs load: export a model, export tweets."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.cli.default_command import by_default
from producers.cli.serving import batch
from producers.render.output import MODELS, AsJson, emit, example, line, styled, titled_table
from producers.submitting import Wait
from schemas.numbers import LARGEST_BIGINT

if TYPE_CHECKING:
    from rich.console import RenderableType

    from schemas.payloads import ExportSpec


class Format(StrEnum):
    """What other programs load."""

    ADAPTER = "adapter"
    MERGED = "merged"
    GGUF = "gguf"
    OLLAMA = "ollama"
    MLX_READY = "mlx-ready"


class NumberFormat(StrEnum):
    """Number formats of a GGUF file."""

    F16 = "f16"
    Q8_0 = "q8_0"
    Q4_0 = "q4_0"
    Q4_K_M = "q4_k_m"


_OF_GGUF = (Format.GGUF, Format.OLLAMA)


def register(app: typer.Typer) -> None:
    """Add the group export."""
    lines = (
        "tweetmill export demo --format merged",
        "tweetmill export demo --format adapter --base-id HuggingFaceTB/SmolLM2-135M-Instruct -o mine",
        "tweetmill export demo --format ollama --quant q8_0 --check 100 --max-loss 1",
        "tweetmill export demo --verify mine --json | jq .check",
    )
    group = typer.Typer(
        cls=by_default("model"),
        no_args_is_help=True,
        rich_markup_mode="rich",
        help="Write what programs elsewhere load: a model, tweets with their prompts. `export MODEL` is `export model MODEL`.",
        epilog=example(*lines, batch.EXPORT_EXAMPLES[0]),
    )
    spelt = (command.replace("tweetmill export", "tweetmill export model") for command in lines)
    group.command("model", epilog=example(*spelt))(export)
    group.command("tweets", epilog=example(*batch.EXPORT_EXAMPLES))(batch.export_tweets)
    app.add_typer(group, name="export", rich_help_panel=MODELS)


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, its id, or latest.")],
    format_: Annotated[Format | None, typer.Option("--format", "-f", help="What other programs load.", show_default=False)] = None,
    quant: Annotated[NumberFormat | None, typer.Option(help="Number format of a GGUF file; default: f16.", show_default=False)] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="On the worker; default: below its models folder.", show_default=False),
    ] = None,
    check: Annotated[int, typer.Option("--check", min=1, max=10_000, metavar="N", help="Held-back tweets that go through both.")] = 20,
    max_loss: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Points of SARI that it may lose; default: any, and they are told.", show_default=False),
    ] = None,
    base_id: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="The base's id on the Hugging Face hub.", show_default=False)
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(metavar="FILE.jsonl", help="Check by lines of id, text, summary; default: the test split.", show_default=False),
    ] = None,
    verify: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Check the export that lies there, and write none.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_BIGINT, help="Draws the intervals.")] = 0,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Write a model as other programs load it, and check by a round trip that it is the same model there."""
    from producers.submitting import asked, ended, job_line
    from schemas.payloads import ExportSpec
    from tasks import export as exports

    folder = verify or output
    _check_together(format_, quant, output, verify)
    spec = ExportSpec(
        model_id=_id_of(model),
        format="merged" if format_ is None else format_.value,
        quant=None if quant is None else quant.value,
        folder=None if folder is None else str(folder.absolute()),
        check=check,
        max_loss=max_loss,
        base_id=base_id,
        references=_references(references),
        verify=verify is not None,
        seed=seed,
    )
    submitted = exports.enqueue(spec)
    if not wait:
        emit(asked(submitted), as_json, job_line)
        return
    emit(ended(submitted).result or {}, as_json, lambda result: _page(result, spec))


def _check_together(format_: Format | None, quant: NumberFormat | None, output: Path | None, verify: Path | None) -> None:
    if verify is not None and (format_, quant, output) != (None, None, None):
        raise typer.BadParameter("the folder says what it is: leave --format, --quant and -o out", param_hint="--verify")
    if verify is None and format_ is None:
        raise typer.BadParameter(f"give one: {', '.join(Format)}", param_hint="--format")
    if quant is not None and format_ not in _OF_GGUF:
        raise typer.BadParameter(f"it is for {' and '.join(_OF_GGUF)}: {format_} keeps the weights as they are", param_hint="--quant")


def _id_of(reference: str) -> int:
    from workers import database
    from workers.catalog import models

    with database.session() as session:
        return models.resolve(session, reference).id


def _references(file: Path | None) -> str | None:
    from producers.submitting import say_rejected
    from workers.ingest.curated import import_collection

    return None if file is None else import_collection(file, "references", lambda counts: say_rejected(str(file), counts))


def _page(result: dict[str, Any], spec: ExportSpec) -> RenderableType:
    from rich.console import Group

    size = sum(file["bytes"] for file in result["files"].values())
    quant = f", {result['quant']}" if result["quant"] else ""
    done = "Checked" if spec.verify else "Written to"
    parts: list[RenderableType] = [styled(f"{done} {line(result['folder'])}: {result['format']}{quant}, {size / 1e6:,.1f} MB", "bold")]
    for part in result.get("parts", [result]):
        parts += _checked(part)
    if not spec.verify:
        parts.append(styled("Its README.md has the prompt to send, a curl line and a few lines of Python."))
    return Group(*parts)


def _checked(part: dict[str, Any]) -> list[RenderableType]:
    check = part["check"]
    table = titled_table(f"{part['model']}: the same model?" if "model" in part else "The same model?")
    for head in ("", "original", "export", "difference, 95%"):
        table.add_column(head, justify="left" if not head else "right", no_wrap=bool(head))
    n, costs = check["n"], check["cost"]
    for words, key in (("prompts, byte for byte", "same_prompts"), ("their tokens", "same_tokens"), ("summaries", "same_summaries")):
        table.add_row(words, "", f"{check[key]} of {n} the same", "")
    for words, key, digits in (("SARI", "sari", 2), ("form kept", "promise", 3), ("words kept", "faithful", 3)):
        figure = check[key]
        apart = f"{figure['difference']:+.{digits}f} ({figure['low']:+.{digits}f} to {figure['high']:+.{digits}f})"
        table.add_row(words, f"{figure['original']:.{digits}f}", f"{figure['export']:.{digits}f}", apart)
    divergence = check["divergence"]
    if divergence:
        table.add_row("divergence, nats a token", "", f"{divergence['mean']:.2g}", f"at most {divergence['largest']:.2g}")
    for words, key in (("tokens a second", "tokens_per_second"), ("seconds to load", "load_seconds")):
        table.add_row(words, f"{costs['original'][key]:g}", f"{costs['export'][key]:g}", "")
    table.add_row("memory at most, MiB", *(f"{costs[side]['peak_bytes'] / 2**20:,.0f}" for side in ("original", "export")), "")
    rows: list[RenderableType] = [table, styled(f"n = {n}; first answers, without the guard. Loaded by {check['engine']}.", style="dim")]
    rows += [
        styled(f"{host['host']}: {'takes it' if host['takes'] else 'does not take it'}; {host['why']}.") for host in part.get("hosts", [])
    ]
    return rows
