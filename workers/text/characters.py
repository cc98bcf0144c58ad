"""Removes invisible characters, and turns letters of other alphabets that only look different into plain ones.

Web pages, phones and tools leave marks in a text that show nothing, and some people write with the letters of mathematics. A tokenizer
sees all of it: a word with a soft hyphen inside is another word to it.
"""

from __future__ import annotations

import re
import unicodedata

# What Unicode calls default-ignorable, with joiners and the variation selectors of emoji aside; controls that are no white space; and
# code points that stand for nothing.
_NOTHING = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufdd0-\ufdef\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]+"
)
# Colours and titles that a terminal or a log left: with the escape alone gone, their letters would stay as words.
_TERMINAL = re.compile("(?:\x1b\\[|\x9b)[0-?]*+[ -/]*+[@-~]|(?:\x1b\\]|\x9d)[^\x07\x1b\x9c]*+(?:\x07|\x1b\\\\|\x9c)")
# What a program wrote of a character instead of the character.
_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
_BLANKS = str.maketrans({"\u2800": " ", "\ufffc": " "})

_PICTOGRAPHS = "\U0001f000-\U0001faff\u2190-\u21ff\u2300-\u23ff\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299\u20e3"
# Scripts in which a joiner changes how a word reads: Arabic and its kin, those of India and its neighbours, Khmer, Mongolian.
_JOINING = (
    "\u0600-\u08ff\u0900-\u0dff\u0f00-\u109f\u1700-\u18af\u1a20-\u1aaf\u1b00-\u1c4f\ua800-\ua8ff\ua930-\ua9ff\uaa00-\uaadf"
    "\uabc0-\uabff\ufb50-\ufdcf\ufe70-\ufefc\U00011000-\U00011fff"
)
_STRAY_JOINER = re.compile(
    f"\u200c(?![{_JOINING}])|(?<![{_JOINING}])\u200c"
    f"|(?<![{_JOINING}{_PICTOGRAPHS}\ufe0f])\u200d|(?<=[{_PICTOGRAPHS}\ufe0f])\u200d(?![{_PICTOGRAPHS}])"
)
_STRAY_SELECTOR = re.compile(f"(?<![{_PICTOGRAPHS}\u00a9\u00ae\u203c\u2049\u2122\u2139\u24c2])[\ufe0e\ufe0f](?!\u20e3)")

# Letters and digits of mathematics, those of its letters that are older than the rest, full-width ASCII, ligatures; words in circles or
# boxes.
_COSTUME = re.compile(
    "[\U0001d400-\U0001d7ff\uff01-\uff5e\ufb00-\ufb06\u2102\u210a-\u2113\u2115\u2119-\u211d\u2124\u2128\u212c\u212d\u212f-\u2134]+"
    "|[\u24b6-\u24e9]{2,}|[\U0001f130-\U0001f149]{2,}"
)


def visible(text: str) -> str:
    r"""Return the text without what shows nothing, and with letters in costume as plain letters; white space is left to the caller.

    Escapes such as `\u2019`, which a program left, become what they stand for. Joiners stay where a script or an emoji needs them, and
    so do the selectors that make a sign an emoji.
    """
    if "\\u" in text:
        text = _ESCAPES.sub(_unescaped, text)
    text = _NOTHING.sub("", _TERMINAL.sub("", text))
    if text.isascii():
        return text
    text = _STRAY_SELECTOR.sub("", _STRAY_JOINER.sub("", text.translate(_BLANKS)))
    return unicodedata.normalize("NFC", _COSTUME.sub(lambda match: unicodedata.normalize("NFKC", match.group()), text))


def _unescaped(match: re.Match[str]) -> str:
    """Return what a run of escapes stands for; two halves of a pair are one character, and a half alone is none."""
    units = bytes.fromhex(match.group().replace("\\u", ""))
    return units.decode("utf-16-be", errors="ignore")
