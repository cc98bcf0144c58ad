"""Dropped examples: what filters kept out of a dataset, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import desc, func, text
from sqlmodel import Session, col, select

from schemas.states import JobState
from schemas.tables.datasets import Dropped
from schemas.tables.jobs import Job
from workers.errors import NotFound, UserError

REASONS: Mapping[str, str] = {
    "promise": "a summary is no plain sentence of up to 15 words, or is longer than its tweet; a clean text holds a handle, link or emoji",
    "new_number": "a number of the target is not in the tweet",
    "new_name": "a name of the target is not in the tweet",
    "new_word": "another word of content of the target is not in the tweet",
    "negation": "the target has a negation more, less, or of something else",
    "link": "a link of the target is not in the tweet",
    "too_short": "the target has too few words for its tweet (filters.shortest)",
    "too_long": "the target has too many words for its tweet (filters.longest)",
    "language": "the tweet or the target is surely in another language (filters.language)",
    "near_duplicate": "a near-duplicate of the tweet is learnt from already",
}
"""The names of the filters' reasons. They stay as they are: scripts count by them."""

_TEACHER = "teacher_"
_OF_TEACHERS: Mapping[str, str] = {
    "wordless": "the tweet has no word that a teacher could be asked about",
    "no_answer": "the teacher gave no answer that can be used",
    "faithful": "a number, name or link of the best answer is not in the tweet",
}


def meaning(reason: str) -> str:
    """Return what a reason means, in words; an empty text for one that is not known."""
    if reason.startswith(_TEACHER):
        name = reason.removeprefix(_TEACHER)
        return _OF_TEACHERS.get(name) or f"no answer of the teacher passes; what speaks against the best: {name}"
    return REASONS.get(reason, "")


_BY_REASON = """
SELECT reason, count(*) AS rows FROM dropped CROSS JOIN LATERAL jsonb_array_elements_text(reasons) AS reason
WHERE job = :job GROUP BY reason ORDER BY rows DESC, reason
"""
# A queued or running job has not judged all rows yet.
_ENDED = (JobState.DONE.value, JobState.FAILED.value, JobState.QUARANTINED.value)


def dropped(session: Session, name: str, reason: str | None, shown: int) -> dict[str, Any]:
    """Return what the newest build of a dataset dropped, whether or not it became a dataset.

    Args:
        session: to the database.
        name: the dataset's; `NAME@FINGERPRINT` for an older one.
        reason: only examples that were dropped for this one; the counts are of all.
        shown: examples at most.

    Raises:
        UserError: there is no such reason; says which there are.
        NotFound: nothing was ever built under this name.
    """
    bare, _, beginning = name.partition("@")
    job = _newest_build(session, bare, beginning)
    if job is None:
        raise NotFound(f"dataset {name}: nothing was built under this name. `tweetmill datasets` lists them")
    by_origin = _by_origin(session, job.id)
    by_reason = {row.reason: row.rows for row in session.connection().execute(text(_BY_REASON), {"job": job.id})}
    if reason is not None and reason not in {*by_reason, *REASONS}:
        raise UserError(f"{reason}: nothing was dropped for that. There are {', '.join(by_reason) or 'no dropped examples'}")
    return {
        "dataset": name,
        "job": job.id,
        "state": job.state,
        "total": sum(by_origin.values()),
        "origins": by_origin,
        "reasons": by_reason,
        "examples": _examples(session, job.id, reason, shown),
    }


def _newest_build(session: Session, name: str, fingerprint: str) -> Job | None:
    """Return the job that ended last of those that built the dataset; with the beginning of a fingerprint, only one that gave that."""
    query = select(Job).where(Job.kind == "synthesis.synthesize", col(Job.payload)["dataset"].astext == name, col(Job.state).in_(_ENDED))
    if fingerprint:
        query = query.where(col(Job.result)["fingerprint"].astext.startswith(fingerprint, autoescape=True))
    return session.exec(query.order_by(desc(col(Job.finished_at))).limit(1)).one_or_none()


def _by_origin(session: Session, job: UUID) -> dict[str, int]:
    rows = func.count()
    query = select(Dropped.origin, rows).where(Dropped.job == job).group_by(col(Dropped.origin)).order_by(desc(rows), col(Dropped.origin))
    return dict(session.exec(query).all())


def _examples(session: Session, job: UUID, reason: str | None, shown: int) -> list[dict[str, Any]]:
    query = select(Dropped).where(Dropped.job == job)
    if reason is not None:
        query = query.where(func.jsonb_exists(Dropped.reasons, reason))
    return [
        {
            "key": row.key,
            "origin": row.origin,
            "stage": row.stage,
            "tweet": row.tweet,
            "prompt": row.prompt_text,
            "target": row.target_text,
            "reasons": row.reasons,
        }
        for row in session.exec(query.order_by(col(Dropped.key)).limit(shown))
    ]
