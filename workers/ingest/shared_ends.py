"""Strips what all rows of an import have in common at their ends: separators of older training formats, and an instruction.

Rows stand in the table `incoming_curated`. The smallest and the largest of all texts share what all of them share, so one pass tells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import Connection, text

# OpenAI's older fine-tuning wanted each prompt to end in a separator and each completion to begin with a space and end in a stop.
_SEPARATOR = re.compile(r"\s*(?:#{3,}|-{3,}|=+>|->|\|\|)\s*\Z")
_STOP = re.compile(r"(?:\s+END|\s*(?:#{3,}|<\|(?:endoftext|im_end|eot_id|end)\|>|</s>|<eos>|<end_of_turn>|\[END\]|<\|end_of_text\|>))\s*\Z")
# An instruction before a colon. One row alone can only be known by this.
_INSTRUCTION = re.compile(
    r"(?:please )?(?:summari[sz]e|shorten|rewrite|rephrase|normali[sz]e|clean|translate|tl;?dr)\b[^\n:]{0,80}:\s*", re.I
)
_FEWEST_ROWS = 20  # whose prompts begin alike by chance only if they are one person's
_WORD = re.compile(r"(?<![@#\w])[^\W\d_]{2,}")

_SHARED = """
SELECT count(*) AS rows, min(text COLLATE "C") AS first_prompt, max(text COLLATE "C") AS last_prompt,
    min(reverse(text) COLLATE "C") AS first_prompt_end, max(reverse(text) COLLATE "C") AS last_prompt_end,
    min(reverse(summary) COLLATE "C") AS first_answer_end, max(reverse(summary) COLLATE "C") AS last_answer_end,
    coalesce(bool_and(summary ~ '^\\s'), false) AS answers_indented
FROM incoming_curated WHERE reason IS NULL
"""
_CUT = """
UPDATE incoming_curated SET
    text = substr(text, :prompt_begins + 1, greatest(length(text) - :prompt_begins - :prompt_ends, 0)),
    summary = substr(summary, 1, greatest(length(summary) - :answer_ends, 0))
WHERE reason IS NULL
"""
_UNINDENT = "UPDATE incoming_curated SET summary = ltrim(summary, E' \\t\\r\\n') WHERE reason IS NULL"
_REFUSE_EMPTY = """
UPDATE incoming_curated SET field = CASE WHEN text ~ '\\S' THEN 'completion' ELSE 'prompt' END,
    reason = 'nothing is left of it without what all rows have in common'
WHERE reason IS NULL AND NOT (text ~ '\\S' AND summary ~ '\\S')
"""


@dataclass(frozen=True)
class Shared:
    """Characters that every prompt begins with and ends in, and that every answer ends in, as far as they are no part of a text."""

    rows: int
    instruction: int = 0
    closing: int = 0
    separator: int = 0
    stop: int = 0
    answers_indented: bool = False


def strip(connection: Connection, *, strip_instruction: bool) -> list[str]:
    """Strip the separators that every row has, and an instruction where that is asked for; return remarks on what was done."""
    shared = _shared(connection)
    remarks = []
    instruction, closing = (shared.instruction, shared.closing) if strip_instruction else (0, 0)
    cuts = {"prompt_begins": instruction, "prompt_ends": shared.separator + closing, "answer_ends": shared.stop}
    if any(cuts.values()):
        connection.execute(text(_CUT), cuts)
        if (shared.separator or shared.stop) and shared.answers_indented:
            connection.execute(text(_UNINDENT))
        connection.execute(text(_REFUSE_EMPTY))
    if shared.separator or shared.stop:
        where = " and ".join(
            ([f"a separator of {shared.separator} characters after the prompt"] if shared.separator else [])
            + ([f"a stop of {shared.stop} characters after the answer"] if shared.stop else [])
        )
        remarks.append(f"Every row has {where}, as older training formats want it: it was taken off.")
    if shared.instruction or shared.closing:
        remarks.append(_of_instruction(shared, stripped=strip_instruction))
    return remarks


def _of_instruction(shared: Shared, *, stripped: bool) -> str:
    begins = f"begins with the same {shared.instruction} characters" if shared.instruction else ""
    ends = f"ends in the same {shared.closing} characters" if shared.closing else ""
    what = f"Every prompt (of {shared.rows:,}) {' and '.join(filter(None, (begins, ends)))}"
    if stripped:
        return f"{what}: they were taken off."
    return f"{what}. Where that is an instruction it is learnt as a part of the tweet: --strip-instruction takes it off."


def _shared(connection: Connection) -> Shared:
    row = connection.execute(text(_SHARED)).one()
    if not row.rows:
        return Shared(0)
    prompt_end = _common(row.first_prompt_end, row.last_prompt_end)[::-1]
    answer_end = _common(row.first_answer_end, row.last_answer_end)[::-1]
    separator, stop = _length(_SEPARATOR.search(prompt_end)), _length(_STOP.search(answer_end))
    beginning = _common(row.first_prompt, row.last_prompt)
    # A single row, or one that comes again and again, shares all of itself with itself.
    alike = row.first_prompt == row.last_prompt
    closing = 0 if alike else _closing(prompt_end[: len(prompt_end) - separator], row.rows)
    return Shared(row.rows, _beginning(beginning, row.rows, alike=alike), closing, separator, stop, row.answers_indented)


def _beginning(shared: str, rows: int, *, alike: bool) -> int:
    """Return the length of an instruction in a shared beginning: to the last colon or line's end, of many rows to the last space."""
    instruction = _INSTRUCTION.match(shared)
    if alike:
        return instruction.end() if instruction else 0
    marked = re.match(r"(?s).*[:\n>]\s*", shared)
    if marked and _WORD.search(marked.group()):
        return marked.end()
    whole = re.match(r"(?s).*\s", shared)
    return whole.end() if whole and rows >= _FEWEST_ROWS and len(_WORD.findall(whole.group())) > 1 else 0


def _closing(shared: str, rows: int) -> int:
    """Return the length of an instruction in a shared end, such as `Summary:` on a line of its own."""
    whole = re.search(r"(?s)\s*\n.*", shared)
    kept = whole.group() if whole else ""
    return len(kept) if _WORD.search(kept) and (kept.rstrip().endswith(":") or rows >= _FEWEST_ROWS) else 0


def _common(one: str, other: str) -> str:
    ends = next((place for place, (mine, yours) in enumerate(zip(one, other, strict=False)) if mine != yours), None)
    return one[:ends] if ends is not None else min(one, other, key=len)


def _length(found: re.Match[str] | None) -> int:
    return len(found.group()) if found else 0
