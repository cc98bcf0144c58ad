"""Applies bulk edits: the words that one edit replaced become a rule, which is previewed on all rows and then applied to them, or not."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from typing import Any

from sqlalchemy import Row, text
from sqlmodel import Session

_TOKEN = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
_ROWS_A_STATEMENT = 2000

# A row that somebody else has before them is left to them, and so is one that was rejected.
_ROWS = """
SELECT key, coalesce(review.target_text, example.target_text) AS target FROM review JOIN example USING (dataset, key)
WHERE dataset = :dataset AND review.verdict IS DISTINCT FROM 'rejected'
  AND (review.verdict IS NOT NULL OR review.claimed_until IS NULL OR review.claimed_until < now() OR review.reviewer = :reviewer)
  AND strpos(coalesce(review.target_text, example.target_text), :word) > 0
ORDER BY key
"""
_APPLY = """
UPDATE review SET verdict = 'edited', target_text = row.target, reviewer = :reviewer, seconds = NULL, claimed_until = NULL,
    reviewed_at = clock_timestamp(), rule = cast(:rule AS jsonb) || jsonb_build_object('before', CASE WHEN review.verdict IS NULL THEN '{}'
        ELSE jsonb_build_object('verdict', verdict, 'target_text', target_text, 'reviewer', reviewer, 'seconds', seconds,
                                'reviewed_at', reviewed_at, 'rule', rule) END)
FROM jsonb_to_recordset(cast(:rows AS jsonb)) AS row(key text, target text)
WHERE review.dataset = :dataset AND review.key = row.key
"""


@dataclass(frozen=True)
class Rule:
    """Replace `replace` by `by`, letter for letter and at word boundaries; an empty `by` deletes it."""

    replace: str
    by: str

    def __str__(self) -> str:
        return f"“{self.replace}” → “{self.by}”" if self.by else f"drop “{self.replace}”"

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        words = r"\s+".join(map(re.escape, self.replace.split()))
        bounded = (r"(?<!\w)" if _is_word(self.replace[0]) else "") + words + (r"(?!\w)" if _is_word(self.replace[-1]) else "")
        # What is dropped takes the space before it along, or at the very beginning the one after it.
        return re.compile(bounded if self.by else rf"^{bounded}\s*|\s*{bounded}")

    def apply(self, target: str) -> str:
        """Return the text with the rule applied; the same text where the words do not occur."""
        return self._pattern.sub(lambda _: self.by, target)


def _is_word(letter: str) -> bool:
    return re.match(r"\w", letter) is not None


def rules_of(before: str, after: str) -> list[Rule]:
    """Return the rules that an edit makes: one for each run of words that it replaced or dropped. Added words say nothing of other rows."""
    old, new = list(_TOKEN.finditer(before)), list(_TOKEN.finditer(after))
    matcher = SequenceMatcher(None, [token.group() for token in old], [token.group() for token in new], autojunk=False)
    found = []
    for kind, start, end, new_start, new_end in matcher.get_opcodes():
        if kind in ("replace", "delete"):
            by = after[new[new_start].start() : new[new_end - 1].end()] if new_end > new_start else ""
            found.append(Rule(before[old[start].start() : old[end - 1].end()], by))
    # A rule of punctuation alone, such as every period, is hardly what was meant.
    return [rule for rule in dict.fromkeys(found) if any(map(str.isalnum, rule.replace))]


@dataclass(frozen=True)
class Change:
    """What a rule does to one row."""

    key: str
    before: str
    after: str


def preview(session: Session, dataset: int, reviewer: str, rule: Rule, shown: int = 50) -> tuple[int, list[Change]]:
    """Return how many rows the rule would change, and the first `shown` of them."""
    found, some = 0, list[Change]()
    for change in _changes(_rows(session, dataset, reviewer, rule), rule):
        found += 1
        if len(some) < shown:
            some.append(change)
    return found, some


def apply(session: Session, dataset: int, reviewer: str, rule: Rule) -> int:
    """Edit every row that the rule changes; return how many. One `undo` takes all of it back."""
    applied = json.dumps({"id": str(uuid.uuid4()), "replace": rule.replace, "by": rule.by})
    rows = _rows(session, dataset, reviewer, rule, " FOR UPDATE OF review SKIP LOCKED")
    changes = [{"key": change.key, "target": change.after} for change in _changes(rows, rule)]
    for start in range(0, len(changes), _ROWS_A_STATEMENT):
        part = json.dumps(changes[start : start + _ROWS_A_STATEMENT])
        session.connection().execute(text(_APPLY), {"dataset": dataset, "reviewer": reviewer, "rule": applied, "rows": part})
    return len(changes)


def _rows(session: Session, dataset: int, reviewer: str, rule: Rule, lock: str = "") -> Iterator[Row[Any]]:
    values = {"dataset": dataset, "reviewer": reviewer, "word": rule.replace.split()[0]}
    options = {"stream_results": True, "yield_per": _ROWS_A_STATEMENT}
    yield from session.connection().execute(text(_ROWS + lock), values, execution_options=options)


def _changes(rows: Iterator[Row[Any]], rule: Rule) -> Iterator[Change]:
    for row in rows:
        after = rule.apply(row.target)
        # Nothing is left of a text that was this alone: that is a row to reject, not to edit.
        if after != row.target and after.strip():
            yield Change(row.key, row.target, after)
