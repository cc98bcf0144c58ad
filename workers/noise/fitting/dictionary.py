"""Reads standard English words and how often they occur from the word list of a spelling library."""

from __future__ import annotations

from functools import lru_cache

from workers.errors import UserError


@lru_cache(maxsize=1)
def frequencies() -> dict[str, int]:
    """Return words in small letters and their counts in a body of films' subtitles.

    Raises:
        UserError: the library is not installed here.
    """
    try:
        from spellchecker import SpellChecker
    except ImportError:
        raise UserError("there is no pyspellchecker here, which noise is fitted with: pip install 'tweetmill[gpu]'") from None
    return dict(SpellChecker().word_frequency.dictionary)
