"""Whether texts leak, found without anything of ours: no normalising, no MinHash, no clusters, every text against every other."""

from __future__ import annotations

import re
from collections.abc import Iterable


def alike(learnt: Iterable[str], tested: Iterable[str], threshold: float) -> list[tuple[str, str]]:
    """The pairs of texts that are equal but for marks, or share so much of their runs of three words."""
    held = [(text, _runs(text)) for text in set(tested)]
    found = []
    for text in set(learnt):
        runs = _runs(text)
        for other, others in held:
            if len(runs & others) >= threshold * len(runs | others):
                found.append((text, other))
    return found


def _runs(text: str) -> set[tuple[str, ...]]:
    bare = re.sub(r"https?://\S+|\bRT\b:?|@\w+:?", " ", text)
    words = re.findall(r"[^\W_]+", bare.replace("'", "").lower())
    return {tuple(words[start : start + 3]) for start in range(max(1, len(words) - 2))}
