"""Gathers what the ledger knows of a project's question as plain JSON: figures, a few texts, and where each came from.

It reads and computes; it asks for no job. What is not there is an empty list or None, and stays so: nothing is filled in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from producers.report import advice, scores
from schemas.payloads import Stage

if TYPE_CHECKING:
    from producers.curve.worth import Worth
    from schemas.tables.jobs import Job
    from workers.catalog.curves import PointStatus

CURVES, MODELS, COMPARISONS = 3, 4, 2
"""Of how many the newest are shown whole; the others are counted."""

ROWS = 6
"""Tweets that are shown with what a model wrote, and rows that are named as a system's worst."""


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
    found["examples"] = _examples(found)
    found["sent"] = _sent(found)
    return found | {"answer": advice.answer(found), "next": advice.steps(found)}


def _project() -> dict[str, Any]:
    """Return what there is: tweets, datasets with their pairs, and models that are no points of a curve, the newest first."""
    from workers import database
    from workers.catalog import datasets, models, training_examples, tweets

    with database.session() as session:
        listed = datasets.listed(session)
        for each in listed[:MODELS]:
            found = datasets.resolve(session, each["name"])
            each["pairs"] = training_examples.pairs(session, found.id, _stage(each["stage"]))
        made = [each for each in models.listed(session) if not _spec(each).get("curve")]
        return {
            "tweets": tweets.count(session),
            "datasets": {"shown": listed[:MODELS], "there": len(listed)},
            "models": {"shown": [_model(each) for each in made[:MODELS]], "there": len(made)},
        }


def _stage(named: str | None) -> Stage:
    """Return what a dataset teaches; of one that teaches both, or does not say, the summary."""
    return Stage.CLEAN if named == Stage.CLEAN.value else Stage.SUMMARY


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

    points, progress = status(name, scored_rows(name))
    return drawn(name, points, worth, known(minutes_a_pair, points[-1].recipe["dataset"], usd_per_hour)) | {
        "points": progress.points,
        "done": progress.done,
        "failed": progress.failed,
        "not_asked": progress.not_asked,
        **_made_of(points),
    }


def _made_of(points: Sequence[PointStatus]) -> dict[str, Any]:
    """Return what the points of a curve have in common: base, dataset, recipe, and how their models were scored."""
    from workers import database
    from workers.catalog import evaluations, models
    from workers.catalog.model_card import base_name

    recipe = points[-1].recipe
    made = [point.model for point in points if point.figures is not None and point.model is not None]
    fingerprint, scored = None, {}
    if made:
        with database.session() as session:
            fingerprint = models.by_id(session, made[-1]).dataset_fingerprint
            job = evaluations.of_point(session, made[-1])
            scored = _scoring(job) if job is not None else {}
    return {
        "base": base_name(recipe["base"]),
        "base_path": recipe["base"],
        "stage": recipe["stage"],
        "dataset": recipe["dataset"],
        "dataset_fingerprint": fingerprint,
        "learning_rate": recipe.get("learning_rate"),
        "equal_steps": recipe["max_steps"] != -1,
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
    return {
        **_identified(job),
        "references": _rows_of(result),
        "verdict": result.get("verdict", []),
        "order": list(systems),
        "main": next(iter(systems), None),
        "tables": scores.tables(systems),
        "pairs": result.get("pairs", []),
        "judge": scores.judge_words(result),
        "costs": {name: system["cost"] for name, system in systems.items() if "cost" in system},
        "worst": next(iter(result.get("worst", {}).values()), []),
    }


def _rows_of(result: Mapping[str, Any]) -> str:
    """Return what the scored rows are: a collection of references by its name, or what the dataset holds back."""
    named = result.get("references") or "test split"
    return "the test split" if named == "test split" else str(named)


def _identified(job: Job) -> dict[str, Any]:
    return {"job": str(job.id), "at": job.finished_at, "seconds": job.run_seconds, "scored": _scoring(job)}


def _examples(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return tweets with what a model wrote of them: held-back ones where they are stored, else others; and rows that were scored worst."""
    from workers import database
    from workers.catalog import models, summaries
    from workers.metrics import baselines

    tried = [each["model"] for each in found["evaluations"]["shown"]] + [each["name"] for each in found["project"]["models"]["shown"]]
    written: dict[str, Any] = {"model": None, "held_back": False, "rows": []}
    with database.session() as session:
        for name in dict.fromkeys(tried):
            model = next((each for each in found["project"]["models"]["shown"] if each["name"] == name), None)
            row = models.by_id(session, model["id"]) if model is not None else None
            if row is not None and row.dataset is not None:
                rows = summaries.of_held_back(session, row.dataset, row.id, ROWS)
                if rows:
                    written = {"model": name, "held_back": True, "rows": rows}
                    break
        if not written["rows"]:
            written = _summarised()
    rows = [*written["rows"], *(worst := _worst(found))]
    for each in rows:
        each["lead"] = baselines.lead(each["tweet"])
    return written | {"worst": worst}


def _summarised() -> dict[str, Any]:
    """Return some tweets of the newest summarisation with their summaries."""
    from workers import database
    from workers.catalog import models, summaries
    from workers.errors import NotFound

    with database.session() as session:
        job = summaries.newest_job(session)
        if job is None:
            return {"model": None, "held_back": False, "rows": []}
        number = int(job.payload["model_id"])
        try:
            name = models.by_id(session, number).name
        except NotFound:
            return {"model": None, "held_back": False, "rows": []}
        rows = [
            {"tweet": tweet, "wanted": None, "wrote": wrote} for tweet, wrote in summaries.of_long_tweets(session, job.id, number, ROWS)
        ]
    return {"model": name, "held_back": False, "rows": rows}


def _worst(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that the newest evaluation or comparison names as the worst, with their references: outputs are not stored."""
    from workers import database
    from workers.catalog import scored_rows

    for scored in (*found["evaluations"]["shown"], *found["comparisons"]["shown"]):
        if not scored["worst"]:
            continue
        with database.session() as session:
            texts = scored_rows.texts(session, [row["id"] for row in scored["worst"]], scored["scored"]["references"])
        return [
            {"id": row["id"], "sari": row["sari"], "tweet": texts[row["id"]][0], "wanted": texts[row["id"]][1]}
            for row in scored["worst"]
            if row["id"] in texts
        ]
    return []


def _sent(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return one row of the newest dataset as a training sends it to the base model; None without a row."""
    from tasks import training
    from workers import database
    from workers.catalog import datasets

    with database.session() as session:
        for each in found["project"]["datasets"]["shown"]:
            rows = datasets.examples(session, datasets.resolve(session, each["name"]).id, 1)
            row = next((row for row in rows if row["split"] == "train" and row["origin"] in ("human", "import")), None)
            row = row or next((row for row in rows if row["split"] == "train"), None)
            if row is not None:
                break
        else:
            return None
    bases = [each for each in (*found["project"]["models"]["shown"], *found["curves"]["shown"]) if each.get("base_path")]
    base = next((made for made in bases if made["dataset"] == each["name"]), bases[0] if bases else None)
    told = {"dataset": each["name"], "origin": row["origin"], "tweet": row["prompt"], "base": base["base"] if base else None}
    sent = training.as_read(base["base_path"] if base else "", _stage(each["stage"]), row["prompt"], row["target"])
    return told | sent
