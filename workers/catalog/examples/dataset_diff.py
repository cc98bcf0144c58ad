"""How two datasets differ: in their recipes and in their examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

# An example is what is asked and answered, whoever brought it: the origin shows in the counts.
_ONLY = """
only_{side} AS (
    SELECT key, stage, prompt_text, target_text, origin, split FROM example AS mine WHERE dataset = :{side} AND NOT EXISTS (
        SELECT FROM example AS theirs WHERE theirs.dataset = :{other}
        AND theirs.stage = mine.stage AND theirs.prompt_text = mine.prompt_text AND theirs.target_text = mine.target_text))
"""
_BOTH = f"WITH {_ONLY.format(side='a', other='b')}, {_ONLY.format(side='b', other='a')}"
_ALONE = """
{both}
SELECT key, origin, split, prompt_text AS prompt, target_text AS target, count(*) OVER () AS total FROM only_{side} AS mine
WHERE NOT EXISTS (SELECT FROM only_{other} AS theirs WHERE theirs.stage = mine.stage AND theirs.prompt_text = mine.prompt_text)
ORDER BY key LIMIT :shown
"""
_CHANGED = """
{both}
SELECT prompt, a, b, key_a, key_b, count(*) OVER () AS total FROM (
    SELECT DISTINCT ON (mine.stage, mine.prompt_text) mine.prompt_text AS prompt, mine.target_text AS a, theirs.target_text AS b,
           mine.key AS key_a, theirs.key AS key_b
    FROM only_a AS mine JOIN only_b AS theirs ON theirs.stage = mine.stage AND theirs.prompt_text = mine.prompt_text
    ORDER BY mine.stage, mine.prompt_text, mine.key, theirs.key) AS changed
ORDER BY key_a LIMIT :shown
"""
_MOVED = """
SELECT mine.key, mine.prompt_text AS prompt, mine.split AS a, theirs.split AS b, count(*) OVER () AS total
FROM example AS mine JOIN example AS theirs ON theirs.stage = mine.stage AND theirs.prompt_text = mine.prompt_text
    AND theirs.target_text = mine.target_text AND theirs.split <> mine.split
WHERE mine.dataset = :a AND theirs.dataset = :b ORDER BY mine.key LIMIT :shown
"""


def recipe_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the keys of two recipes whose values differ, nested ones under their dotted names; the datasets' names aside."""
    left, right = _flat(one), _flat(other)
    keys = sorted(key for key in left.keys() | right.keys() if left.get(key) != right.get(key) and key != "dataset")
    return [{"key": key, "a": left.get(key), "b": right.get(key)} for key in keys]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def example_differences(session: Session, one: int, other: int, shown: int) -> dict[str, dict[str, Any]]:
    """Return what two datasets hold apart: `only_a`, `only_b`, `changed` (another target) and `moved` (to the other split).

    Each has its `count` and, under `examples`, the first `shown` of it.
    """
    queries = {
        "only_a": _ALONE.format(both=_BOTH, side="a", other="b"),
        "only_b": _ALONE.format(both=_BOTH, side="b", other="a"),
        "changed": _CHANGED.format(both=_BOTH),
        "moved": _MOVED,
    }
    found: dict[str, dict[str, Any]] = {}
    for name, query in queries.items():
        # One row more than is shown brings the total even where none is.
        rows = [dict(row._mapping) for row in session.connection().execute(text(query), {"a": one, "b": other, "shown": max(shown, 1)})]
        total = rows[0]["total"] if rows else 0
        for row in rows:
            del row["total"]
        found[name] = {"count": total, "examples": rows[:shown]}
    return found
