"""A training without DeepSpeed, Accelerate, padding or a plan of batches: one process, every example at every step."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer

from schemas.chat import Message
from schemas.training import TrainingSpec
from tests.support.ranks import WORDS
from workers.base_models.chat_template import chat_format
from workers.training.rank.methods import METHODS
from workers.training.rank.schedule import learning_rate


def train_plainly(spec: TrainingSpec, train_file: Path) -> tuple[list[float], dict[str, torch.Size]]:
    """Train as `spec` says on one rank in float32, each step on the whole file.

    Returns:
        The loss of each step, the mean over all completion tokens, and the shapes of what was trained, by name.
    """
    with _one_thread():
        return _train(spec, train_file)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices this small are no work to share; what comes after in this process has its threads back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _train(spec: TrainingSpec, train_file: Path) -> tuple[list[float], dict[str, torch.Size]]:
    tokenizer = AutoTokenizer.from_pretrained(spec.base)
    torch.manual_seed(spec.seed)
    method = METHODS[spec.method]
    model = method.load(spec, Path(spec.base), tokenizer, dtype=torch.float32, attn_implementation="eager")
    model.train()
    trainable = method.trainable(model)
    optimizer = torch.optim.AdamW(trainable.values(), lr=spec.learning_rate, weight_decay=spec.weight_decay)
    examples = list(_examples(tokenizer, train_file))
    targets = sum(completion for _, completion in examples)
    losses = []
    for step in range(spec.max_steps):
        rate = learning_rate(step, spec.max_steps, spec.learning_rate, spec.warmup_ratio, spec.lr_scheduler_type)
        optimizer.param_groups[0]["lr"] = rate
        loss = 0.0
        for ids, completion in examples:
            logits = model(input_ids=ids[None]).logits[0, -completion - 1 : -1]
            share = cross_entropy(logits.float(), ids[-completion:], reduction="sum") / targets
            share.backward()
            loss += share.item()
        torch.nn.utils.clip_grad_norm_(trainable.values(), spec.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss)
    return losses, {name: parameter.shape for name, parameter in trainable.items()}


def write_examples_of_one_length(base: Path, path: Path, count: int = 8) -> Path:
    """Write examples that have as many tokens each, with completions of several lengths.

    Batches are sorted by length, and the sorting is stable: a step that sees `count` of these sees each of them once.
    """
    tokenizer, chance = AutoTokenizer.from_pretrained(base), random.Random(0)
    by_length: dict[int, dict[str, int]] = {}
    while True:
        words = chance.choices(WORDS, k=chance.randint(5, 9))
        prompt = [{"role": "user", "content": " ".join(words)}]
        line = json.dumps({"prompt": prompt, "completion": f"The {' '.join(words[: chance.randint(1, 4)])} was late."})
        ids, completion = _encoded(tokenizer, line)
        found = by_length.setdefault(len(ids), {})
        found[line] = completion
        if len(found) == count and len(set(found.values())) >= 4:
            path.write_text("\n".join(found) + "\n")
            return path
        if len(found) == count:
            by_length[len(ids)] = {}


def _examples(tokenizer: object, train_file: Path) -> list[tuple[torch.Tensor, int]]:
    return [_encoded(tokenizer, line) for line in train_file.read_text().splitlines()]


def _encoded(tokenizer: object, line: str) -> tuple[torch.Tensor, int]:
    """The token ids of an example, and how many of them are the completion."""
    chat, row = chat_format(tokenizer), json.loads(line)
    prompt = chat.prompt_ids(tuple(Message(**message) for message in row["prompt"]))
    completion = chat.answer_ids(row["completion"])
    return torch.tensor([*prompt, *completion]), len(completion)
