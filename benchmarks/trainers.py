"""One fine-tuning, made by one of three trainers in a process of its own: `python -m benchmarks.trainers NAME SETTINGS`.

It makes some steps each time it gets a line, and answers with the tokens that it saw and the seconds that it took. So several of them
can take turns, each with its model loaded.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "@@benchmark "
"""What an answer begins with: libraries print, too."""


class Turns:
    """Lets a trainer make `steps` steps a turn: it calls `before` each step and `saw` within it."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._made = self._tokens = 0
        self._began = 0.0

    def before(self) -> None:
        """Wait for one's turn when the one before is over, which is answered."""
        if self._made % self._steps == 0:
            if self._made:
                print(MARK + json.dumps({"tokens": self._tokens, "seconds": time.perf_counter() - self._began}), flush=True)
            if not sys.stdin.readline():
                os._exit(0)
            self._tokens, self._began = 0, time.perf_counter()
        self._made += 1

    def saw(self, tokens: int) -> None:
        """Count tokens of this turn, padding excluded."""
        self._tokens += tokens


def tweetmill(settings: dict[str, Any], turns: Turns) -> None:
    """A rank of a tweetmill training, alone in its group."""
    from schemas.training import TrainingSpec
    from workers.training.protocol.payload import RunPayload

    loop: Any = importlib.import_module("workers.training.rank.loop")
    spec = TrainingSpec(
        name="benchmark",
        base=settings["base"],
        dataset="none",
        device="cpu",
        dtype="float32",
        per_device_train_batch_size=settings["batch"],
        learning_rate=settings["learning_rate"],
        max_length=settings["max_length"],
        max_steps=100_000,
        save_steps=0,
        **settings.get("spec", {}),
    )
    make_step = loop.make_step

    def counted(trainer: Any, batch: Any) -> Any:
        turns.before()
        turns.saw(sum(int(trainer.examples.lengths[visit.index]) for visit in batch))
        return make_step(trainer, batch)

    loop.make_step = counted
    loop.train(RunPayload(spec=spec, train_file=Path(settings["train_file"]), run_folder=Path(settings["folder"])))


def trl(settings: dict[str, Any], turns: Turns) -> None:
    """TRL's SFTTrainer on prompts and completions, as its documentation has it."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = _loaded(settings)
    rows = [json.loads(line) for line in Path(settings["train_file"]).read_text(encoding="utf-8").splitlines()]
    answered = [{"prompt": row["prompt"], "completion": [{"role": "assistant", "content": row["completion"]}]} for row in rows]
    trainer = _counting(SFTTrainer, turns)(
        model=model,
        args=SFTConfig(max_length=settings["max_length"], **_arguments(settings)),
        train_dataset=Dataset.from_list(answered),
        processing_class=tokenizer,
        peft_config=_lora(),
    )
    trainer.train()


def transformers(settings: dict[str, Any], turns: Turns) -> None:
    """transformers' Trainer with PEFT, the prompt's labels masked and rows padded."""
    from datasets import Dataset
    from peft import get_peft_model
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    from workers.base_models.chat_template import chat_format
    from workers.training.rank.examples.conversations import TokenizedExample, encode_conversations, read_conversations

    model, tokenizer = _loaded(settings)
    rows = read_conversations(Path(settings["train_file"]))
    encoded = [
        {"input_ids": row.ids.tolist(), "labels": [-100] * len(row.prompt_ids) + row.completion_ids.tolist()}
        for _, chunk in encode_conversations(rows, chat_format(tokenizer), settings["max_length"])
        for row in chunk
        if isinstance(row, TokenizedExample)
    ]
    trainer = _counting(Trainer, turns)(
        model=get_peft_model(model, _lora()),
        args=TrainingArguments(**_arguments(settings)),
        train_dataset=Dataset.from_list(encoded),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )
    trainer.train()


def _counting(trainer: Any, turns: Turns) -> Any:
    """The trainer, which takes turns."""

    class Counting(trainer):  # type: ignore[misc]
        def training_step(self, model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
            turns.before()
            turns.saw(int(inputs["attention_mask"].sum()))
            return super().training_step(model, inputs, *rest, **options)

    return Counting


def _loaded(settings: dict[str, Any]) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(settings["base"], dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(settings["base"])


def _lora() -> Any:
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


def _arguments(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "output_dir": settings["folder"],
        "per_device_train_batch_size": settings["batch"],
        "learning_rate": settings["learning_rate"],
        "max_steps": 100_000,
        # As tweetmill does: batches of like lengths, so that little is padding.
        "train_sampling_strategy": "group_by_length",
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


TRAINERS: dict[str, Callable[[dict[str, Any], Turns], None]] = {"tweetmill": tweetmill, "trl": trl, "transformers": transformers}

if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    TRAINERS[sys.argv[1]](given, Turns(given["steps"]))
