r"""Escape control and invisible characters in text of others, as `\x1b` or `\u202e`.

Tweets, names, file names and answers of servers are written by others. A terminal that prints them raw may move its cursor, fill
the clipboard or show words in another order than they are stored in; and characters without a shape hide words from a reader.
"""

from __future__ import annotations

import re

# Controls of C0 and C1 but for the line feed, all characters of Unicode's kinds "format" and "surrogate", both separators of lines
# and paragraphs, fillers that look like nothing, and the supplement of variation selectors, in which whole texts can be hidden.
# Apart from them stand the joiners and the first variation selectors, which emoji and many scripts need: see `_UNSHOWN`.
_ALWAYS = (
    "\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U00013438\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_EMOJI = "\xa9\xae\u2190-\u2bff\u3030\u303d\u3297\u3299\ufe0f\U0001f000-\U0001faff"
_JOINED_SCRIPTS = "\u0600-\u109f\u1780-\u17ff\u1820-\u18af"
_SELECTORS = "\ufe00-\ufe0f"

_UNSHOWN = re.compile(
    f"[{_ALWAYS}]"
    f"|\u200d(?!(?<=[{_EMOJI}]\u200d)[{_EMOJI}]|(?<=[{_JOINED_SCRIPTS}]\u200d)[{_JOINED_SCRIPTS}])"
    f"|\u200c(?!(?<=[{_JOINED_SCRIPTS}]\u200c)[{_JOINED_SCRIPTS}])"
    # One behind what can be seen, not several.
    f"|(?:(?<![^\\s{_SELECTORS}{_ALWAYS}\u200c\u200d])|(?<=[{_SELECTORS}]))[{_SELECTORS}]"
)
_IN_JSON = re.compile(f"[{_ALWAYS}\u200c\u200d]")
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def showable(text: str, *, one_line: bool = False) -> str:
    """Return the text with escapes in place of what would do something to a terminal, or could not be seen on it.

    Args:
        text: whatever others wrote.
        one_line: escape line feeds and tabs too, for a place that holds one line.
    """
    shown = _UNSHOWN.sub(lambda found: found[0] if found[0] == "\t" else _escape(found[0]), text)
    return shown.replace("\n", r"\n").replace("\t", r"\t") if one_line else shown


def restored(shown: str, original: str) -> str:
    """Return what a person made of `showable(original)`: characters of the original that stand there as escapes are themselves again."""
    for character in sorted({found[0] for found in _UNSHOWN.finditer(original)}):
        shown = shown.replace(_escape(character), character)
    return shown


def showable_json(document: str) -> str:
    """JSON whose strings hold no such character, and mean the same: each stands as its escape.

    Args:
        document: JSON as `json.dumps(…, ensure_ascii=False)` makes it: line feeds and other controls of C0 stand between values only.
    """
    return _IN_JSON.sub(lambda found: _json_escape(found[0]), document)


def _escape(character: str) -> str:
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(character: str) -> str:
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
