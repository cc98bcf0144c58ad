"""Runs an evaluation job on normalised words: the ERR of a model that cleans, beside a dictionary and the tweets as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from schemas.payloads import EvaluationSpec, Stage
from schemas.tables.models import Model
from workers.database import session
from workers.errors import UserError
from workers.evaluation import queries
from workers.evaluation.lexnorm.error_reduction import (
    Dictionary,
    ErrorCounts,
    Gold,
    count_errors,
    counts_of_dictionaries,
    most_frequent,
    most_frequent_of_the_others,
)
from workers.evaluation.store import store
from workers.evaluation.systems import write_tuned
from workers.inference.writer import Writer
from workers.jobs.context import JobContext, Outcome
from workers.metrics import baselines

CLEANERS = ("tuned", "unguarded", "most_frequent", "dictionary", "rules", "as_is")


@dataclass(frozen=True)
class _Row:
    """A tweet and what it should become, both as they were written."""

    messy: str
    clean: str


def holds_gold(session: Session, collection: str) -> bool:
    """Return whether a collection's references are `{id, messy, clean}`, for ERR, and not `{id, text, summary}`.

    Raises:
        UserError: it holds both.
    """
    found = queries.kinds(session, collection)
    if len(found) > 1:
        raise UserError(f"{collection}: some lines are {{id, text, summary}}, others {{id, messy, clean}}: put them into two files")
    return found == {True}


def evaluate(context: JobContext, spec: EvaluationSpec, model: Model) -> Outcome:
    """Score the model of `spec` word by word.

    Raises:
        UserError: the model does not clean, or there is nothing to score.
    """
    assert spec.references is not None
    if model.stage != Stage.CLEAN:
        raise UserError(f"model {model.name} writes summaries: references of messy and clean are for a model of the stage clean")
    with session() as opened:
        writer = Writer.of(opened, model, all_cores=True)
        rows = _gold_rows(opened, spec.references)
        learnt_from = _gold_rows(opened, spec.train_references) if spec.train_references else []
        pairs = [_Row(row.prompt_text, row.target_text) for row in queries.learnt_from(opened, model.dataset, model.stage)]
    rows = rows[: spec.limit] if spec.limit else rows
    context.progress(system="tuned", rows=len(rows))
    context.check()
    outputs, cost = write_tuned(writer, [row.messy for row in rows])
    context.progress(system="baselines", rows=len(rows))
    context.check()
    result = error_report(rows, outputs, learnt_from, pairs, spec)
    result |= {"guard": cost.as_dict(), "model": model.name, "references": spec.references}
    return Outcome(result=result, writes=lambda connection: store(connection, context, model.id, spec.references or "", result, CLEANERS))


def error_report(
    rows: Sequence[_Row], outputs: dict[str, list[str]], learnt_from: Sequence[_Row], pairs: Sequence[_Row], spec: EvaluationSpec
) -> dict[str, Any]:
    """Return the table as JSON: one entry for each system, what the dictionary was learnt from, and the model's margin over each.

    Args:
        rows: the references.
        outputs: what the model wrote for them, by system.
        learnt_from: pairs of which `most_frequent` learns; none: of the other nine tenths of the references.
        pairs: what the model learnt from, of which `dictionary` learns.
        spec: gives resamples and seed.

    Raises:
        UserError: no word of the references needs normalisation.
    """
    gold = _gold(rows)
    if not any(row.needing for row in gold):
        raise UserError(f"{spec.references}: in none of {len(rows)} rows does clean differ from messy by a word: there is nothing to score")
    of_file: list[Dictionary] = (
        [most_frequent(_gold(learnt_from))] * len(gold) if learnt_from else most_frequent_of_the_others(gold, spec.seed)
    )
    scored: dict[str, ErrorCounts] = {system: count_errors(gold, texts) for system, texts in outputs.items()}
    scored["most_frequent"] = counts_of_dictionaries(gold, of_file)
    scored["dictionary"] = counts_of_dictionaries(gold, [most_frequent(_gold(pairs))] * len(gold))
    scored["rules"] = count_errors(gold, [baselines.rules(row.messy) for row in rows])
    scored["as_is"] = count_errors(gold, [row.messy for row in rows])
    table: dict[str, Any] = {system: {"err": scored[system].err(spec.resamples, spec.seed).as_dict()} for system in CLEANERS}
    table["margins"] = {
        system: {"err": scored["tuned"].err_above(scored[system], spec.resamples, spec.seed).as_dict()}
        for system in CLEANERS
        if system != "tuned"
    }
    table["words"] = {"scored": sum(word.scored for row in gold for word in row.words), "needing": sum(row.needing for row in gold)}
    table["most_frequent_of"] = spec.train_references or "the other nine tenths of the references"
    table["dictionary_of"] = f"{len(pairs)} pairs that the model learnt from"
    return table


def _gold(rows: Sequence[_Row]) -> list[Gold]:
    return [Gold.of(row.messy, row.clean) for row in rows]


def _gold_rows(session: Session, collection: str) -> list[_Row]:
    """Return the rows of a collection.

    Raises:
        UserError: they are no gold.
    """
    if not holds_gold(session, collection):
        raise UserError(f"{collection}: lines of id, messy, clean are needed here")
    return [_Row(row.text or "", row.clean or "") for row in queries.references(session, collection)]
