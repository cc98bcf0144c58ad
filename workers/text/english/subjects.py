"""Finds a writer who does, in an output, what the tweet asks of others or says of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from workers.text.english.lexicon import AUXILIARIES, DIARY, FUNCTION, IRREGULAR, LEAD_INS, THIRD_PERSON, TIMES_OF_DAY, UNCHANGED
from workers.text.english.words import WORD, lowered, stem

_CLAUSE = re.compile(r"[,;:]\s|\s[-–—~]+\s|[—()\"]|\.{2,}|\b(?:but|because|so|if|when|that|which)\b", re.IGNORECASE)
_ASIDE = re.compile(r"\([^()]*\)")
_WRITER = frozenset({"i", "we", "i'll", "we'll", "i'm", "im", "we're", "i've", "ive", "we've"})
_BARE = frozenset({"i", "we", "i'll", "we'll"})
_READER = frozenset({"you", "u", "ya", "you're", "youre", "you've", "you'll"})
_ADVERBS = frozenset({"not", "just", "also", "still", "never", "always", "even", "only", "already", "to"})
_DOING = frozenset({"go", "going", "get", "getting", "doing"})


@dataclass(frozen=True)
class _Verb:
    """A verb with its subject, and whether no auxiliary stands between: `I give`, not `I am glad`."""

    text: str
    bare: bool


def is_made_the_writers(sentences: Sequence[str], output: str) -> bool:
    """Return whether `I` does in the output what somebody else does in the tweet, or is asked to do.

    A tweet may leave out its `I`: "Told the kids", "Love this song". Whose a verb is can be told where `you` or `he` stands before it,
    where a form such as `smells` or `happened` opens a clause, and where one such as `give` does, but for what people say of themselves.

    Args:
        sentences: of the tweet, as it is prepared.
        output: as it was written.
    """
    verbs = list(_verbs(lowered(output), _WRITER))
    if not verbs:
        return False
    clauses = [clause for sentence in sentences for clause in _clauses(sentence)]
    mine = {stem(verb.text) for clause in clauses for verb in _verbs(clause, _WRITER)}
    return any(stem(verb.text) not in mine and _are_others(clauses, verb) for verb in verbs)


def _verbs(words: Sequence[str], subjects: Collection[str]) -> Iterator[_Verb]:
    """Yield the verb after each subject: the first word that is no auxiliary, adverb or other small word."""
    for place, word in enumerate(words):
        if word not in subjects:
            continue
        bare = word not in _WRITER or word in _BARE
        for after in words[place + 1 : place + 5]:
            if after in AUXILIARIES:
                bare = False
            elif after not in _ADVERBS and not after.endswith("ly"):
                if after not in FUNCTION or after in _DOING:
                    yield _Verb(after, bare)
                break


@lru_cache(maxsize=256)
def _clauses(sentence: str) -> tuple[tuple[str, ...], ...]:
    return tuple(
        words for clause in _CLAUSE.split(_ASIDE.sub(" ", sentence)) if (words := tuple(word.lower() for word in WORD.findall(clause)))
    )


def _are_others(clauses: Sequence[Sequence[str]], verb: _Verb) -> bool:
    """Return whether each clause with the verb has it of somebody else, or tells the reader to do it."""
    base = stem(verb.text)
    with_it = [clause for clause in clauses if any(stem(word) == base for word in clause)]
    return bool(with_it) and all(_is_others(clause, verb, base) for clause in with_it)


def _is_others(clause: Sequence[str], verb: _Verb, base: str) -> bool:
    if any(stem(theirs.text) == base for theirs in _verbs(clause, _READER | THIRD_PERSON)):
        return True
    if not verb.bare:
        return False
    opens = clause[0]
    if stem(opens) != base:
        return _follows_a_name(clause, base)
    if opens in (f"{verb.text}s", f"{verb.text}es", "happened"):
        return True
    known = opens in DIARY or opens in UNCHANGED or opens in IRREGULAR or opens in LEAD_INS
    return opens == verb.text and not known and not opens.endswith(("ed", "ing"))


def _follows_a_name(clause: Sequence[str], base: str) -> bool:
    """Return whether the past of the verb stands right after a word that can be its subject: `service refunded`, not `yesterday met`."""
    place = next(place for place, word in enumerate(clause) if stem(word) == base)
    before, form = clause[place - 1], clause[place]
    is_name = before not in FUNCTION and before not in DIARY and before not in TIMES_OF_DAY and not before.endswith(("ly", "ed", "ing"))
    is_past = form.endswith("ed") or form in IRREGULAR
    return is_name and is_past and _WRITER.isdisjoint(clause[:place])
