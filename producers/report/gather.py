"""Gathers what the ledger knows of a project's question as plain JSON: figures, a few texts, and where each came from.

It reads and computes; it asks for no job. What is not there is an empty list or None, and stays so: nothing is filled in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from producers.report import advice, scores, texts
from schemas.payloads import Stage

if TYPE_CHECKING:
    from producers.curve.worth import Worth
    from schemas.tables.jobs import Job
    from workers.catalog.curves import PointStatus

CURVES, MODELS, COMPARISONS = 3, 4, 2
"""Of how many the newest are shown whole; the others are counted."""


@dataclass(frozen=True)
class Reader:
    """How the results of evaluations are put into words, which the verb `evaluate` knows.

    Attributes:
        verdict: of a result, in a sentence.
        meaning: of a system by its name and the result.
    """

    verdict: Callable[[dict[str, Any]], str]
    meaning: Callable[[str, dict[str, Any]], str]


def gather(worth: Worth, minutes_a_pair: float | None, usd_per_hour: float | None, reader: Reader) -> dict[str, Any]:
    """Return everything that the page shows.

    Args:
        worth: what a gain has to be to count, for the verdicts of curves.
        minutes_a_pair: that a pair takes to write; None: as reviews measured, else by default.
        usd_per_hour: price of a machine that trains; None: not known.
        reader: of evaluations.
    """
    from importlib.metadata import version

    found: dict[str, Any] = {"written_at": datetime.now(UTC), "version": version("tweetmill")}
    found |= {"project": _project(), "curves": _curves(worth, minutes_a_pair, usd_per_hour)}
    found |= {"evaluations": _evaluations(reader), "comparisons": _comparisons()}
    found["examples"] = texts.examples(found)
    found["sent"] = texts.sent(found)
    return found | {"answer": advice.answer(found), "next": advice.steps(found)}


def _project() -> dict[str, Any]:
    """Return what there is: tweets, datasets with their pairs, and models that are no points of a curve, the newest first."""
    from workers import database
    from workers.catalog import datasets, models, tweets
    from workers.catalog.examples import training_examples

    with database.session() as session:
        listed = datasets.listed(session)
        for each in listed[:MODELS]:
            found = datasets.resolve(session, each["name"])
            each["pairs"] = training_examples.pairs(session, found.id, texts.taught(each["stage"]))
        made = [each for each in models.listed(session) if not _spec(each).get("curve")]
        return {
            "tweets": tweets.count(session),
            "datasets": {"shown": listed[:MODELS], "there": len(listed)},
            "models": {"shown": [_model(each) for each in made[:MODELS]], "there": len(made)},
        }


def _spec(model: Mapping[str, Any]) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = (model["details"] or {}).get("spec") or {}
    return spec


def _model(entry: Mapping[str, Any]) -> dict[str, Any]:
    from workers.catalog.model_card import base_name, energy_line, hardware_line

    details, spec = entry["details"] or {}, _spec(entry)
    return {
        **{name: entry[name] for name in ("id", "name", "method", "stage", "dataset", "created_at")},
        "base": base_name(entry["base"]),
        "base_path": entry["base"],
        "dataset_fingerprint": details.get("dataset_fingerprint"),
        **{name: details.get(name) for name in ("steps", "examples", "tokens", "seconds")},
        **{name: spec.get(name) for name in ("learning_rate", "max_steps", "num_train_epochs", "seed")},
        "hardware": hardware_line(details),
        "energy": energy_line(details),
    }


def _curves(worth: Worth, minutes_a_pair: float | None, usd_per_hour: float | None) -> dict[str, Any]:
    from workers import database
    from workers.catalog import curves

    with database.session() as session:
        names = curves.by_age(session)
    shown = [_curve(name, worth, minutes_a_pair, usd_per_hour) for name in names[:CURVES]]
    first = advice.answering(shown)
    return {"shown": sorted(shown, key=lambda curve: curve is not first), "left_out": names[CURVES:]}


def _curve(name: str, worth: Worth, minutes_a_pair: float | None, usd_per_hour: float | None) -> dict[str, Any]:
    from producers.curve.costs import known
    from producers.curve.report import drawn
    from producers.curve.run import scored_rows, status
    from producers.curve.shown import newest, shown

    limit = scored_rows(name)
    points, progress = status(name, limit)
    return drawn(name, points, worth, known(minutes_a_pair, newest(points).recipe["dataset"], usd_per_hour)) | {
        "points": progress.points,
        "done": progress.done,
        "failed": progress.failed,
        "not_asked": progress.not_asked,
        **_made_of(shown(points).points, limit),
    }


def _made_of(points: Sequence[PointStatus], limit: int | None) -> dict[str, Any]:
    """Return what the points of a curve have in common: base, dataset with its pairs, recipe, and how their models were scored."""
    from workers import database
    from workers.catalog import datasets, evaluations, models
    from workers.catalog.examples import training_examples
    from workers.catalog.model_card import base_name

    recipe = points[-1].recipe
    made = [point.model for point in points if point.figures is not None and point.model is not None]
    fingerprint, scored = None, {"limit": limit}
    with database.session() as session:
        dataset = datasets.find(session, recipe["dataset"])
        pairs = training_examples.pairs(session, dataset.id, Stage(recipe["stage"])) if dataset is not None else 0
        if made:
            fingerprint = models.by_id(session, made[-1]).dataset_fingerprint
            job = evaluations.of_point(session, made[-1], limit)
            scored |= _scoring(job) if job is not None else {}
    steps = {point.recipe["max_steps"] for point in points}
    return {
        "base": base_name(recipe["base"]),
        "base_path": recipe["base"],
        "stage": recipe["stage"],
        "dataset": recipe["dataset"],
        "dataset_fingerprint": fingerprint,
        "pairs": pairs,
        "learning_rate": recipe.get("learning_rate"),
        "max_steps": steps.pop() if len(steps) == 1 else -1,
        "scored": scored,
    }


def _scoring(job: Job) -> dict[str, Any]:
    """Return how a job scored, from its payload: nothing of it is repeated in the result."""
    return {name: job.payload.get(name) for name in ("limit", "references", "resamples", "seed", "guard", "few_shot")}


def _evaluations(reader: Reader) -> dict[str, Any]:
    from workers import database
    from workers.catalog import evaluations

    with database.session() as session:
        jobs, there = evaluations.newest(session, MODELS)
        return {"shown": [_evaluation(job, reader) for job in jobs], "there": there}


def _evaluation(job: Job, reader: Reader) -> dict[str, Any]:
    result = job.result or {}
    tables = scores.tables(result)
    return {
        "model": result.get("model", ""),
        **_identified(job),
        "references": _rows_of(result),
        "verdict": scores.judged(result, reader.verdict),
        "tables": tables,
        "meanings": {name: reader.meaning(name, result) for name in (tables[0]["systems"] if tables else ())},
        "margins": result.get("margins", {}),
        "guard": result.get("guard"),
        "worst": result.get("worst", {}).get("tuned", []),
    }


def _comparisons() -> dict[str, Any]:
    from workers import database
    from workers.catalog import evaluations

    with database.session() as session:
        jobs, there = evaluations.compared(session, COMPARISONS)
        return {"shown": [_comparison(job) for job in jobs], "there": there}


def _comparison(job: Job) -> dict[str, Any]:
    result = job.result or {}
    systems = {name: result["systems"][name] for name in result.get("order", result.get("systems", {}))}
    main = next(iter(systems), None)
    return {
        **_identified(job),
        "references": _rows_of(result),
        "verdict": result.get("verdict", []),
        "order": list(systems),
        "main": main,
        "tables": scores.tables(systems),
        "pairs": result.get("pairs", []),
        "judge": scores.judge_words(result),
        "costs": {name: system["cost"] for name, system in systems.items() if "cost" in system},
        "worst": result.get("worst", {}).get(main, []),
    }


def _rows_of(result: Mapping[str, Any]) -> str:
    """Return what the scored rows are: a collection of references by its name, or what the dataset holds back."""
    named = result.get("references") or "test split"
    return "the test split" if named == "test split" else str(named)


def _identified(job: Job) -> dict[str, Any]:
    return {"job": str(job.id), "at": job.finished_at, "seconds": job.run_seconds, "scored": _scoring(job)}
