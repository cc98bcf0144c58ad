"""What filters kept out of a dataset: why, and the examples as they would have been."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, text

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
    """What a reason says in words; nothing for one that is not known."""
    if reason.startswith(_TEACHER):
        name = reason.removeprefix(_TEACHER)
        return _OF_TEACHERS.get(name) or f"no answer of the teacher passes; what speaks against the best: {name}"
    return REASONS.get(reason, "")


# A queued or running job has not judged all rows yet.
_JOB = """
SELECT id, state FROM job
WHERE kind = 'synthesis.synthesize' AND payload->>'dataset' = :name AND state IN ('done', 'failed', 'quarantined')
  AND (cast(:beginning AS text) IS NULL OR starts_with(result->>'fingerprint', :beginning))
ORDER BY finished_at DESC LIMIT 1
"""
_BY_REASON = """
SELECT reason, count(*) AS rows FROM dropped CROSS JOIN LATERAL jsonb_array_elements_text(reasons) AS reason
WHERE job = :job GROUP BY reason ORDER BY rows DESC, reason
"""
_BY_ORIGIN = "SELECT origin, count(*) AS rows FROM dropped WHERE job = :job GROUP BY origin ORDER BY rows DESC, origin"
_ROWS = """
SELECT key, origin, stage, tweet, prompt_text AS prompt, target_text AS target, reasons FROM dropped
WHERE job = :job AND (cast(:reason AS text) IS NULL OR jsonb_exists(reasons, :reason)) ORDER BY key LIMIT :shown
"""


def dropped(connection: Connection, name: str, reason: str | None, shown: int) -> dict[str, Any]:
    """What the newest build of a dataset dropped, whether or not it became a dataset.

    Args:
        connection: to the database.
        name: the dataset's; `NAME@FINGERPRINT` for an older one.
        reason: only examples that were dropped for this one; the counts are of all.
        shown: examples at most.

    Raises:
        UserError: there is no such reason; says which there are.
        NotFound: nothing was ever built under this name.
    """
    bare, _, beginning = name.partition("@")
    job = connection.execute(text(_JOB), {"name": bare, "beginning": beginning or None}).one_or_none()
    if job is None:
        raise NotFound(f"dataset {name}: nothing was built under this name. `tweetmill datasets` lists them")
    by_origin = {row.origin: row.rows for row in connection.execute(text(_BY_ORIGIN), {"job": job.id})}
    by_reason = {row.reason: row.rows for row in connection.execute(text(_BY_REASON), {"job": job.id})}
    if reason is not None and reason not in {*by_reason, *REASONS}:
        raise UserError(f"{reason}: nothing was dropped for that. There are {', '.join(by_reason) or 'no drops'}")
    rows = connection.execute(text(_ROWS), {"job": job.id, "reason": reason, "shown": shown})
    return {
        "dataset": name,
        "job": job.id,
        "state": job.state,
        "total": sum(by_origin.values()),
        "origins": by_origin,
        "reasons": by_reason,
        "examples": [dict(row._mapping) for row in rows],
    }
