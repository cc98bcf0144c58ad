"""Converts HTML to the text that a reader sees: of posts that are HTML, and of tweets that hold some tags.

Two questions are one here: `to_text` is for what surely is HTML, as Mastodon's API sends it, where whatever looks like a tag is one.
`without_tags` is for text of people, who type `<3`, `x < y` and `<sarcasm>`: there only the names of HTML, used as HTML is, are tags.
"""

from __future__ import annotations

import html
import re


def _names(written: str) -> frozenset[str]:
    return frozenset(written.split())


_PARAGRAPHS = _names("p div blockquote pre h1 h2 h3 h4 h5 h6 ul ol dl table section article figure hr")
_LINES = _names("br li tr dt dd option figcaption")
_CELLS = _names("td th")
_UNREAD = _names("script style")
"""Elements whose content nobody sees."""

_SURE = _names("p br div span img hr ul ol li td th tr tbody thead blockquote em strong wbr iframe noscript h1 h2 h3 h4 h5 h6")
"""Names that nobody types as a word between angle brackets."""

_WORDS = _names(
    "a b i u s q small big sub sup del ins mark code pre kbd samp var cite abbr font center strike tt label button input form table dl dt"
    " dd section article figure figcaption header footer main nav html head body title meta link base picture source video audio canvas"
    " svg path script style object embed time ruby rt rp bdi bdo details summary select option textarea custom-emoji"
)
"""Names that may be typed as a word: tags where they have an attribute, or where both ends of the element are there."""

_LONE = _names("a b i u small big sub sup code mark font center")
"""Of these, the names that are tags at the edge of a word too, as in a text that was cut: `<b>late`, `late</b>`, but not `a<b>c`."""

_VALUE = r"""(?:"[^"]*+"|'[^']*+'|[^\s"'<>=`]++)"""
_ATTRIBUTE = rf"\s+[a-zA-Z_:@][\w:.@-]*+(?:\s*+=\s*+{_VALUE})?+"
_TAG = re.compile(rf"<(?P<close>/?)(?P<name>[a-zA-Z][a-zA-Z0-9-]*+)(?P<attributes>(?:{_ATTRIBUTE})*+)\s*+/?>")
_CUT_TAG = re.compile(r"</?(?P<name>[a-zA-Z][a-zA-Z0-9-]*+)(?P<attribute>\s+[a-zA-Z_:@][\w:.@-]*+\s*+=[^<>]*+)?+\s*+/?$")
_COMMENT = re.compile(r"<!--.*?-->|<!doctype\b[^<>]*+>|<!\[CDATA\[|\]\]>", re.IGNORECASE | re.DOTALL)
_INVISIBLE = re.compile(r"""\bclass\s*=\s*["']?[^"'>]*\binvisible\b""", re.IGNORECASE)
_WHITE = re.compile(r"[ \t\r\n\f]+")
_MANY_ENDS = re.compile(r"\n{3,}")

# A reference without its semicolon is one for the four that tweets are full of; "&copy=2" in an address is none.
_ENTITY = re.compile(r"&(?:#[0-9]{1,8};?|#[xX][0-9a-fA-F]{1,8};?|[a-zA-Z][a-zA-Z0-9]{1,31};|(?:amp|lt|gt|quot)(?![a-zA-Z=]))")
_ENTITY_ROUNDS = 5
"""How often an escape may itself have been escaped: each tool on the way may do it once."""


def to_text(markup: str) -> str:
    """Convert HTML to text: paragraphs between blank lines, `<br>` as a line's end, links as their whole address, entities once undone."""
    return unescape_once(_tidied(_Reader(markup, is_html=True).read()))


def without_tags(text: str) -> str:
    """Return the text without HTML tags, where it has any; everything else that stands between angle brackets stays."""
    return _Reader(text, is_html=False).read() if "<" in text else text


def plain_of(text: str) -> str:
    """Return the text with tags and entities undone, however often they were escaped on the way."""
    for _ in range(_ENTITY_ROUNDS):
        undone = unescape_once(without_tags(text))
        if undone == text:
            break
        text = undone
    return text


def unescape_once(text: str) -> str:
    """Return the text with its character references as characters, once: `&amp;lt;` gives `&lt;`."""
    return _ENTITY.sub(lambda match: html.unescape(match.group()), text) if "&" in text else text


class _Reader:
    """One pass over a text, which keeps what is seen and says line ends for the tags that make some."""

    def __init__(self, source: str, *, is_html: bool) -> None:
        self._source = _COMMENT.sub("", source) if "<!" in source else source
        self._is_html = is_html
        self._pairs = frozenset[str]() if is_html else _pairs(self._source)
        self._unread: str | None = None  # the element whose content nobody sees, while inside it
        self._depth = 0
        self._links = 0

    def read(self) -> str:
        """Return what is seen."""
        kept: list[str] = []
        place = 0
        for tag in _TAG.finditer(self._source):
            name = tag["name"].lower()
            if not self._is_tag(name, tag):
                continue
            self._keep(kept, self._source[place : tag.start()])
            place = tag.end()
            kept.append(self._space_of(name, closes=bool(tag["close"]), attributes=tag["attributes"]))
        self._keep(kept, self._without_cut_tag(self._source[place:]))
        return "".join(kept)

    def _is_tag(self, name: str, tag: re.Match[str]) -> bool:
        if self._is_html or name in _SURE:
            return True
        if name not in _WORDS:
            return False
        return "=" in tag["attributes"] or name in self._pairs or (name in _LONE and self._is_at_edge(tag))

    def _is_at_edge(self, tag: re.Match[str]) -> bool:
        before, after = self._source[max(0, tag.start() - 1) : tag.start()], self._source[tag.end() : tag.end() + 1]
        inner, outer = (before, after) if tag["close"] else (after, before)
        return not tag["attributes"] and bool(inner.strip()) and not outer.isalnum()

    def _keep(self, kept: list[str], part: str) -> None:
        if self._unread is None:
            # In HTML a line's end is a space like any other.
            kept.append(_WHITE.sub(" ", part) if self._is_html else part)

    def _space_of(self, name: str, *, closes: bool, attributes: str) -> str:
        """Return what stands for a tag: the ends of blocks, a space between cells, nothing inside a word. Notes what is not seen."""
        if self._unread is not None:
            self._depth += (name == self._unread) * (-1 if closes else 1)
            self._unread = self._unread if self._depth else None
            return ""
        if name == "a":
            self._links += -1 if closes else 1
        elif not closes and (name in _UNREAD or self._hides(name, attributes)):
            self._unread, self._depth = name, 1
        if name in _PARAGRAPHS:
            return "\n\n"
        if name in _LINES:
            return "\n"
        return " " if name in _CELLS else ""

    def _hides(self, name: str, attributes: str) -> bool:
        """Whether an element is hidden: Mastodon hides the ends of a long address, but inside its link they are a part of it."""
        return name == "span" and self._links <= 0 and bool(_INVISIBLE.search(attributes))

    def _without_cut_tag(self, rest: str) -> str:
        """Return the end of a text that was cut inside a tag, without what is left of it."""
        cut = _CUT_TAG.search(rest)
        if cut is None:
            return rest
        known = self._is_html or cut["name"].lower() in (_SURE | _WORDS if cut["attribute"] else _SURE)
        return rest[: cut.start()] if known else rest


def _pairs(text: str) -> frozenset[str]:
    """Return the names of elements of which both ends are in a text."""
    opened, closed = set[str](), set[str]()
    for tag in _TAG.finditer(text):
        (closed if tag["close"] else opened).add(tag["name"].lower())
    return frozenset(opened & closed)


def _tidied(text: str) -> str:
    return _MANY_ENDS.sub("\n\n", "\n".join(line.strip(" \t") for line in text.split("\n"))).strip()
