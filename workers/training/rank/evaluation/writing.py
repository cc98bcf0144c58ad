"""Lets the model under training write summaries greedily, and scores them by SARI beside baselines that need no model. It loads torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch

from schemas.payloads import Stage
from workers.base_models.chat_template import chat_format
from workers.metrics.baselines import lead, rules
from workers.metrics.sari import sentence_sari
from workers.text.constraints import MAX_NEW_TOKENS
from workers.text.thoughts import split_thoughts
from workers.training.rank.evaluation.held_back import EvalRow
from workers.training.rank.step import Trainer

ROWS_AT_ONCE = 16
BASELINES: dict[str, Callable[[str], str]] = {"lead": lead, "rules": rules}


class Writer:
    """Writes the rows of this rank and scores them; all ranks make the same calls.

    Args:
        trainer: the run, with its model in DeepSpeed's engine.
        tokenizer: of the base model.
        rows: of this rank.
        most_rows: that any rank has: under ZeRO-3 each forward pass gathers weights from all ranks, so all make as many.
        beat: called after each batch.
    """

    def __init__(self, trainer: Trainer, tokenizer: Any, rows: Sequence[EvalRow], most_rows: int, beat: Callable[[], None]) -> None:
        self._trainer = trainer
        self._tokenizer = tokenizer
        self._rows = rows
        self._most_rows = most_rows
        self._beat = beat
        self._chat = chat_format(tokenizer)

    def sari(self) -> tuple[float, dict[str, float]]:
        """Return the mean SARI over the rows of all ranks, 0 to 100, and that of each baseline: one collective beside the writing."""
        written = self._written()
        sums = [sum(map(_score, self._rows, written)), *self._baselines, len(self._rows)]
        device = self._trainer.accelerator.device
        *means, count = self._trainer.accelerator.reduce(torch.tensor(sums, dtype=torch.float64, device=device), "sum").tolist()
        tuned, *others = (total / count for total in means)
        return tuned, dict(zip(BASELINES, others, strict=True))

    @cached_property
    def _baselines(self) -> list[float]:
        return [sum(_score(row, write(row.tweet)) for row in self._rows) for write in BASELINES.values()]

    @cached_property
    def _ends(self) -> list[int]:
        """What ends an answer: what the base names, and what an answer is taught to end with."""
        listed = self._model.generation_config.eos_token_id
        named = listed if isinstance(listed, list) else [listed]
        return sorted(self._chat.end_ids.union(end for end in [*named, self._tokenizer.eos_token_id] if end is not None))

    @property
    def _model(self) -> Any:
        return self._trainer.model.module

    def _written(self) -> list[str]:
        texts: list[str] = []
        for begin in range(0, self._most_rows, ROWS_AT_ONCE):
            rows = self._rows[begin : begin + ROWS_AT_ONCE]
            # A rank without rows of its own takes part with one token.
            answers = self._generate([row.example.prompt_ids.tolist() for row in rows] or [[self._trainer.pad_id]])
            texts += [self._text(row, ids) for row, ids in zip(rows, answers, strict=False)]
            self._beat()
        return texts

    def _generate(self, prompts: list[list[int]]) -> list[list[int]]:
        """Return the token ids of an answer to each prompt. A base's own defaults, such as a penalty, don't count: it is greedy alone."""
        from transformers import GenerationConfig

        device, pad, width = self._trainer.accelerator.device, self._trainer.pad_id, max(map(len, prompts))
        by_text = {"stop_strings": [self._chat.end_text]} if self._chat.end_text else {}
        config = GenerationConfig(
            do_sample=False,
            num_beams=1,
            num_return_sequences=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            max_new_tokens=MAX_NEW_TOKENS[Stage(self._trainer.spec.stage)],
            use_cache=True,
            eos_token_id=self._ends or None,
            pad_token_id=pad,
            **by_text,
        )
        output = self._model.generate(
            input_ids=torch.tensor([[pad] * (width - len(ids)) + ids for ids in prompts], device=device),
            attention_mask=torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=device),
            generation_config=config,
            synced_gpus=self._trainer.spec.zero_stage == 3 and self._trainer.accelerator.num_processes > 1,
            **({"tokenizer": self._tokenizer} if by_text else {}),
        )
        return [self._until_end(ids) for ids in output[:, width:].tolist()]

    def _until_end(self, ids: list[int]) -> list[int]:
        return ids[: next((place for place, token in enumerate(ids) if token in self._ends), len(ids))]

    def _text(self, row: EvalRow, ids: list[int]) -> str:
        if not rules(row.tweet):  # without a word there is nothing to summarize, and in use no model is asked
            return ""
        text = str(self._tokenizer.decode(ids, skip_special_tokens=True))
        return split_thoughts(text.partition(self._chat.end_text)[0] if self._chat.end_text else text).text


def _score(row: EvalRow, text: str) -> float:
    return sentence_sari(row.tweet, text, [row.reference])
