"""The engine of this process on 256 real tweets, against transformers' own ways, its own guard, llama.cpp and vLLM."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import CannotRun, Comparison, Way, compare
from benchmarks.other_engines import servers_of
from schemas.chat import Prompt
from schemas.payloads import Stage
from workers.inference.engine import Sampling
from workers.inference.guard import MAX_NEW_TOKENS, guarded
from workers.settings import get_settings
from workers.text.clean import rules
from workers.text.prompts import tuned

TWEETS, QUICK_TWEETS = 256, 4
BATCH = 32
BASE = "smollm2-135m-instruct"
_MERGED = Path("exports") / "demo-merged"
_SAMPLING = Sampling(MAX_NEW_TOKENS[Stage.SUMMARY])
_WARMING = 4  # tweets that each way writes before the first round
_OURS = "TransformersEngine, greedy"

Write = Callable[[Sequence[Prompt]], list[str]]


@dataclass(frozen=True)
class Subject:
    """What the ways write, and with what: a model's folder and texts of tweets."""

    model: Path
    texts: list[str]

    @property
    def prompts(self) -> list[Prompt]:
        """The prompt of each tweet."""
        return [tuned(text, Stage.SUMMARY) for text in self.texts]


def run(*, quick: bool) -> Comparison:
    """Summarise 256 tweets with the demo's model, where it was exported merged, else with its base.

    Raises:
        CannotRun: there is neither, or there are no tweets.
    """
    subject = subject_of(get_settings().home, quick=quick)
    from workers.inference.local.engine import TransformersEngine

    engine = TransformersEngine(str(subject.model))
    answers: dict[str, list[str]] = {}

    def ours(prompts: Sequence[Prompt]) -> list[str]:
        return [generation.texts[0] for generation in engine.generate(prompts, _SAMPLING)]

    with ExitStack() as stack:
        writers = {_OURS: ours, **_by_transformers(subject.model, engine.precision.dtype)}
        writers |= {server.name: partial(server.write, sampling=_SAMPLING) for server in stack.enter_context(servers_of(subject.model))}
        for write in writers.values():
            write(subject.prompts[:_WARMING])
        guarded(engine, subject.texts[:_WARMING])
        ways = [_way(name, write, subject.prompts, answers) for name, write in writers.items()]
        under_guard = Way("TransformersEngine under guard", lambda: len(guarded(engine, subject.texts)))
        comparison = compare(ways[0], [under_guard, *ways[1:]], unit="tweets", warm=True)
    comparison.notes.append(f"model {subject.model.name}, weights in {engine.precision} but where a way says otherwise")
    for name, texts in answers.items():
        if name != _OURS:
            same = sum(one == other for one, other in zip(answers[_OURS], texts, strict=True))
            comparison.notes.append(f"{name}: {same} of {len(texts)} answers are the engine's own")
    return comparison


def subject_of(home: Path, *, quick: bool) -> Subject:
    """Return the model and the tweets of a home.

    Raises:
        CannotRun: something is not there.
    """
    model = next((found for found in (home / "models" / _MERGED, home / "models" / BASE) if (found / "model.safetensors").is_file()), None)
    tweets = home / "demo" / "tweets.jsonl"
    if model is None or not tweets.is_file():
        raise CannotRun(f"no model or no tweets in {home}: `tweetmill fetch` brings both, or set TWEETMILL_HOME to the home that has them")
    with tweets.open(encoding="utf-8") as lines:
        found = [text for text in dict.fromkeys(json.loads(line)["text"] for line in lines) if rules(text)]
    count = QUICK_TWEETS if quick else TWEETS
    return Subject(model, found[:: max(1, len(found) // count)][:count])


def _by_transformers(model: Path, dtype: str) -> dict[str, Write]:
    """`generate` in batches, left-padded and in the order of the prompts, and `pipeline` with one prompt after the other."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline
    from transformers.utils import logging

    from workers.base_models.chat_template import encode

    logging.set_verbosity_error()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer: Any = AutoTokenizer.from_pretrained(model, padding_side="left")
    loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).to(device).eval()
    lone: Any = pipeline("text-generation", model=loaded, tokenizer=tokenizer)
    tokens = MAX_NEW_TOKENS[Stage.SUMMARY]

    def in_batches(prompts: Sequence[Prompt]) -> list[str]:
        texts: list[str] = []
        for start in range(0, len(prompts), BATCH):
            encoded = [{"input_ids": encode(tokenizer, prompt)} for prompt in prompts[start : start + BATCH]]
            batch = tokenizer.pad(encoded, return_tensors="pt").to(device)
            with torch.inference_mode():
                output = loaded.generate(**batch, do_sample=False, max_new_tokens=tokens)
            written = output[:, batch["input_ids"].shape[1] :]
            texts += [text.strip() for text in tokenizer.batch_decode(written, skip_special_tokens=True)]
        return texts

    def one_by_one(prompts: Sequence[Prompt]) -> list[str]:
        chats = ([{"role": message.role, "content": message.content} for message in prompt] for prompt in prompts)
        found = (lone(chat, do_sample=False, max_new_tokens=tokens, return_full_text=False) for chat in chats)
        return [each[0]["generated_text"].strip() for each in found]

    return {f"transformers' generate, batches of {BATCH}": in_batches, "transformers' pipeline, one by one": one_by_one}


def _way(name: str, write: Write, prompts: Sequence[Prompt], answers: dict[str, list[str]]) -> Way:
    def timed() -> int:
        answers[name] = write(prompts)
        return len(answers[name])

    return Way(name, timed)
