"""An engine that answers from a script, for tests of what asks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from schemas.chat import Prompt
from workers.inference.engine import Generation, Sampling


def _by_text(_: Path | None, text: str) -> str:
    return text


class ScriptedEngine:
    """Answers the same prompt with the same texts: the first of them greedily, all of them as beams.

    Attributes:
        calls: the number of prompts of each call, and how they were to be decoded.
        asked: of each prompt the adapter, the first turn, the last, and the number of beams.
    """

    def __init__(
        self,
        script: Mapping[Any, tuple[str, ...]],
        key: Callable[[Path | None, str], Any] = _by_text,
        on_call: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Take texts by what `key` makes of the adapter and the last turn; `on_call` hears of each call and its prompts."""
        self._script = script
        self._key = key
        self._on_call = on_call
        self.calls: list[tuple[int, Sampling]] = []
        self.asked: list[tuple[Path | None, str, str, int]] = []

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, adapter: Path | None = None, on_progress: Callable[[int], None] | None = None
    ) -> list[Generation]:
        """See `Engine.generate`."""
        self._on_call(len(prompts))
        self.calls.append((len(prompts), sampling))
        self.asked += [(adapter, prompt[0].content, prompt[-1].content, sampling.num_beams) for prompt in prompts]
        if on_progress:
            on_progress(len(prompts))
        answers = [self._script[self._key(adapter, prompt[-1].content)][: sampling.num_return_sequences] for prompt in prompts]
        return [Generation(texts, tokens_in=10, tokens_out=5 * len(texts)) for texts in answers]
