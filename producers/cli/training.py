"""The verbs of models: train, models, model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.cli import adding
from producers.render.output import MODELS, AsJson, emit, example, say, styled
from producers.submitting import Overrides, RecipeFile, Wait

if TYPE_CHECKING:
    from rich.console import RenderableType

    from producers.render.training import Curves


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    recipe = "tweetmill train -r recipes/demo-train.yaml"
    app.command(rich_help_panel=MODELS, epilog=example(recipe, f"{recipe} name=slower learning_rate=2e-4"))(train)
    adding.register(app, models)
    app.command(rich_help_panel=MODELS, epilog=example("tweetmill model latest", "tweetmill model demo --plot loss.png"))(model)


def train(recipe: RecipeFile, overrides: Overrides = None, wait: Wait = True, as_json: AsJson = False) -> None:
    """Fine-tune a model as a recipe says. The same recipe on the same examples is one job."""
    from producers.recipes import read_training
    from producers.submitting import asked, ended, job_line
    from tasks import training
    from workers import database
    from workers.catalog import datasets, models
    from workers.errors import NotFound

    spec = read_training(recipe, overrides or [])
    with database.session() as session:
        dataset = datasets.find(session, spec.dataset)
    if dataset is None:
        raise NotFound(f"dataset {spec.dataset}: there is none. `tweetmill datasets` lists them, `tweetmill synthesize` builds one")
    submitted = training.enqueue(spec, dataset_fingerprint=dataset.fingerprint)
    if not wait:
        emit(asked(submitted), as_json, job_line)
        return
    job = ended(submitted)
    with database.session() as session:
        # A second model of the same name gets another one.
        made = models.of_job(session, job.id)
    emit({"job": str(job.id), **(job.result or {}), "model": made.name if made else spec.name}, as_json, _trained_line)


def _trained_line(answer: dict[str, Any]) -> RenderableType:
    loss = f", final loss {answer['final_loss']:.3f}" if "final_loss" in answer else ""
    dropped = f" {answer['dropped']:,} lines of its training file were left out: `tweetmill job` says why." if answer.get("dropped") else ""
    return styled(f"Model {answer['model']}{loss}.{dropped}\n`tweetmill evaluate {answer['model']}` says what it is worth.")


def models(as_json: bool = False) -> None:
    """List the models, the newest first."""
    from workers import database
    from workers.catalog import models

    with database.session() as session:
        found = models.listed(session)
    emit(found, as_json, _models_table)
    if not found and not as_json:
        say("No model yet: `tweetmill train` makes one.")


def _models_table(found: list[dict[str, Any]]) -> RenderableType:
    from producers.render.listing import Column, Listing

    serving = any(each["in_service"] for each in found)
    columns = (
        Column("id", right=True),
        Column("model", least=22),
        *[Column("in service", 6, least=12)] * serving,
        Column("base", 4, least=16),
        Column("method", 1),
        Column("stage", 2),
        Column("dataset", 5, least=16),
        Column("loss", 2, right=True),
        Column("created", 3),
    )
    rows = [
        (
            str(each["id"]),
            each["name"],
            *[", ".join(each["in_service"])] * serving,
            Path(each["base"]).name,
            each["method"],
            each["stage"],
            each["dataset"] or "",
            "" if (loss := each["details"].get("final_loss")) is None else f"{loss:.3f}",
            f"{each['created_at']:%Y-%m-%d %H:%M}",
        )
        for each in found
    ]
    return Listing(columns, rows)


def model(
    reference: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, its id, or latest.")],
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE.png", help="Save its curves as an image.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a model: what it was made of and how, its curves, and how its last evaluation ended."""
    from producers.render.training import Curves
    from workers import database
    from workers.catalog import models
    from workers.jobs import queries

    with database.session() as session:
        found = models.resolve(session, reference)
        seen = models.described(session, found.id)
        curves = Curves.of(queries.metrics(session, found.job) if found.job else ())
        scores = models.sari_scores(session, found.id)
    seen["loss"] = [{"step": step, "value": value} for step, value in curves.loss]
    evaluated = {name: points for name, points in curves.series.items() if name.startswith("eval_")}
    seen["evaluations"] = {name: [{"step": step, "value": value} for step, value in points] for name, points in evaluated.items()}
    seen["baselines"] = curves.baselines
    seen["sari"] = [each.model_dump(include={"system", "value", "low", "high", "n"}) for each in scores]
    if plot is not None:
        _save(curves, seen["name"], plot)
    emit(seen, as_json, lambda _: _model_page(seen, curves))


def _save(curves: Curves, name: str, path: Path) -> None:
    from producers.render.plots import asked_for
    from workers.errors import UserError

    if not curves.loss:
        raise UserError(f"model {name} has no loss curve: it was not trained here")
    with asked_for(path, "Curves"):
        curves.save(name, path)


def _model_page(seen: dict[str, Any], curves: Curves) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    from producers.render.training import record_facts
    from schemas.training import TrainingSpec
    from workers.catalog.removal import taken_back

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column()
    for name in ("name", "id", "base", "method", "stage", "dataset", "adapter", "job"):
        facts.add_row(name, styled(str(seen[name] if seen[name] is not None else "none")))
    if "parts" in seen:
        facts.add_row("parts", styled(", then ".join(seen["parts"])))
    if seen["in_service"]:
        facts.add_row("in service", styled(", ".join(seen["in_service"])))
    facts.add_row("made", f"{seen['created_at']:%Y-%m-%d %H:%M}")
    for name, value in seen["details"].items():
        if name not in ("adapter", "sha256", "method") and isinstance(value, str | int | float) and value != "":
            facts.add_row(name, styled(f"{value:g}" if isinstance(value, float) else str(value)))
    defaults = {name: field.default for name, field in TrainingSpec.model_fields.items()}
    for name, said in record_facts(seen["details"], defaults):
        facts.add_row(name, styled(said))
    parts: list[RenderableType] = [facts]
    if seen["taken_back"]:
        parts.append(styled(f"\n{taken_back.since(seen['taken_back'])}", style="yellow"))
    if shown := curves.shown(60, 8):
        parts += ["", shown]
    if seen["sari"]:
        scores = ", ".join(f"{each['system']} {each['value']:.1f} ({each['low']:.1f} to {each['high']:.1f})" for each in seen["sari"])
        parts.append(styled(f"\nlast evaluation, SARI of {seen['sari'][0]['n']} rows: {scores}"))
    else:
        parts.append(styled(f"\nNot evaluated yet: `tweetmill evaluate {seen['name']}`"))
    return Group(*parts)
