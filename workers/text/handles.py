"""Spells out the handles inside a sentence, and removes those that address somebody."""

from __future__ import annotations

import re

from workers.text.tokens import HANDLE

PLACEHOLDER_HANDLES = frozenset({"anonymous", "user", "username"})
"""Handles that published data sets put in the place of people."""

_VIA = re.compile(
    rf"[(\[]?\b(?:via|by|cc:?|ht|h/t)\s+{HANDLE.pattern}[)\]]?\s*$"
    rf"|\s*[(\[]\s*(?:via|cc:?|h/?t|[rm]t)\s*:?\s*{HANDLE.pattern}(?:[\s,&+]*{HANDLE.pattern})*\s*[)\]]"
    rf"|\s*\b(?:via|h/?t)\s+{HANDLE.pattern}(?=[.!?]+\s*$)",
    re.IGNORECASE,
)
_ADDRESSEE = rf"(?:[(/-]?\s*{HANDLE.pattern}[)]?[\s,.!?&]*)"
_CLOSING_HANDLES = re.compile(rf"([.!?,:;)]|\s[-/])\s*{_ADDRESSEE}+$|\s+{_ADDRESSEE}{{2,}}$")
# "@united is the worst": the name is what the sentence is about. "@united is there a gate yet" and "@united was on hold" speak to it.
_SUBJECT = re.compile(
    rf"^[.\"'\s]*(?P<handle>{HANDLE.pattern})\s+(?="
    r"(?:is|has|isn'?t|hasn'?t)\s+(?!(?:there|it|this|that|these|he|she|my|your|our|his|her|any\w*|some\w+|every\w+|flight)\b)"
    r"|(?:was|wasn'?t)\s+(?:the|an?|so|very|really|not|never)\b)",
    re.IGNORECASE,
)
_SOMEONES = re.compile(r"\bsomeone(?:[\s,&]+(?:and\s+)?someone\b)+")


def subject_handle(body: str) -> str:
    """Return the handle that begins a tweet as the subject of its first sentence; empty where it is spoken to, as in a question."""
    match = None if "?" in body else _SUBJECT.match(body)
    return match["handle"] if match else ""


def spell_out_handles(body: str) -> str:
    """Remove the handles that close a tweet; one inside a sentence leaves its name, or `someone` where a data set hid it."""
    body = _CLOSING_HANDLES.sub(lambda match: match.group(1) or "", _VIA.sub("", body))
    named = HANDLE.sub(lambda match: "someone" if match.group()[1:].lower() in PLACEHOLDER_HANDLES else match.group()[1:], body)
    return _SOMEONES.sub("someone", named).strip()
