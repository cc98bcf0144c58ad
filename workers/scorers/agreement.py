"""Counts what a judge said of two systems, how often it agrees with the references, and how often the place decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workers.metrics.bootstrap import LEVEL, Figure
from workers.scorers.judge import Answer, Asked
from workers.scorers.scorer import Array

_OTHER: dict[Answer, Answer] = {"first": "second", "second": "first", "tie": "tie", None: None}


def share(part: int, whole: int) -> Figure | None:
    """Return a share of independent rows with its 95% interval by E. B. Wilson (JASA 22, 1927), right for few rows and at 0 and 1.

    None of no rows.
    """
    from scipy.stats import binomtest

    if whole == 0:
        return None
    interval = binomtest(part, whole).proportion_ci(LEVEL, method="wilson")
    return Figure(part / whole, float(interval.low), float(interval.high), whole)


def better(asked: Asked | None) -> Answer:
    """Return which system's output a judge holds to be better: where its two answers differ, or it was not asked, a tie."""
    if asked is None:
        return "tie"
    straight, swapped = asked
    if straight is None or swapped is None:
        return None
    return straight if _OTHER[swapped] == straight else "tie"


def figures(asked: Sequence[Asked | None], first: Array, second: Array, margin: float) -> dict[str, Any]:
    """Return as JSON what a judge made of two systems.

    Args:
        asked: its answers, a pair a row.
        first: the first system's score by the references, shape (rows,).
        second: the second system's.
        margin: the references decide where the two scores differ by as much at least.

    Returns:
        Counts of rows: `n`, `first`, `second`, `tie` (among them `same` outputs, which were not asked about, and `differing` answers in the
        two orders) and `unreadable`. Shares with intervals, or null where there is nothing to count: `preferred`, how often the first
        system won where one did; `agreement` with the references, where they and the judge decide, beside `majority`, what always naming
        the system that they prefer would give, and `undecided`, the rows where they decide and the judge does not; `by_place`, how often
        it named the same place in both orders, of the rows in which it named one each time, and `to_first`, how often that was the first.
    """
    found = [better(each) for each in asked]
    wins = {answer: found.count(answer) for answer in ("first", "second", "tie")}
    readable = [each for each in asked if each is not None and None not in each]
    placed = [each for each in readable if "tie" not in each]
    by_place = [straight for straight, swapped in placed if straight == swapped]
    return {
        "n": len(asked),
        **wins,
        "same": asked.count(None),
        "differing": sum(_OTHER[swapped] != straight for straight, swapped in readable),
        "unreadable": found.count(None),
        "preferred": _json(share(wins["first"], wins["first"] + wins["second"])),
        **_agreement(found, first - second, margin),
        "by_place": _json(share(len(by_place), len(placed))),
        "to_first": by_place.count("first"),
    }


def _agreement(found: Sequence[Answer], differences: Array, margin: float) -> dict[str, Any]:
    decided = [
        ("first" if difference > 0 else "second", answer)
        for answer, difference in zip(found, differences, strict=True)
        if abs(difference) >= margin
    ]
    both = [(wanted, answer) for wanted, answer in decided if answer in ("first", "second")]
    wanted_first = sum(wanted == "first" for wanted, _ in both)
    return {
        "margin": margin,
        "agreement": _json(share(sum(wanted == answer for wanted, answer in both), len(both))),
        "majority": max(wanted_first, len(both) - wanted_first) / len(both) if both else None,
        "undecided": len(decided) - len(both),
    }


def _json(figure: Figure | None) -> dict[str, float | int] | None:
    return None if figure is None else figure.as_dict()
