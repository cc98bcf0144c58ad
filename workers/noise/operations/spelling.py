"""Applies operations on the spelling of single words: slang, apostrophes, typos, lengthened words, capitals."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from workers.noise.fitting.keyboards import KEYBOARDS
from workers.noise.fitting.slang import SLANG
from workers.noise.fitting.word_lists import EXPRESSIVE, VOWELS
from workers.noise.operations.draft import Draft, Word

EXPRESSIVE_FACTOR = 8.0  # expressive words are about one in eight, and most lengthened words are among them


def _by_first_word() -> dict[str, list[tuple[str, list[str]]]]:
    phrases: dict[str, list[tuple[str, list[str]]]] = defaultdict(list)
    for phrase in sorted(SLANG, key=lambda phrase: -len(phrase.split())):
        lowered = phrase.lower().split()
        phrases[lowered[0]].append((phrase, lowered))
    return dict(phrases)


PHRASES_BY_FIRST_WORD = _by_first_word()


def drop_subject(draft: Draft) -> None:
    """Drop the subject: `I am having a day` -> `Having a day`, `I'm at the airport` -> `At the airport`; the latter half as often."""
    words = draft.words
    if not words or words[0].before or not draft.chance(draft.rates.dropped_subject):
        return
    count = 1 if words[0].core in ("I'm", "I’m") else 2 if [word.core for word in words[:2]] == ["I", "am"] else 0
    if not count or len(words) <= count + 1 or any(word.after for word in words[:count]):
        return
    following = words[count]
    progressive = len(following.core) > 4 and following.core.endswith("ing")
    if following.before or following.fixed or following.core in ("a", "an", "the") or not (progressive or draft.chance(0.5)):
        return
    del words[:count]
    following.core, following.opens = _capitalised(following.core), True
    draft.record("subject dropped", 0)


def use_slang(draft: Draft) -> None:
    """Use slang: `going to` -> `gonna`, `you` -> `u`, each spelling as often as it was measured."""
    place = 0
    while place < len(draft.words):
        for phrase, lowered in PHRASES_BY_FIRST_WORD.get(draft.words[place].core.lower(), []):
            found = draft.words[place : place + len(lowered)]
            if not is_phrase(found, lowered):
                continue
            spelling = _chosen_spelling(draft, phrase)
            if spelling:
                respell(draft, place, len(lowered), spelling)
                break
        place += 1


def is_phrase(found: list[Word], lowered: list[str]) -> bool:
    """Whether the words are this phrase, with nothing between them and nothing out of bounds."""
    return (
        [word.core.lower().replace("’", "'") for word in found] == lowered
        and not any(word.fixed or word.named for word in found)
        and not any(word.after for word in found[:-1])
        and not any(word.before for word in found[1:])
    )


def _chosen_spelling(draft: Draft, phrase: str) -> str | None:
    spellings = draft.rates.slang.get(phrase, {})
    total = sum(spellings.values())
    if not draft.word_chance(min(1.0, total)):
        return None
    return draft.rng.choices(list(spellings), weights=list(spellings.values()))[0]


def respell(draft: Draft, place: int, length: int, spelling: str) -> None:
    """Write the words from `place` on as one spelling."""
    first, last = draft.words[place], draft.words[place + length - 1]
    core = _capitalised(spelling) if first.opens and first.core[0].isupper() and spelling.isalpha() else spelling
    draft.words[place : place + length] = [Word(first.before, core, last.after, first.opens, True, first.place, first.gap)]
    draft.record("slang", first)


def drop_apostrophes(draft: Draft) -> None:
    """Drop apostrophes: `can't` -> `cant`. The letters of a negation stay."""
    for word in draft.words:
        bare = without_apostrophe(word.core)
        if bare is not None and draft.word_chance(draft.rates.dropped_apostrophe):
            word.core = bare
            draft.record("apostrophe dropped", word)


def without_apostrophe(core: str) -> str | None:
    """Return a contraction without its apostrophe; None for any other word."""
    bare = core.replace("'", "").replace("’", "")
    return bare if bare.isalpha() and bare != core and core[-1].isalpha() else None


def make_typos(draft: Draft) -> None:
    """Make one typo a word at most: a letter or the vowels dropped, two letters swapped, a neighbouring key."""
    known = typos_on("qwerty")
    typos = [(name, known[name]) for name in ("letter dropped", "vowels dropped", "letters swapped", "key missed")]
    for word in draft.words:
        if word.spellable and draft.word_chance(draft.rates.typo):
            name, misspell = draft.rng.choice(typos)
            changed = misspell(word.core, draft.rng)
            if changed != word.core:
                word.core, word.fixed = changed, True
                draft.record(name, word)


def _drop_letter(core: str, rng: random.Random) -> str:
    place = rng.randrange(1, len(core))
    return core[:place] + core[place + 1 :]


def _drop_vowels(core: str, _rng: random.Random) -> str:
    inner = "".join(letter for letter in core[1:-1] if letter not in VOWELS)
    return core[0] + inner + core[-1] if len(inner) >= 2 else core


def _swap(core: str, rng: random.Random) -> str:
    place = rng.randrange(1, len(core) - 1)
    return core[:place] + core[place + 1] + core[place] + core[place + 2 :]


def _double_letter(core: str, rng: random.Random) -> str:
    place = rng.randrange(1, len(core))
    return core[:place] + core[place] + core[place:]


def _miss_key(core: str, rng: random.Random, layout: str) -> str:
    place = rng.randrange(1, len(core))
    keys = KEYBOARDS[layout].get(core[place])
    return core[:place] + rng.choice(keys) + core[place + 1 :] if keys else core


def typos_on(layout: str) -> dict[str, Callable[[str, random.Random], str]]:
    """Return the typos that can be made in a word, by name, as they happen on a keyboard; each keeps the first letter."""
    return {
        "letter dropped": _drop_letter,
        "letter doubled": _double_letter,
        "vowels dropped": _drop_vowels,
        "letters swapped": _swap,
        "key missed": partial(_miss_key, layout=layout),
    }


def lengthen(draft: Draft) -> None:
    """Lengthen words: `so` -> `sooo`, expressive words above all."""
    for word in draft.words:
        expressive = word.core.lower() in EXPRESSIVE
        if stretchable(word) and draft.word_chance(min(1.0, draft.rates.elongated_word * (EXPRESSIVE_FACTOR if expressive else 0.2))):
            stretch(draft, word, draft.rng.choice((2, 2, 3, 4)))


def stretchable(word: Word) -> bool:
    """Whether somebody may dwell on it: an expressive word, or any plain one."""
    return not word.fixed and not word.named and word.core.isalpha() and (word.core.lower() in EXPRESSIVE or word.spellable)


def stretch(draft: Draft, word: Word, letters: int) -> None:
    """Repeat one letter of a word so many times more."""
    place = _dwelling(word.core)
    word.core = word.core[:place] + word.core[place] * letters + word.core[place:]
    word.fixed = True
    draft.record("lengthened", word)


def _dwelling(core: str) -> int:
    """Return the place of the letter to lengthen: the vowel before a final silent e or the last consonant, else the last letter."""
    lowered = core.lower()
    if lowered[-1] in VOWELS + "yhwm" and not (lowered[-1] == "e" and len(core) > 3):
        return len(core) - 1
    vowels = [place for place, letter in enumerate(lowered[:-1]) if letter in VOWELS]
    return vowels[-1] if vowels else len(core) - 1


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
