"""Gives each clean text the style of one observed tweet, as far as the text has room for it.

Where `fixed_rates` draws each operation by itself at the corpus's rate, here one tweet decides them all: its handles, marks, capitals and
typos come together or not at all, and a careful writer's text stays as it is.
"""

from __future__ import annotations

import html
import random
from collections.abc import Callable

from workers.noise.fitting.profile import NoiseProfile
from workers.noise.fitting.style_vectors import HASHTAG, Style
from workers.noise.operations import affixes, punctuation, wording
from workers.noise.operations.decoration import pronouns, recase, recase_all, shoutable, tag_one
from workers.noise.operations.draft import Draft
from workers.noise.operations.fixed_rates import Noisy
from workers.noise.operations.style_matching import Matcher


def match_hashtags(draft: Draft, style: Style, _: NoiseProfile) -> None:
    """Write as many words as hashtags in place as the tweet had."""
    for _count in range(style.inside.count(HASHTAG)):
        tag_one(draft)


def match_case(draft: Draft, style: Style, _: NoiseProfile) -> None:
    """Change case: all small, all capitals, or as many small openings, small `i` and shouted words as the tweet had."""
    if style.case:
        recase_all(draft, *((str.lower, "all small") if style.case == 1 else (str.upper, "all capitals")))
        return
    if style.opens_small:
        recase(draft, draft.words[:1], str.lower, "small opening")
    recase(draft, wording.some(draft, [word for word in draft.words[1:] if word.opens], style.small_openings), str.lower, "small opening")
    recase(draft, wording.some(draft, pronouns(draft), style.small_i), str.lower, "small i")
    recase(draft, wording.some(draft, shoutable(draft), style.shouted), str.upper, "shouted word")


TRIES = 6
OPERATIONS: tuple[Callable[[Draft, Style, NoiseProfile], None], ...] = (
    wording.match_subject,
    wording.drop_articles,
    wording.match_slang,
    wording.write_ampersands,
    wording.merge_and_split,
    wording.match_apostrophes,
    wording.clip_endings,
    match_hashtags,
    wording.add_typos,
    wording.match_lengthening,
    punctuation.join_sentences,
    punctuation.drop_commas,
    punctuation.close,
    match_case,
    punctuation.space,
    affixes.insert,
    affixes.surround,
    wording.squeeze,
)


class Fitted:
    """The noise of one profile."""

    name = "fitted"

    def __init__(self, profile: NoiseProfile) -> None:
        self.profile = profile
        self.fingerprint = profile.fingerprint
        self._matcher = Matcher(profile)

    def apply(self, sentence: str, rng: random.Random) -> Noisy:
        """Apply noise to one clean sentence or short text; the same generator state gives the same noise.

        Who writes against a limit leaves something out: a style that makes the text too long is drawn again, a few times.
        """
        tried = []
        for style in self._matcher.draw(sentence, rng, TRIES):
            tried.append(self.imitate(sentence, style, rng))
            if _length(tried[-1]) <= self.profile.longest:
                return tried[-1]
        return min(tried, key=_length)

    def imitate(self, sentence: str, style: Style, rng: random.Random) -> Noisy:
        """Write the sentence in this very style."""
        draft = Draft.of(sentence, self.profile.rates, rng)
        for operation in OPERATIONS:
            operation(draft, style, self.profile)
        text = draft.text()
        if style.entities and (escaped := _escaped(text)) != text:
            draft.record("entities")
            text = escaped
        return Noisy(text, tuple(draft.operations))


def _length(noisy: Noisy) -> int:
    # An entity is one character to its writer.
    return len(html.unescape(noisy.text))


def _escaped(text: str) -> str:
    """Escape `&`, `<` and `>` as a careless export does."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
