"""Parses what a teacher wrote: the text of an answer, as JSON of the schema or plain, with a fence, a lead-in or remarks around it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping

from workers.inference.remote.completions import Choice, Problem
from workers.inference.remote.message_parts import loaded
from workers.text.thoughts import split_thoughts

_FENCE = re.compile(r"\A```[\w-]*[ \t]*\n?(.*?)\s*```\Z", re.DOTALL)
# "Sure! Here is the summary:" and "Summary:" stand before an answer and are none of it.
_LEAD_IN = re.compile(
    r"\A(?:(?:sure|certainly|of course|okay|ok|absolutely)[!,.:]?\s+)?here(?:'s|’s| is| you go)[^:\n]{0,80}:\s*"
    r"|\A[*_#\s]{0,4}(?:summary|answer|rewritten tweet|rewrite|text)[*_]{0,2}:[*_]{0,2}\s*",
    re.IGNORECASE,
)
_SINGLE_QUOTED = re.compile(r"\{\s*'text'\s*:\s*('(?:[^'\\\n]|\\.){1,4000}')\s*,?\s*\}")
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")
_OTHER_NAMES = frozenset({"summary", "answer", "response", "output", "result", "rewrite", "rewritten_tweet"})
_LONGEST = 200_000  # characters that are searched for JSON
_MOST_STARTS = 64
_DECODER = json.JSONDecoder(strict=False)

LIMIT, REPEATED = frozenset({Problem.THOUGHT, Problem.CUT}), frozenset({Problem.EMPTY, Problem.CONTROLS, Problem.MALFORMED})
"""Problems that a higher limit mends; and those that another answer may not have."""


def text_of(choice: Choice, *, structured: bool) -> str | Problem:
    """Return the answer's text, or why there is none.

    JSON may stand in a fence or between remarks and have more keys than the schema: what counts is one `text`. Where several objects
    give different ones, none is taken; an object with nothing but a summary, an answer or the like has it for its text. A server that
    was asked for plain text may answer with JSON all the same.
    """
    if choice.problem is not None:
        return choice.problem
    content = _bare(choice.text)
    if content.startswith(("{", "[")) or structured:
        text = _from_json(content)
    else:
        text = None if choice.cut else _unquoted(_LEAD_IN.sub("", content, count=1).strip())
    if text and not any(
        "\ud800" <= each <= "\udfff" or (ord(each) < 32 and each not in "\t\n\r") or "\x7f" <= each <= "\x9f" for each in text
    ):
        return text
    if choice.cut:
        return Problem.CUT
    return Problem.CONTROLS if text else Problem.MALFORMED


def holds_json(choice: Choice) -> bool:
    """Whether there is any object in an answer, so that the server may have followed a schema."""
    return "{" in choice.text


def _bare(content: str) -> str:
    """Return an answer without the fence around it."""
    fenced = _FENCE.match(content.strip())
    return (fenced.group(1) if fenced else content).strip()


def _from_json(content: str) -> str | None:
    """Return the one `text` of the objects in an answer; None without one, or where they differ."""
    content = _decoded_twice(content[:_LONGEST])
    found = dict.fromkeys(_texts(content)) or dict.fromkeys(_texts(_TRAILING_COMMA.sub(r"\1", content)))
    if not found:
        quoted = _SINGLE_QUOTED.search(content)
        return _literal(quoted.group(1)) if quoted else None
    return split_thoughts(next(iter(found))).text if len(found) == 1 else None


def _decoded_twice(content: str) -> str:
    """Return what a string of JSON holds, if it holds an object: some models write JSON within JSON."""
    inner = loaded(content) if content.startswith('"') else None
    return inner if isinstance(inner, str) and "{" in inner else content


def _texts(content: str) -> Iterator[str]:
    """Yield the `text` of each object in an answer, outermost first; an object without one is looked into."""
    place = -1
    for _ in range(_MOST_STARTS):
        place = content.find("{", place + 1)
        if place < 0:
            return
        try:
            value, end = _DECODER.raw_decode(content, place)
        except (ValueError, RecursionError):
            continue
        text = _text_in(value) if isinstance(value, dict) else None
        if text is not None:
            yield text.strip()
            place = end - 1


def _text_in(fields: Mapping[str, object]) -> str | None:
    """Return the text of an object, under its own name in any capitals, or under another that is alone in it."""
    named = {name.lower(): value for name, value in fields.items()}
    text = named.get("text", next(iter(named.values())) if len(fields) == 1 and named.keys() <= _OTHER_NAMES else None)
    return text if isinstance(text, str) else None


def _literal(quoted: str) -> str | None:
    try:
        return str(ast.literal_eval(quoted)).strip()
    except (ValueError, SyntaxError):
        return None


def _unquoted(text: str) -> str:
    for first, last in (('"', '"'), ("“", "”")):
        if len(text) > 1 and text[0] == first and text[-1] == last and not {first, last} & set(text[1:-1]):
            return text[1:-1].strip()
    return text
