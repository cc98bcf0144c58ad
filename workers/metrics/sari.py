"""Computes SARI: how well a system keeps, deletes and adds what the references keep, delete and add.

Wei Xu, Courtney Napoles, Ellie Pavlick, Quanze Chen, Chris Callison-Burch. Optimizing Statistical Machine Translation for Text
Simplification. TACL 4, 2016. The paper leaves 0/0 open: here an operation that nobody asked for and nobody did scores 1, so that an
output equal to its reference is not marked down, and one that was asked for and not done scores 0, so that a copy is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from workers.metrics.tokenizer import tokens

MAX_ORDER = 4

Ngrams = Counter[tuple[str, ...]]


def sentence_sari(source: str, output: str, references: Sequence[str]) -> float:
    """Return the SARI of one output, 0 to 100: the mean over n = 1..4 of keep F1, delete precision and add F1. Case is ignored.

    Raises:
        ValueError: there is no reference.
    """
    if not references:
        raise ValueError("SARI needs at least one reference for every row: leave out rows without")
    source_tokens, output_tokens = tokens(source), tokens(output)
    reference_tokens = [tokens(reference) for reference in references]
    total = 0.0
    for order in range(1, MAX_ORDER + 1):
        total += sum(
            _operations(
                _ngrams(source_tokens, order),
                _ngrams(output_tokens, order),
                sum((_ngrams(of_reference, order) for of_reference in reference_tokens), Counter()),
                len(references),
            )
        )
    return 100 * total / (3 * MAX_ORDER)


def _operations(source: Ngrams, output: Ngrams, references: Ngrams, count: int) -> tuple[float, float, float]:
    """Return (keep F1, delete precision, add F1) for one n. Source and output weigh as much as `count` references together."""
    source_weighted = Counter({gram: number * count for gram, number in source.items()})
    output_weighted = Counter({gram: number * count for gram, number in output.items()})

    kept = source_weighted & output_weighted
    kept_well = kept & references
    to_keep = source_weighted & references
    keep = _f1(
        _ratio(sum(kept_well[gram] / kept[gram] for gram in kept_well), len(kept)),
        _ratio(kept_well.total(), to_keep.total()),
    )

    deleted = source_weighted - output_weighted
    deleted_well = deleted - references
    asked = bool(deleted or source_weighted - references)
    delete = sum(deleted_well[gram] / deleted[gram] for gram in deleted_well) / max(1, len(deleted)) if asked else 1.0

    added = output.keys() - source.keys()
    to_add = references.keys() - source.keys()
    added_well = len(added & references.keys())
    add = _f1(_ratio(added_well, len(added)), _ratio(added_well, len(to_add)))
    return keep, delete, add


def _ngrams(words: Sequence[str], order: int) -> Ngrams:
    return Counter(tuple(words[start : start + order]) for start in range(len(words) - order + 1))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 1.0


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
