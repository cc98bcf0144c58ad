"""Prepares a tweet for a model: removes links, retweet marks, addresses and closing hashtags, and turns the other hashtags into words."""

from __future__ import annotations

import re
from functools import lru_cache

from workers.text.english.lexicon import OPEN_ENDINGS
from workers.text.handles import spell_out_handles, subject_handle
from workers.text.tokens import HANDLE, HASHTAG, LINK, plain, split_hashtag, split_hashtags, without_retweet_marks

PREPARED_LIMIT = 4000
"""Characters of a post that a model is shown. Tweets have 280; only long-form posts are cut."""

REMEMBERED = 8192
"""Tweets whose cleaned forms are remembered: those of an engine's largest call, from its prompts to its last check."""

# After one of these a closing hashtag is the end of the sentence, not a label on it: "off to the #beach".
_BEFORE_A_NOUN = OPEN_ENDINGS | {
    "this",
    "that",
    "his",
    "her",
    "in",
    "on",
    "for",
    "about",
    "like",
    "watching",
    "seeing",
    "love",
    "loving",
    "hate",
}
_LEADING_HANDLES = re.compile(rf"^(?:[.\"'\s,:&+-]*{HANDLE.pattern})+(?:[:,-]+(?=\s|$)|\s-+(?=\s))*")
_NO_INCH = re.compile(r'(?<!\d)"')
_TRAILING_TAGS = re.compile(r"(?:\s*(?<!\S)[#＃]\w+[.!?,]*)+$")


@lru_cache(maxsize=REMEMBERED)
def prepare(text: str) -> str:
    """Return a tweet as models see it: its words on one line, without links, retweet marks and addresses.

    Links, retweet marks, leading and closing handles and the closing run of hashtags are removed. Hashtags and handles inside a sentence
    become words, and so does a handle that is its subject; a lone quotation mark is dropped. A tweet of nothing but hashtags
    keeps their words; one of nothing but links or handles gives the empty text. A text longer than `PREPARED_LIMIT` is cut at a space.
    """
    body = without_retweet_marks(LINK.sub(" ", plain(text)))
    body = " ".join(body.split())
    body = " ".join((subject_handle(body), _LEADING_HANDLES.sub("", body))).strip()
    body = split_hashtags(spell_out_handles(_without_trailing_tags(_without_lone_quote(body))))
    return _cut(" ".join(body.split()).strip("|~ "))


def _without_lone_quote(body: str) -> str:
    """Return the text without a quotation mark that no other one opens or closes; inches keep theirs."""
    return _NO_INCH.sub("", body) if body.count('"') == 1 else body


def _without_trailing_tags(body: str) -> str:
    match = _TRAILING_TAGS.search(body)
    if match is None:
        return body
    head = body[: match.start()].rstrip()
    if not any(character.isalnum() for character in head):
        return body
    first_tag = HASHTAG.search(match.group())
    if first_tag and head.rsplit(maxsplit=1)[-1].lower() in _BEFORE_A_NOUN:
        return f"{head} {split_hashtag(first_tag.group(1))}"
    return head


def _cut(body: str) -> str:
    if len(body) <= PREPARED_LIMIT:
        return body
    return body[:PREPARED_LIMIT].rsplit(" ", 1)[0]
