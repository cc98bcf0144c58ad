"""Asks a language model which of two outputs is the better one, in both orders, and says how far it can be trusted.

A judge leans to the place in which a text stands (L. Zheng et al., Judging LLM-as-a-Judge, NeurIPS 2023): it is asked twice, with the
places swapped, and where the two answers differ neither output has won.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from schemas.chat import Prompt
from schemas.payloads import JudgeSpec, Stage
from workers.inference.engine import Engine, Sampling
from workers.inference.engines import engine_for
from workers.inference.remote.access import key_for
from workers.inference.remote.engine import OpenAIEngine
from workers.scorers.scorer import Rows
from workers.settings import get_settings
from workers.text.prompts import judged

Answer = Literal["first", "second", "tie"] | None
"""Which of the two that were shown is better; None: nobody can read it from what the judge said."""

Asked = tuple[Answer, Answer]
"""The answers about one row: with the first system's output in the first place, and with it in the second."""

_WORDS: dict[str, Answer] = {"a": "first", "b": "second", "tie": "tie"}
_AROUND = " \t\n.:;!,*_`'\"()[]<>/"
_TOKENS = 16  # of a word, with what models put around it
_TOKENS_OF_SERVER = 1024  # a served model may think first


@dataclass
class Spent:
    """What a judge was asked, and what that took."""

    prompts: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True)
class Judge:
    """A language model that compares outputs.

    Attributes:
        engine: what is asked.
        stage: what the outputs are: summaries, or clean texts.
        max_new_tokens: of an answer.
        spent: so far.
    """

    engine: Engine
    stage: Stage
    max_new_tokens: int = _TOKENS
    spent: Spent = field(default_factory=Spent)

    def compare(self, rows: Rows, first: Sequence[str], second: Sequence[str], tick: Callable[[int], None]) -> list[Asked | None]:
        """Return for each row what the judge says of the outputs of two systems; None where they are equal, and it is not asked.

        Raises:
            EngineError: nothing can be answered.
        """
        asked: list[Asked | None] = [None] * len(rows.tweets)
        for window in rows.windows():
            places = [place for place in range(window.start, window.stop) if first[place] != second[place]]
            prompts = [judged(rows.tweets[place], first[place], second[place], self.stage) for place in places]
            prompts += [judged(rows.tweets[place], second[place], first[place], self.stage) for place in places]
            answers = self._answers(prompts, tick)
            for place, straight, swapped in zip(places, answers, answers[len(places) :], strict=False):
                asked[place] = (straight, swapped)
        return asked

    def _answers(self, prompts: Sequence[Prompt], tick: Callable[[int], None]) -> list[Answer]:
        generations = self.engine.generate(prompts, Sampling(self.max_new_tokens), None, tick)
        self.spent.prompts += len(prompts)
        self.spent.tokens_in += sum(generation.tokens_in for generation in generations)
        self.spent.tokens_out += sum(generation.tokens_out for generation in generations)
        return [read(generation.texts[0]) if generation.texts else None for generation in generations]


def read(text: str) -> Answer:
    """Return what a judge said: `A`, `B` or `tie`, with marks around it. Anything else is not guessed at."""
    return _WORDS.get(text.strip(_AROUND).casefold())


@contextmanager
def judge_of(spec: JudgeSpec, stage: Stage) -> Iterator[Judge]:
    """Yield the judge that a comparison names: a base model of this worker's, or one behind a server of the OpenAI chat API.

    Raises:
        UserError: the base can't be used.
        SettingsError: the worker's own address or proxy can't be used.
    """
    if spec.base_url is None:
        yield Judge(engine_for(spec.model, all_cores=True, local=True), stage)
        return
    key, concurrency = key_for(spec.base_url), get_settings().server_concurrency
    engine = OpenAIEngine(spec.base_url, api_key=key, model=spec.model, concurrency=concurrency)
    try:
        yield Judge(engine, stage, _TOKENS_OF_SERVER)
    finally:
        engine.close()
