"""Computes METEOR without synonyms: words that an output shares with a reference, by form or stem, less a penalty for another order.

Alon Lavie, Abhaya Agarwal. METEOR: An Automatic Metric for MT Evaluation with High Levels of Correlation with Human Judgments. WMT 2007;
with the weights of that paper's implementation in nltk (alpha 0.9, beta 3, gamma 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from nltk.stem.porter import PorterStemmer
from nltk.translate.meteor_score import meteor_score

from workers.metrics.tokenizer import tokens


def sentence_meteor(output: str, references: Sequence[str]) -> float:
    """Return the METEOR of an output against the nearest of its references, 0 to 100. Case is ignored.

    Words match by their form, then by Porter's stem. Synonyms do not match, for WordNet is not shipped: a synonym would be one match more
    and raise the figure, so it is a lower bound of METEOR with WordNet, such as CheckThat! 2025 reports for the normalisation of claims.
    The penalty is for the pieces that the matches fall into, and one piece is the fewest: a sentence of ten words that is equal to its
    reference has 99.95, of one word 50.

    Raises:
        ValueError: there is no reference.
    """
    if not references:
        raise ValueError("METEOR needs at least one reference for every row: leave out rows without")
    of_references = [tokens(reference) for reference in references]
    return 100 * float(meteor_score(of_references, tokens(output), stemmer=_CachingStemmer(), wordnet=_NoSynonyms()))


class _NoSynonyms:
    """What nltk asks for synonyms, without any."""

    def synsets(self, _: str) -> tuple[()]:
        return ()


class _CachingStemmer:
    """Porter's stemmer, which remembers: stemming is most of the work, and words come back."""

    def stem(self, word: str) -> str:
        return _stem(word)


@lru_cache(maxsize=2**15)
def _stem(word: str) -> str:
    return str(_porter().stem(word))


@lru_cache(maxsize=1)
def _porter() -> PorterStemmer:
    return PorterStemmer()
