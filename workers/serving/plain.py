"""Reads requests of `POST /summarize`, and answers them: one text or several, each with what the checks found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.payloads import Stage
from workers.serving.batching import Answer
from workers.serving.refusals import unfit
from workers.serving.texts import check_tweet
from workers.text.checks import check
from workers.text.constraints import faithful, meets_constraints


def read(body: Mapping[str, Any], most: int, rows: int) -> tuple[list[str], bool]:
    """Return the tweets of a request, and whether they came as a list.

    Args:
        body: of the request.
        most: characters of a tweet.
        rows: tweets, at most.

    Raises:
        Refused: it has another form.
    """
    if others := sorted(set(body) - {"text"}):
        raise unfit(f"the field {others[0][:64]!r} is not known: send text alone, a tweet or a list of tweets", others[0][:64])
    given = body.get("text")
    if given is None:
        raise unfit("text is missing: send a tweet or a list of tweets", "text", "missing_parameter")
    if not isinstance(given, list):
        return [check_tweet(given, most, "text")], False
    if not 1 <= len(given) <= rows:
        raise unfit(f"text has {len(given)} tweets: send 1 to {rows} at a time", "text")
    return [check_tweet(tweet, most, f"text[{place}]") for place, tweet in enumerate(given)], True


def answered(tweets: Sequence[str], answers: Sequence[Answer], *, several: bool) -> dict[str, Any]:
    """Return the answer to a request."""
    rows = [_row(tweet, answer) for tweet, answer in zip(tweets, answers, strict=True)]
    head = {"model": answers[0].served.name}
    return head | ({"summaries": rows} if several else rows[0])


def _row(tweet: str, answer: Answer) -> dict[str, Any]:
    text, stage = answer.result.text, answer.served.stage
    return {"summary": text, **answer.verdict(), "checks": _checks(tweet, text, stage)}


def _checks(tweet: str, text: str, stage: Stage) -> dict[str, Any]:
    """Return whether an answer keeps the form and adds no word, as evaluations measure it, and what the guard's checks cost it."""
    form = meets_constraints(tweet, text) if stage is Stage.SUMMARY else None
    return {"promise": form, "faithful": faithful(tweet, text), "cost": check(tweet, text, stage).cost}
