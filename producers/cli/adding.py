"""The group models: without a verb of its own it lists them; add takes in one that was tuned elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from producers.render.output import MODELS, AsJson, emit, example, say

_ADD = (
    "tweetmill models add ./my-adapter --name mine --base HuggingFaceTB/SmolLM2-135M-Instruct",
    "tweetmill models add someone/tweets-merged --name theirs --dataset summaries",
    "tweetmill models add --served http://127.0.0.1:8000/v1 --model tweets --name remote",
)


def register(app: typer.Typer, listing: Callable[[bool], None]) -> None:
    """Add the group.

    Args:
        app: to add it to.
        listing: lists the models, as JSON or for people.
    """
    group = typer.Typer(rich_markup_mode="rich", help="List the models, the newest first; or add one that was tuned elsewhere.")

    @group.callback(invoke_without_command=True)
    def models(ctx: typer.Context, as_json: AsJson = False) -> None:
        if ctx.invoked_subcommand is None:
            listing(as_json)

    group.command(epilog=example(*_ADD))(add)
    app.add_typer(group, name="models", rich_help_panel=MODELS, epilog=example("tweetmill models", _ADD[0]))


def add(
    source: Annotated[
        str | None, typer.Argument(metavar="[FOLDER|HUB-ID]", help="An adapter of PEFT's, or a whole model in safetensors.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the model is called here.")] = "",
    base: Annotated[str | None, typer.Option(help="An adapter's base: a folder, a name in the models folder, or a hub id.")] = None,
    any_base: Annotated[bool, typer.Option("--any-base", help="Take --base though the adapter calls its base otherwise.")] = False,
    served: Annotated[str | None, typer.Option(metavar="URL", help="Instead of files: the address of a server's API, with /v1.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="With --served: the model's name at the server.")] = None,
    key_variable: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --served: the environment variable TWEETMILL_SERVED_KEY… that holds its key.")
    ] = None,
    stage: Annotated[str, typer.Option(help="What it writes: summary or clean.")] = "summary",
    dataset: Annotated[str | None, typer.Option(help="The dataset whose held-back examples it is evaluated on.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take a model that was tuned elsewhere into the catalog: evaluate, promote, summarize and serve then treat it as one of yours.

    Files are checked and copied; pickles and code are never loaded. It takes a worker's login, but for --served.
    """
    from schemas.payloads import Stage

    if stage not in tuple(Stage):
        raise typer.BadParameter(f"{stage}: give {' or '.join(Stage)}", param_hint="--stage")
    if not name:
        raise typer.BadParameter("give the model a name", param_hint="--name")
    if (source is None) == (served is None):
        raise typer.BadParameter("name a folder or a hub id, or give --served URL")
    answer = _add_served(name, served, model, key_variable, Stage(stage), dataset) if served else None
    if answer is None:
        if model is not None or key_variable is not None:
            raise typer.BadParameter("--model and --key-variable go with --served")
        answer = _add_files(str(source), name, base, any_base, Stage(stage), dataset)
    if not as_json:
        for warning in answer["warnings"]:
            say(f"Note: {warning}.", "yellow")
    emit(
        answer, as_json, lambda told: f"Model {told['name']} is in the catalog. `tweetmill evaluate {told['name']}` says what it is worth."
    )


def _add_served(name: str, url: str, model: str | None, key_variable: str | None, stage: Any, dataset: str | None) -> dict[str, Any]:
    from workers.registration import served

    if model is None:
        raise typer.BadParameter("give the model's name at the server", param_hint="--model")
    return _answer(served.add(name, url, model, key_variable, stage, dataset), ())


def _add_files(source: str, name: str, base: str | None, any_base: bool, stage: Any, dataset: str | None) -> dict[str, Any]:
    from workers.registration import folders

    added = folders.add(folders.Wanted(source, name, base, stage, dataset, any_base))
    return _answer(added.model, added.warnings)


def _answer(model: Any, warnings: tuple[str, ...]) -> dict[str, Any]:
    fields = {name: getattr(model, name) for name in ("id", "name", "base", "method", "stage", "details")}
    return {**fields, "adapter": model.adapter_uri, "adapter_sha256": model.adapter_sha256, "warnings": list(warnings)}
