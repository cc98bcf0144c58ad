"""Cleans a tweet by rules alone, and cuts its opening as one sentence."""

from __future__ import annotations

import re
from functools import lru_cache

from workers.text.english.lexicon import FUNCTION, LAUGHTER, OPEN_ENDINGS
from workers.text.english.words import SENTENCE_BOUNDARY, join_acronyms, undo_elongation
from workers.text.prepare import REMEMBERED, prepare
from workers.text.tokens import EMOJI, EMOTICON, LINK, plain, split_hashtag

_FACE_BETWEEN_SENTENCES = re.compile(rf"(?<=\w)\s*(?:{EMOTICON.pattern}|{EMOJI.pattern})\s+(?=[A-Z])")
_LONE_AT = re.compile(r"(?<!\S)@(?!\S)")
_LETTERS = re.compile(r"[^\W\d_]+")
_INNER_END = re.compile(r"[.!?]+([\"')\]]*)\s+(\w*)")
_LAUGH = re.compile(r"\b(?:a?(?:ha){2,}h?|(?:he){2,}h?|(?:lo){1,}l+z?|lmf?ao+|ro(?:t)?fl\w*|xd+)\b[!.,]*", re.IGNORECASE)
_REPEATED_MARKS = re.compile(r"([!?.,;:~*_=-])(?:\s*\1)+")
_MIXED_MARKS = re.compile(r"[!?]*\?[!?]+|!+\?[!?]*")
_LEFTOVERS = re.compile(r"\(\s*\)|\[\s*\]|\"\s*\"|(?<!\S)[-~*_=|<>^/\\:;,+]+(?!\S)")
_SPACE_BEFORE_MARK = re.compile(r"\s+([.,!?;:](?:\s|$))")
_SENTENCE_ENDS = re.compile(r"[.!?][\"')\]]*$")
_CLAUSE_ENDS = re.compile(r"[,;:)][\"']*$")
_CONJUNCTIONS = frozenset({"and", "but", "because", "so", "which", "while", "although", "though", "since", "when", "who", "until"})
_SHORTEST_CLAUSE = 5
_SHOUTED_SHARE = 0.7


@lru_cache(maxsize=REMEMBERED)
def rules(text: str) -> str:
    """Return a tweet cleaned by rules alone, with all its sentences; empty when it has no words."""
    body = prepare(text) or _words_of_tags(text)
    body = _FACE_BETWEEN_SENTENCES.sub(". ", LINK.sub(" ", body))
    body = EMOTICON.sub(" ", EMOJI.sub(" ", body))
    body = _LONE_AT.sub("at", body).translate({ord("#"): " ", ord("@"): " "})
    body = _LETTERS.sub(lambda match: undo_elongation(match.group()), body)
    calm = _tidy_marks(_without_filler(body)) or _tidy_marks(body)
    return _sentence_case(_calmed(calm)) if calm else ""


def one_sentence(text: str, max_words: int) -> str:
    """Return the first `max_words` words of `text`; what is not cut keeps its own closing mark."""
    words = join_acronyms(text).split()
    kept = " ".join(words[:max_words])
    closing = kept[-1] if len(words) <= max_words and kept.endswith(("?", "!")) else "."
    joined = _INNER_END.sub(_comma, kept)
    joined = re.sub(r",(\s*,)+", ",", joined).rstrip(" .!?,;:-/&+(\"'[")
    return joined + closing if joined else ""


def opening(text: str, max_words: int) -> str:
    """Return the opening of `text` in at most `max_words` words that ends where a clause does, if one does after five words or more.

    A sentence end is taken before a comma, a comma before a conjunction; failing all, the words before the cut that can end a
    sentence.
    """
    words = join_acronyms(text).split()
    if len(words) <= max_words:
        return one_sentence(text, max_words)
    kept = words[:max_words]
    for ends in (_SENTENCE_ENDS, _CLAUSE_ENDS):
        places = [place for place, word in enumerate(kept, start=1) if place >= _SHORTEST_CLAUSE and ends.search(word)]
        if places:
            return one_sentence(" ".join(kept[: places[-1]]), max_words)
    before = [place for place, word in enumerate(kept) if place >= _SHORTEST_CLAUSE and word.lower() in _CONJUNCTIONS]
    if before:
        return one_sentence(" ".join(kept[: before[-1]]), max_words)
    while len(kept) > 1 and kept[-1].lower() in OPEN_ENDINGS:
        kept.pop()
    return one_sentence(" ".join(kept), max_words)


def _comma(match: re.Match[str]) -> str:
    """Write a mark between two sentences as a comma; a function word that began the second one loses its capital."""
    quote, following = match.groups()
    small = following.lower() in FUNCTION and following != "I" and not following[1:].isupper()
    return f",{quote} {following.lower() if small else following}"


def _without_filler(body: str) -> str:
    return " ".join(word for word in _LAUGH.sub(" ", body).split() if word.lower().strip(".,!?") not in LAUGHTER)


def _words_of_tags(text: str) -> str:
    return " ".join(split_hashtag(word[1:]) for word in plain(text).split() if word[0] in "#＃")


def _tidy_marks(body: str) -> str:
    body = re.sub(r"\s[-~]+\s", ", ", f" {body} ")
    body = _MIXED_MARKS.sub("?", body)
    body = re.sub(r"\.{2,}(?=\w)", ". ", body)
    body = _REPEATED_MARKS.sub(r"\1", body)
    body = _SPACE_BEFORE_MARK.sub(r"\1", " ".join(_LEFTOVERS.sub(" ", body).split()))
    body = " ".join(body.split()).strip(" ,;:-~*_=|/&")
    body = body.lstrip(".!?)] ")
    return body if any(map(str.isalnum, body)) else ""


def _calmed(body: str) -> str:
    """Return the text in small letters where most of it is shouted."""
    letters = [character for character in body if character.isalpha()]
    if len(letters) > 10 and sum(map(str.isupper, letters)) > _SHOUTED_SHARE * len(letters):
        return body.lower()
    return body


def _sentence_case(body: str) -> str:
    body = re.sub(r"\bi\b(?!\.)", "I", body)
    sentences = (sentence[:1].upper() + sentence[1:] for sentence in SENTENCE_BOUNDARY.split(body))
    cased = " ".join(sentence for sentence in sentences if sentence)
    return cased if re.search(r"[.!?][\"')\]]*$", cased) else cased + "."
