"""The verbs that change models: rename, rm."""

from __future__ import annotations

from typing import Annotated

import typer

from producers.render.output import MODELS, AsJson, emit, example, say

Reference = Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, its id, or latest.")]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="Its new name.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(rich_help_panel=MODELS, epilog=example("tweetmill rename demo better"))(rename)
    app.command(rich_help_panel=MODELS, epilog=example("tweetmill rm demo", "tweetmill rm demo --with-results --yes"))(rm)


def rename(reference: Reference, name: NewName, as_json: AsJson = False) -> None:
    """Give a model another name. Its files stay where they are; summaries, evaluations and chains keep to it."""
    from workers import database
    from workers.catalog import model_card, model_changes, models

    with database.session() as session:
        model = models.resolve(session, reference)
        answer = {"id": model.id, "before": model.name}
        answer["name"] = model_changes.rename(session, model, name).name
    model_card.refresh(model=model.id)
    emit(answer, as_json, lambda told: f"Model {told['before']} is called {told['name']} now.")


def rm(
    reference: Reference,
    with_results: Annotated[bool, typer.Option("--with-results", help="Remove its summaries and evaluations too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a model and its files. One that a job or a chain needs stays, and one with summaries or evaluations unless you say so."""
    from workers import database
    from workers.catalog import model_changes, models
    from workers.catalog.removal import merged_models

    with database.session() as session:
        model = models.resolve(session, reference)
        name, number = model.name, model.id
        hangs = model_changes.check_removable(session, model, with_results=with_results)
    more = f" with {hangs}" if str(hangs) else ""
    if not yes:
        typer.confirm(f"Remove model {name}{more}, and its files in {model.adapter or 'no folder'}?", abort=True, err=True)
    with database.session() as session:
        folder = model_changes.remove(session, models.by_id(session, number), with_results=with_results)
    there = model_changes.remove_files(folder) if folder is not None else False
    if folder is not None and not there:
        say(f"Its files are not in this machine's models folder: {folder} stays where it is.")
    merged = merged_models.remove(merged_models.of_model(folder) if folder is not None else ())
    if merged.busy:
        say("It is being merged for a server at this moment: `tweetmill prune` removes what becomes of it.")
    answer = {"id": number, "name": name, "summaries": hangs.summaries, "evaluations": hangs.evaluations, "files": there}
    answer["merged"] = merged.models
    emit(answer, as_json, lambda _: f"Model {name} is removed{more}.")
