"""Detects texts that are surely in another language than the wanted one.

Tweets are short and misspelt, so a detector's first guess is often wrong: of 4,200 English tweets one in twenty is called something else.
Asked is therefore only whether the wanted language is next to impossible.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from workers.errors import UserError
from workers.text.tokens import EMOJI, EMOTICON, HANDLE, HASHTAG, LINK, RETWEET, plain

IMPOSSIBLE = 0.001
"""Probability of the wanted language under which a text is surely something else."""

_FEWEST_WORDS = 3
_FEWEST_FOREIGN_LETTERS = 4  # where the script is another one, fewer words tell: some scripts put no spaces between them
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_LATIN = re.compile("[a-z\u00aa\u00ba\u00c0-\u024f\u1e00-\u1eff]", re.IGNORECASE)
_MARKS = (LINK, RETWEET, HANDLE, HASHTAG, EMOTICON, EMOJI)


def surely_other(text: str, language: str) -> bool:
    """Whether `text` is in another language than `language`; False where it is too short to tell.

    Links, handles, hashtags and emoji are no language. A word counts once: a row of `ha ha ha` is in no language either.

    Raises:
        UserError: there is no such language, or the detector is not installed here.
    """
    words = list(dict.fromkeys(_words(text)))
    other_script = sum(len(_LATIN.sub("", word)) for word in words)
    if len(words) < _FEWEST_WORDS and other_script < _FEWEST_FOREIGN_LETTERS:
        return False
    ranked: dict[str, float] = dict(_identifier().rank(" ".join(words)))
    if language not in ranked:
        known = ", ".join(sorted(code for code in ranked if len(code) == 2))
        raise UserError(f"filters.language: {language} is not known. There are {known}")
    return ranked[language] < IMPOSSIBLE


def require(language: str) -> None:
    """Make sure that the language is known, before a row is judged.

    Raises:
        UserError: it is not; says which there are.
    """
    surely_other("which language is this", language)


def _words(text: str) -> list[str]:
    bare = plain(text)
    for pattern in _MARKS:
        bare = pattern.sub(" ", bare)
    return _WORD.findall(bare.lower())


@lru_cache(maxsize=1)
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise UserError("there is no py3langid here, which filters.language needs: pip install 'tweetmill[gpu]'") from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
