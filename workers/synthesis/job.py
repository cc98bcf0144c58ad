"""Runs a synthesis job: reads the sources, plans the split, asks the teacher, builds the rows and stores them, in constant memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from schemas.payloads import Stage
from schemas.synthesis import NoiseSource, SynthesisSpec
from workers.database import transaction
from workers.errors import UserError
from workers.file_permissions import make_private
from workers.jobs.context import JobContext, Outcome
from workers.noise.methods import Noising, learn
from workers.settings import get_settings
from workers.synthesis import expectations, inputs, store
from workers.synthesis.build import gather_rows
from workers.synthesis.plan import Impossible, Inputs, Plan, answer, plan
from workers.synthesis.preflight import Preflight
from workers.synthesis.row_store import RowStore
from workers.synthesis.teacher.session import Question, TeacherAnswers, ask_teacher

_A_LOOK = 1000


def synthesize(attempt: JobContext, spec: SynthesisSpec) -> Outcome:
    """Build the dataset of `spec` and store it in one transaction.

    Raises:
        UserError: there is nothing to learn from, or the dataset is not what the recipe expects. What was dropped or rejected is kept.
    """
    folder = _scratch()
    with transaction() as connection:
        sources = inputs.read(connection, spec, folder)
    attempt.progress(pairs=len(sources.pairs), imports=len(sources.imports), sentences=len(sources.sentences))
    attempt.log(f"read: {len(sources.pairs)} pairs, {len(sources.imports)} imports, {len(sources.sentences)} sentences")
    attempt.check()
    noising, imitated = _noising(spec, spec.noise, sources) if spec.noise else (None, 0)
    if noising:
        attempt.log(f"learnt: {noising.name} noise of {imitated} tweets")
    attempt.check()
    planned = _planned(attempt, spec, sources, folder)
    attempt.log(f"planned: {planned.clusters.count} clusters, {int(planned.held.sum())} of them held back for the test")
    attempt.check()
    answers = _ask_teacher(attempt, planned)
    gathered = gather_rows(planned, noising, answers.rows() if answers else (), folder, _looking(attempt, "rows"))
    attempt.log(f"made: {len(gathered)} examples, {len(gathered.dropped)} more dropped by filters")
    statistics = gathered.statistics(read=planned.read, refused=planned.refused, usd=answers.statistics.get("usd", 0.0) if answers else 0.0)
    statistics = replace(statistics, rows_of_one=Preflight(spec, planned.supply).rows_of_one)
    _check(attempt, planned, gathered, statistics)
    fingerprint = gathered.fingerprint()
    result: dict[str, Any] = {"dataset": spec.dataset, "fingerprint": fingerprint}
    result["counts"] = {**planned.counts, "rejected": len(planned.rejected)}
    result["noise"] = noising and {"profile": noising.name, "fingerprint": noising.fingerprint, "tweets": imitated}
    if statistics.dropped:
        result["dropped"] = dict(statistics.reasons)
    if gathered.flagged:
        result["flagged"] = gathered.flagged
    if answers:
        _check_answers(attempt, planned, gathered, answers)
        result["teacher"] = answers.statistics
    return Outcome(
        result=result,
        writes=lambda connection: store.store(connection, attempt.job, spec, fingerprint, gathered, planned.rejected),
    )


def _planned(attempt: JobContext, spec: SynthesisSpec, sources: Inputs, folder: Path) -> Plan:
    try:
        return plan(spec, sources, folder, _looking(attempt, "texts"))
    except Impossible as error:
        with attempt.flush() as connection:
            store.keep_refused(connection, attempt.job, spec, (), error.rejected)
        raise


def _scratch() -> Path:
    """Return where rows wait: beside the runs, which are on a disk; a system's folder for such files may be memory."""
    folder = get_settings().runs_folder / "scratch"
    make_private(folder)
    return folder


def _noising(spec: SynthesisSpec, noise: NoiseSource, sources: Inputs) -> tuple[Noising, int]:
    """Return the noise, and how many tweets it was learnt from. A corpus of a few gets the fixed one, whatever the recipe says."""
    with transaction() as connection:
        tweets = inputs.to_imitate(connection, spec, noise, [pair.tweet_id for pair in sources.pairs])
    return learn(noise.profile, tweets), len(tweets)


def _ask_teacher(attempt: JobContext, planned: Plan) -> TeacherAnswers | None:
    if planned.spec.teacher is None:
        return None
    return ask_teacher(attempt, planned.spec, questions(planned), few_shot_pairs(planned))


def questions(planned: Plan) -> list[Question]:
    """Return what a teacher is asked, in this order."""
    return [Question(tweet.id, cluster, stage) for tweet, cluster in planned.to_ask() for stage in planned.spec.stages]


def few_shot_pairs(planned: Plan) -> dict[Stage, list[tuple[str, str]]]:
    """Return the pairs of each stage that a teacher may be shown: tweet and target."""
    return {stage: [(tweet.text, answer(pair, stage)) for tweet, pair in planned.to_show()] for stage in planned.spec.stages}


def _looking(attempt: JobContext, what: str) -> Callable[[int], None]:
    """Return a callback that shows every thousandth row as progress, and raises where the job must stop."""

    def look(number: int) -> None:
        if number % _A_LOOK == 0:
            attempt.check()
            if number:
                attempt.progress(**{what: number})

    return look


def _check_answers(attempt: JobContext, planned: Plan, gathered: RowStore, answers: TeacherAnswers) -> None:
    """Fail where a teacher was asked and nothing of what it says can be learnt from, and keep what was dropped."""
    if answers.statistics.get("accepted") or not answers.statistics.get("refused"):
        return
    with attempt.flush() as connection:
        store.keep_refused(connection, attempt.job, planned.spec, gathered.dropped, planned.rejected)
    counts = ", ".join(f"{reason} {number}" for reason, number in answers.statistics["refused"].items())
    raise UserError(
        f"none of the teacher's answers can be learnt from ({counts}; {answers.usage.bill()}), and the dataset was not stored."
        f" {answers.advice()}`tweetmill dataset dropped {planned.spec.dataset}` shows them"
    )


def _check(attempt: JobContext, planned: Plan, gathered: RowStore, statistics: expectations.Statistics) -> None:
    """Fail where there is nothing to learn from or a recipe expects more, and keep what was dropped and rejected."""
    name = planned.spec.dataset
    unmet = expectations.unmet(Preflight(planned.spec, planned.supply).resolved(), statistics, name)
    if statistics.train and not unmet:
        return
    with attempt.flush() as connection:
        store.keep_refused(connection, attempt.job, planned.spec, gathered.dropped, planned.rejected)
    if unmet:
        raise UserError(f"dataset {name} is not what the recipe expects, and was not stored. {'; '.join(unmet)}")
    why = f"`tweetmill dataset dropped {name}` shows what filters kept out, `tweetmill rejected --origin {name}` what was refused"
    raise UserError(f"dataset {name}: nothing to learn from was left ({dict(planned.counts)}). {why}")
