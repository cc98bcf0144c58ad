"""Adds handles, hashtags, links and other affixes before, between and after the words, in the order of an observed tweet."""

from __future__ import annotations

from workers.noise.fitting.profile import NoiseProfile
from workers.noise.fitting.style_vectors import CREDIT, EMOJI, EMOTICON, FILLER, HANDLE, HASHTAG, LINK, RETWEET, Style
from workers.noise.fitting.word_lists import COMMON_EMOJI, EMOTICONS, FILLERS_AFTER, TAGS
from workers.noise.operations.decoration import is_content, new_handle, new_link
from workers.noise.operations.draft import Draft, Word

NAMES = {
    HANDLE: "handle",
    HASHTAG: "hashtag",
    LINK: "link",
    RETWEET: "retweet",
    EMOTICON: "emoticon",
    EMOJI: "emoji",
    FILLER: "filler",
    CREDIT: "credit",
}
_SYMBOLS = {EMOTICON: ("emoticons", EMOTICONS), EMOJI: ("emoji", COMMON_EMOJI), FILLER: ("fillers", FILLERS_AFTER)}


def surround(draft: Draft, style: Style, profile: NoiseProfile) -> None:
    """Add the tweet's head and tail."""
    for kind in style.head:
        draft.head.append(_new(kind, draft, profile))
        draft.record(NAMES[kind], 0)
    for kind in style.tail:
        draft.tail.append(_new(kind, draft, profile))
        draft.record(NAMES[kind], draft.end)


def insert(draft: Draft, style: Style, profile: NoiseProfile) -> None:
    """Insert what the tweet had among its words, where a sentence or clause ends; hashtags stand in for words elsewhere."""
    for kind in style.inside.replace(HASHTAG, ""):
        places = [place + 1 for place, word in enumerate(draft.words[:-1]) if word.after or word.gap == "  "]
        if not places and len(draft.words) > 2 and kind == HANDLE:
            places = list(range(1, len(draft.words)))
        if not places:
            return
        place = draft.rng.choice(places)
        at = draft.words[place].place
        draft.words.insert(place, Word("", _new(kind, draft, profile), "", False, True, at))
        draft.record(NAMES[kind], at)


def _new(kind: str, draft: Draft, profile: NoiseProfile) -> str:
    if kind in _SYMBOLS:
        name, usual = _SYMBOLS[kind]
        shares = profile.symbols.get(name) or dict.fromkeys(usual, 1.0)
        # In an order of its own: JSON's may change on the way.
        signs = sorted(shares)
        return draft.rng.choices(signs, weights=[shares[sign] for sign in signs])[0]
    if kind == HASHTAG:
        return _hashtag(draft, profile)
    if kind == LINK:
        return new_link(draft)
    if kind == RETWEET:
        return "RT"
    return "via" if kind == CREDIT else new_handle(draft)


def _hashtag(draft: Draft, profile: NoiseProfile) -> str:
    """Make a hashtag of one or two words of the text, or take a tag that any tweet may have."""
    own = [word.core for word in draft.words if is_content(word)]
    tag = draft.rng.choice(TAGS)
    if own and draft.rng.random() < 0.6:
        first = draft.rng.randrange(len(own))
        tag = "#" + "".join(own[first : first + draft.rng.choice((1, 1, 2))]).lower()
    return f"#{tag[1:].title()}" if draft.rng.random() < profile.hashtag_capitals else tag
