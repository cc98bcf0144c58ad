"""Gathers the few texts of a report: tweets with what a model wrote of them, rows that were scored worst, and what a training sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.payloads import Stage

ROWS = 6
"""Tweets that are shown with what a model wrote."""


def taught(named: str | None) -> Stage:
    """Return what a dataset teaches by the stage in its recipe; of one that teaches both, or does not say, the summary."""
    return Stage.CLEAN if named == Stage.CLEAN.value else Stage.SUMMARY


def examples(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return tweets with what a model wrote of them: held-back ones where they are stored, else others; and rows that were scored worst.

    Args:
        found: `project`, `evaluations` and `comparisons`, as `producers.report.gather.gather` returns them.
    """
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
    worst_of, worst = _worst(found)
    for each in (*written["rows"], *worst):
        each["lead"] = baselines.lead(each["tweet"])
    return written | {"worst_of": worst_of, "worst": worst}


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


def _worst(found: Mapping[str, Any]) -> tuple[str | None, list[dict[str, Any]]]:
    """Return a system and its worst rows with their references, by the newest evaluation or else comparison: outputs are not stored."""
    from workers import database
    from workers.catalog import scored_rows

    named = [(each["model"], each) for each in found["evaluations"]["shown"]]
    named += [(each["main"], each) for each in found["comparisons"]["shown"]]
    for name, scored in named:
        if not scored["worst"]:
            continue
        with database.session() as session:
            texts = scored_rows.texts(session, [row["id"] for row in scored["worst"]], scored["scored"]["references"])
        return name, [
            {"id": row["id"], "sari": row["sari"], "tweet": texts[row["id"]][0], "wanted": texts[row["id"]][1]}
            for row in scored["worst"]
            if row["id"] in texts
        ]
    return None, []


def sent(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return one row of the newest dataset as a training sends it to the base model; None without a row.

    Args:
        found: `project` and `curves`, as `producers.report.gather.gather` returns them.
    """
    from tasks import training
    from workers import database
    from workers.catalog import datasets

    with database.session() as session:
        for each in found["project"]["datasets"]["shown"]:
            stage = taught(each["stage"])
            rows = datasets.examples(session, datasets.resolve(session, each["name"]).id, 1, stage)
            row = next((row for row in rows if row["split"] == "train" and row["origin"] in ("human", "import")), None)
            row = row or next((row for row in rows if row["split"] == "train"), None)
            if row is not None:
                break
        else:
            return None
    bases = [each for each in (*found["project"]["models"]["shown"], *found["curves"]["shown"]) if each.get("base_path")]
    base = next((made for made in bases if made["dataset"] == each["name"]), bases[0] if bases else None)
    told = {"dataset": each["name"], "origin": row["origin"], "tweet": row["prompt"], "base": base["base"] if base else None}
    return told | training.as_read(base["base_path"] if base else "", stage, row["prompt"], row["target"])
