"""Reads from a classifier's config which of its labels says that an output is supported, or hallucinated. Nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.scorers.scorer import UnusableScorer

SUPPORTED = frozenset({"entailment", "entailed", "entails", "consistent", "supported", "faithful", "factual", "grounded"})
HALLUCINATED = frozenset({"hallucinated", "hallucination", "unsupported", "inconsistent", "unfaithful"})


def supported_label(config: Mapping[str, Any], purpose: str) -> int:
    """Return the place of the label of a classifier of whole texts that says: supported.

    Raises:
        UnusableScorer: none of its labels, or more than one, says so.
    """
    return _only(config, SUPPORTED, "supported (or entailment, consistent)", purpose)


def hallucinated_label(config: Mapping[str, Any], purpose: str) -> int:
    """Return the place of the label of a classifier of tokens that says: hallucinated.

    LettuceDetect's models have two labels without names, of which the second is meant (A. Kovács and G. Recski, LettuceDetect: A
    Hallucination Detection Framework for RAG Applications, 2025).

    Raises:
        UnusableScorer: none of its labels, or more than one, says so.
    """
    if _labels(config) == {0: "LABEL_0", 1: "LABEL_1"}:
        return 1
    return _only(config, HALLUCINATED, "hallucinated", purpose)


def _only(config: Mapping[str, Any], wanted: frozenset[str], named: str, purpose: str) -> int:
    labels = _labels(config)
    found = [place for place, label in labels.items() if label.casefold() in wanted]
    if len(found) != 1:
        told = ", ".join(labels[place] for place in sorted(labels))[:200]
        raise UnusableScorer(
            f"{purpose}: one of its labels must say {named}, and {len(found) or 'none'} of {told} does. If you know which one means"
            " it, write that into id2label of the model's config.json"
        )
    return found[0]


def _labels(config: Mapping[str, Any]) -> dict[int, str]:
    """Return the labels by their places; where the config names none, those that transformers gives them."""
    given = config.get("id2label")
    if not isinstance(given, Mapping) or not given:
        given = {place: f"LABEL_{place}" for place in range(int(config.get("num_labels", 2)))}
    return {int(place): str(label).strip() for place, label in given.items()}
