"""Scores whether a tweet supports an output, by a classifier of pairs of texts or of tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from workers.base_models.loading import Head
from workers.scorers.folders import checked
from workers.scorers.labels import hallucinated_label, supported_label
from workers.scorers.local.encoder import Encoder
from workers.scorers.scorer import Array, Outputs, Rows, Tick, UnusableScorer

_PURPOSE = "support by the tweet"
_PREMISE = "Summarize the following text:\n{tweet}\noutput:\n"
"""What LettuceDetect's models read before a summary: see their `PROMPT_SUMMARY`."""


class Support:
    """The probability that an output is supported by its tweet, from 0 to 1.

    Of a classifier of whole texts (an NLI cross-encoder: premise tweet, hypothesis output) it is that of the label which says so. A
    classifier of tokens, as LettuceDetect's, marks what is hallucinated; an output is as good as its worst token, 1 less the highest
    probability that one is hallucinated.

    Args:
        named: folder of the model, in safetensors.

    Raises:
        UnusableScorer: it can't be used, or its labels don't tell; says what to do.
    """

    metric = "supported"

    def __init__(self, named: str) -> None:
        self._named = named
        folder, config = checked(named, _PURPOSE)
        self._head = _head(config.get("architectures"), folder)
        self._by_tokens = self._head == "AutoModelForTokenClassification"
        self._label = hallucinated_label(config, _PURPOSE) if self._by_tokens else supported_label(config, _PURPOSE)
        self._encoder = Encoder(folder, config, self._head, _PURPOSE)

    def describe(self) -> dict[str, Any]:
        """See `Scorer.describe`."""
        return {"model": Path(self._named).name, "classifies": "tokens" if self._by_tokens else "pairs"}

    def score(self, rows: Rows, outputs: Outputs, tick: Tick) -> dict[str, Array]:
        """See `Scorer.score`. Equal pairs of a window are read once."""
        scores = {system: np.zeros(len(rows.tweets)) for system in outputs}
        for window in rows.windows():
            premises = [_PREMISE.format(tweet=tweet) if self._by_tokens else tweet for tweet in rows.tweets[window]]
            written = {system: list(zip(premises, texts[window], strict=True)) for system, texts in outputs.items()}
            pairs = list(dict.fromkeys(pair for each in written.values() for pair in each if pair[1].strip()))
            found = dict(zip(pairs, self._encoder.read(pairs, self._probabilities, tick), strict=True))
            for system, of_system in written.items():
                scores[system][window] = [found.get(pair, 0.0) for pair in of_system]
        return scores

    def _probabilities(self, output: Any, encoded: Any) -> list[float]:
        logits = output.logits.float()
        if not self._by_tokens:
            # A single label is a probability by itself: there is nothing that it is weighed against.
            shares = logits.sigmoid() if logits.shape[-1] == 1 else logits.softmax(-1)
            return [float(value) for value in shares[:, self._label]]
        hallucinated = logits.softmax(-1)[..., self._label]
        of_output = [[part == 1 for part in encoded.sequence_ids(row)] for row in range(len(hallucinated))]
        return [
            1.0 - max((float(p) for p, its in zip(row, own, strict=True) if its), default=1.0)
            for row, own in zip(hallucinated, of_output, strict=True)
        ]


def _head(architectures: Any, folder: Path) -> Head:
    """Return the class that loads a classifier.

    Raises:
        UnusableScorer: the model is none.
    """
    named = str(architectures[0]) if isinstance(architectures, list) and architectures else "no class"
    if named.endswith("ForSequenceClassification"):
        return "AutoModelForSequenceClassification"
    if named.endswith("ForTokenClassification"):
        return "AutoModelForTokenClassification"
    raise UnusableScorer(
        f"{_PURPOSE}: {folder} is of {named[:100]}, which is no classifier. Give the folder of one for sequences, as an NLI cross-encoder,"
        " or for tokens, as LettuceDetect's"
    )
