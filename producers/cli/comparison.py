"""The verbs that set models beside each other: chain, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from producers.render.output import MODELS, AsJson, emit, example, line, say
from producers.scoring import JudgeMargin, JudgeName, JudgeUrl, Similarity, SupportedBy, judge_spec, where
from producers.submitting import Wait
from schemas.numbers import HIGHEST_PRICE, LARGEST_BIGINT
from workers.errors import UserError

if TYPE_CHECKING:
    from schemas.tables.jobs import Job


Systems = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="A B [C …]",
        help="Models: names, ids, or latest; or lead, rules, as_is, which need none; or their base by a prompt: zero_shot, few_shot, "
        "few_shot_best, and each with _guarded behind.",
        show_default=False,
    ),
]
Recipes = Annotated[
    list[str] | None,
    typer.Option(
        "--recipe",
        "-r",
        metavar="FILE[+FILE]",
        help="Train this one first, at a budget equal to that of the others; two recipes joined by + make a chain.",
        show_default=False,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(min=1, max=LARGEST_BIGINT, help="Optimizer steps a recipe gets, a chain's two together; default: the first recipe's."),
]
References = Annotated[
    Path | None, typer.Option(metavar="FILE.jsonl", help="Lines of id, text, summary; default: what the models' datasets hold back.")
]
Limit = Annotated[int | None, typer.Option(min=1, max=LARGEST_BIGINT, help="Score only the first N.", show_default=False)]
Guard = Annotated[bool, typer.Option("--guard/--no-guard", help="Check each answer against its tweet, as summarize does.")]
UsdPerHour = Annotated[
    float | None,
    typer.Option(min=0, max=HIGHEST_PRICE, help="What an hour of this machine costs, for the price of the rows.", show_default=False),
]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="FILE.png", help="Save figures and intervals as an image.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(
        rich_help_panel=MODELS,
        epilog=example("tweetmill chain cleaner demo", "tweetmill chain cleaner demo --name two-stages", "tweetmill evaluate two-stages"),
    )(chain)
    app.command(
        rich_help_panel=MODELS,
        epilog=example(
            "tweetmill compare demo two-stages lead few_shot_guarded",
            "tweetmill compare demo two-stages --references mine.jsonl --plot compare.png",
            "tweetmill compare demo two-stages --usd-per-hour 2.5 --json | jq .verdict",
            "tweetmill compare demo lead --similarity minilm --judge Qwen/Qwen2.5-1.5B-Instruct",
            "tweetmill compare -r one.yaml -r clean.yaml+summary.yaml --steps 200 lead",
            "tweetmill compare -r lora.yaml -r freeze.yaml max_length=128",
        ),
    )(compare)


def chain(
    clean: Annotated[str, typer.Argument(metavar="CLEAN", help="The model that cleans the tweet: a name, an id, or latest.")],
    summary: Annotated[str, typer.Argument(metavar="SUMMARY", help="The model that summarises what the first one wrote.")],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Of the chain; default: made of both names.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Make one model of two on the same base: clean, then summarise. It goes wherever a model goes."""
    from workers import database
    from workers.catalog import chains, models

    with database.transaction() as connection, database.session_on(connection) as session:
        made, new = chains.create(session, models.resolve(session, clean), models.resolve(session, summary), name)
        answer = {"model": made.name, "id": made.id, "new": new}
        parts = [part.name for part in chains.parts(session, made)]
    emit(answer | {"parts": parts}, as_json, _chain_line)


def _chain_line(answer: dict[str, Any]) -> str:
    said = "Chain" if answer["new"] else "There is this chain already:"
    name = line(answer["model"])
    return f"{said} {name}: {line(', then '.join(answer['parts']))}.\n`tweetmill evaluate {name}` says what it is worth."


def compare(
    systems: Systems = None,
    recipes: Recipes = None,
    steps: Steps = None,
    references: References = None,
    limit: Limit = None,
    guard: Guard = True,
    usd_per_hour: UsdPerHour = None,
    plot: Plot = None,
    similarity: Similarity = None,
    supported_by: SupportedBy = None,
    judge: JudgeName = None,
    judge_url: JudgeUrl = None,
    judge_margin: JudgeMargin = 10.0,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Compare models on the same rows: quality with paired intervals, latency, tokens, cost, the worst rows, and a verdict in words."""
    from producers.render.comparison import priced
    from producers.submitting import asked, ended, job_line
    from tasks import evaluation

    _check_plot(plot, wait)
    named = [each for each in systems or [] if "=" not in each]
    overrides = [each for each in systems or [] if "=" in each]
    if not recipes and (overrides or steps is not None):
        raise typer.BadParameter("KEY=VALUE and --steps go with recipes", param_hint="--recipe")
    if recipes and not wait:
        raise typer.BadParameter("what is to be compared must be trained first: leave --no-wait out", param_hint="--recipe")
    asked_of = {"similarity": where(similarity), "supported_by": where(supported_by), "judge": judge_spec(judge, judge_url, judge_margin)}
    trained = _train(recipes, overrides, steps, len(named)) if recipes else {}
    spec = _spec([*trained, *named], references, limit=limit, guard=guard, **asked_of)
    submitted = evaluation.enqueue_comparison(spec)
    if not wait:
        emit(asked(submitted), as_json, job_line)
        return
    result = priced(ended(submitted).result or {}, usd_per_hour) | ({"training": trained} if trained else {})
    if plot is not None:
        _save(result, plot)
    emit(result, as_json, lambda found: _page(found, spec.references))
    if not as_json:
        say(f"Job {str(submitted.job)[:8]}", "dim")


def _train(recipes: list[str], overrides: list[str], steps: int | None, others: int) -> dict[str, Any]:
    """Train a system of each recipe at an equal budget; return by the models' names what each took."""
    from producers.equal_budget import read_entrants, shared_out
    from producers.submitting import ended
    from schemas.training import TrainingSpec
    from tasks import training
    from workers import database
    from workers.catalog import datasets
    from workers.catalog.examples import training_examples

    if len(recipes) + others < 2:
        raise typer.BadParameter("give two recipes or more, or name a model or a baseline beside one", param_hint="--recipe")
    entrants = read_entrants(recipes, overrides)
    with database.session() as session:
        dataset = datasets.resolve(session, entrants[0].specs[0].dataset)

        def examples(spec: TrainingSpec) -> int:
            return training_examples.amount(session, dataset.id, spec).lines

        for entrant in entrants:
            for spec in entrant.specs:
                if not examples(spec):
                    raise UserError(
                        f"{entrant.named}: dataset {dataset.name} has no example of the stage {spec.stage.value}: "
                        "`tweetmill synthesize` makes both with stage=both"
                    )
        entrants = shared_out(entrants, steps, examples)
    asked_for = {
        entrant.named: [training.enqueue(spec, dataset_fingerprint=dataset.fingerprint) for spec in entrant.specs] for entrant in entrants
    }
    return dict(_made(named, [ended(submitted) for submitted in jobs]) for named, jobs in asked_for.items())


def _made(recipe: str, jobs: list[Job]) -> tuple[str, dict[str, Any]]:
    """Return the name of the model that some jobs trained, of a chain where they are two, and what that took."""
    from workers import database
    from workers.catalog import chains, models

    with database.transaction() as connection, database.session_on(connection) as session:
        made = [model for job in jobs if (model := models.of_job(session, job.id)) is not None]
        if len(made) < len(jobs):
            raise UserError(f"{recipe}: its model was trained before, and is gone since: another seed (seed=1) trains it anew")
        name = made[0].name if len(made) == 1 else chains.create(session, made[0], made[1])[0].name
    results = [job.result or {} for job in jobs]
    summed = {what: sum(result.get(what, 0) for result in results) for what in ("steps", "tokens", "seconds")}
    return name, {"recipe": recipe, "parts": [model.name for model in made], "jobs": [str(job.id) for job in jobs], **summed}


def _spec(systems: list[str], references: Path | None, **fields: Any) -> Any:
    from schemas.payloads import Baseline, ComparisonSpec
    from workers import database
    from workers.catalog import models
    from workers.errors import NotFound

    if len(systems) < 2:
        raise typer.BadParameter("name two systems or more, such as: tweetmill compare demo lead", param_hint="A B")
    model_ids: dict[int, str] = {}
    baselines: list[str] = []
    with database.session() as session:
        for named in systems:
            try:
                found = models.resolve(session, named).id
            except NotFound:
                if named not in get_args(Baseline):
                    raise
                baselines.append(named)
                continue
            if found in model_ids:
                raise typer.BadParameter(f"{named} and {model_ids[found]} are the same model", param_hint="A B")
            model_ids[found] = named
    if not model_ids:
        raise typer.BadParameter("name at least one model beside the baselines", param_hint="A B")
    if len(set(baselines)) < len(baselines):
        raise typer.BadParameter("a baseline is named twice", param_hint="A B")
    collection = None if references is None else _imported(references)
    return ComparisonSpec(model_ids=tuple(model_ids), baselines=tuple(baselines), references=collection, **fields)


def _imported(references: Path) -> str:
    from producers.submitting import say_rejected
    from workers.ingest.curated import import_collection

    return import_collection(references, "references", lambda counts: say_rejected(str(references), counts))


def _check_plot(plot: Path | None, wait: bool) -> None:
    from workers import destinations

    if plot is None:
        return
    if not wait:
        raise typer.BadParameter("there is nothing to draw before the job ends: leave --no-wait out", param_hint="--plot")
    destinations.check(plot)


def _save(result: dict[str, Any], path: Path) -> None:
    from producers.render.comparison import save_plot
    from producers.render.plots import asked_for

    with asked_for(path, "Figures"):
        save_plot(result, path)


def _page(result: dict[str, Any], collection: str | None) -> Any:
    from producers.render.comparison import page
    from workers import database
    from workers.catalog import scored_rows

    keys = {row["id"] for rows in result["worst"].values() for row in rows}
    with database.session() as session:
        return page(result, scored_rows.texts(session, keys, collection))
