"""Says of each metric what people read: the head of its column, a caption, its unit, and which figure is better.

Everything that prints figures takes the words from here. It imports nothing heavy, so the command line may.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A metric as it is printed.

    Attributes:
        key: in JSON, and in the table `evaluation`.
        head: of a column, with the unit where it is a share.
        caption: what the figure says, in half a sentence.
        unit: `points` run from 0 to 100; `%` is a share of 0 to 1 in JSON, printed times 100; `words` are counted.
        better: whether a higher figure is better, or neither is: then figures are shown and never ranked.
        weight: where a table is too narrow, the lowest weight is left out first; metrics of weight 0 always stay.
    """

    key: str
    head: str
    caption: str
    unit: Literal["points", "%", "words"] = "points"
    better: Literal["higher", "neither"] = "higher"
    weight: int = 0

    @property
    def scale(self) -> int:
        """What a figure is multiplied by to be printed."""
        return 100 if self.unit == "%" else 1

    @property
    def caption_line(self) -> str:
        """The head without its unit, and the caption."""
        return f"{self.head.removesuffix(' %')}: {self.caption}"


_FORM = "one plain sentence of at most 15 words, no longer than the tweet, no handle, link, hashtag or emoji"
_WORDS = "no number, name or link that the tweet lacks; a check of words, not of truth"
_SIMILARITY = "100 times the cosine of an output's and its nearest reference's embeddings, blind to much negation"
_NEITHER = "neither more nor less is better"

DEFINITIONS = {
    metric.key: metric
    for metric in (
        Metric("err", "ERR %", "words mended less words spoiled, over those that needed it", "%"),
        Metric("sari", "SARI", "keeps, deletes and adds what the references do"),
        Metric("rouge1", "ROUGE-1", "words in common with the nearest reference, F1", weight=5),
        Metric("rouge2", "ROUGE-2", "pairs of words in common with the nearest reference, F1", weight=4),
        Metric("rougeL", "ROUGE-L", "longest common subsequence with the nearest reference, F1"),
        Metric("chrf", "chrF", "character n-grams in common with the nearest reference", weight=7),
        Metric("meteor", "METEOR", "words and stems in common with the nearest reference, in order; without synonyms", weight=6),
        Metric("promise", "form kept %", _FORM, "%"),
        Metric("faithful", "words kept %", _WORDS, "%"),
        Metric("compression", "compression %", f"words of the output over words of the tweet; {_NEITHER}", "%", "neither", weight=3),
        Metric("coverage", "coverage %", f"words that lie in spans copied from the tweet; {_NEITHER}", "%", "neither", weight=2),
        Metric("density", "density", f"words of the copied span that a word lies in, on average; {_NEITHER}", "words", "neither", weight=1),
        Metric("similarity", "similarity", _SIMILARITY),
        Metric("supported", "supported %", "the probability that the tweet supports the output, as a classifier sees it", "%"),
    )
}
"""By key, in the order of a table."""

CHECKS = ("promise", "faithful")
"""Whose heads do not say what is counted: a table with them has their captions below it."""


def metrics_of(keys: Collection[str]) -> list[Metric]:
    """Return the metrics that are among `keys`, in the order of a table."""
    return [metric for metric in DEFINITIONS.values() if metric.key in keys]
