"""Scores how near outputs are in meaning to their references: the cosine of sentence embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.scorers.folders import MINILM, checked, minilm_folder
from workers.scorers.local.encoder import Encoder
from workers.scorers.scorer import Array, Outputs, Rows, Tick, UnusableScorer

_PURPOSE = "semantic similarity"
_MODULES = {"transformer", "pooling", "normalize"}
_POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first token"}


class Similarity:
    """100 times the cosine of the embeddings of output and reference, of the nearest reference where there are several.

    100 says the same; texts that have nothing in common are near 0, and may be below. Sentence embeddings: N. Reimers and I. Gurevych,
    Sentence-BERT, EMNLP 2019. They see what a text is about, and little of negation or numbers: no proof that an output is right.

    Args:
        named: folder of a sentence-embedding model in safetensors, or `minilm`.

    Raises:
        UnusableScorer: it can't be used; says why.
    """

    metric = "similarity"

    def __init__(self, named: str) -> None:
        self._named = named
        folder, config = checked(str(minilm_folder()) if named == MINILM else named, _PURPOSE)
        self._pooling = _pooling(folder)
        longest = _json(folder / "sentence_bert_config.json").get("max_seq_length")
        self._encoder = Encoder(folder, config, "AutoModel", _PURPOSE, longest)

    def describe(self) -> dict[str, Any]:
        """See `Scorer.describe`."""
        return {"model": self._named if self._named == MINILM else Path(self._named).name, "pooling": self._pooling}

    def score(self, rows: Rows, outputs: Outputs, tick: Tick) -> dict[str, Array]:
        """See `Scorer.score`. Equal texts of a window are read once."""
        scores = {system: np.zeros(len(rows.tweets)) for system in outputs}
        for window in rows.windows():
            references = rows.references[window]
            written = {system: texts[window] for system, texts in outputs.items()}
            texts = list(
                dict.fromkeys([text for each in references for text in each] + [text for each in written.values() for text in each if text])
            )
            vectors = dict(zip(texts, self._encoder.read([(text,) for text in texts], self._pooled, tick), strict=True))
            for system, of_system in written.items():
                scores[system][window] = [
                    100 * max(float(vectors[text] @ vectors[reference]) for reference in several) if text else 0.0
                    for text, several in zip(of_system, references, strict=True)
                ]
        return scores

    def _pooled(self, output: Any, encoded: Any) -> NDArray[np.float32]:
        """Return unit vectors, shape (texts, hidden size)."""
        states = output.last_hidden_state
        mask = encoded["attention_mask"].unsqueeze(-1).to(states.dtype)
        pooled = states[:, 0] if self._pooling == "first token" else (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        unit: NDArray[np.float32] = (pooled / pooled.norm(dim=1, keepdim=True).clamp(min=1e-12)).numpy()
        return unit


def _pooling(folder: Path) -> str:
    """Return how a sentence's vector is made of its tokens': by `modules.json` where there is one, else as their mean.

    Raises:
        UnusableScorer: in another way than those known here.
    """
    modules = _json(folder / "modules.json")
    if not modules:
        return "mean"
    kinds = [str(module.get("type", "")).rpartition(".")[2].casefold() for module in modules]
    if not _MODULES.issuperset(kinds):
        raise UnusableScorer(
            f"{_PURPOSE}: {folder / 'modules.json'} asks for {', '.join(kinds)[:100]}: only Transformer, Pooling, Normalize"
        )
    place = next((str(module["path"]) for module, kind in zip(modules, kinds, strict=True) if kind == "pooling"), "1_Pooling")
    given = _json(folder / Path(place).name / "config.json")
    asked = [name for name, value in given.items() if name.startswith("pooling_mode_") and value is True]
    asked = asked or ([f"pooling_mode_{given['pooling_mode']}"] if "pooling_mode" in given else ["pooling_mode_mean_tokens"])
    if len(asked) != 1 or asked[0] not in _POOLINGS:
        raise UnusableScorer(
            f"{_PURPOSE}: {folder} pools by {', '.join(asked)[:100]}: give a model that pools by the mean or the first token"
        )
    return _POOLINGS[asked[0]]


def _json(path: Path) -> Any:
    """Return what a file of the model's folder says; nothing where it is missing.

    Raises:
        UnusableScorer: it is damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        raise UnusableScorer(f"{_PURPOSE}: {path} can't be read: fetch the model again") from None
