"""Builds an engine for load tests: it answers with the prompt's own opening words and sleeps as a GPU would compute."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from schemas.chat import Prompt
from workers.inference.engine import Generation, Sampling
from workers.settings import Settings
from workers.text.clean import opening
from workers.text.constraints import MAX_WORDS

BATCH = 64
"""Prompts that are answered together: as many as the engine of this process decodes at once on a CPU."""


class EchoEngine:
    """Answers each prompt with the opening of its last turn: the same prompt always gets the same answer, and no model is loaded.

    Args:
        seconds: for which it sleeps at each batch of up to `BATCH` prompts.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        adapter: Path | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """See `Engine.generate`. An adapter is taken and changes nothing; of several answers to one prompt there is the first alone."""
        del adapter
        answers: list[Generation] = []
        most = min(MAX_WORDS, sampling.max_words or MAX_WORDS)
        for start in range(0, len(prompts), BATCH):
            batch = prompts[start : start + BATCH]
            time.sleep(self._seconds)
            answers += (_echo(prompt, most) for prompt in batch)
            if on_progress:
                on_progress(len(batch))
        return answers


def build(settings: Settings, base: str) -> EchoEngine:
    """Return the engine, whatever the base is called."""
    del base
    return EchoEngine(settings.echo_seconds)


def _echo(prompt: Prompt, most: int) -> Generation:
    text = opening(prompt[-1].content, most)
    return Generation((text,), tokens_in=sum(len(turn.content.split()) for turn in prompt), tokens_out=len(text.split()))
