"""The engine's lean loop, against transformers' own `generate`, and against the same engine under guard."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import CannotRun, Comparison, Way, compare
from benchmarks.servers import ROOT
from schemas.chat import Prompt
from schemas.payloads import Stage
from workers.inference.engine import Sampling
from workers.inference.guard import MAX_NEW_TOKENS, guarded
from workers.settings import get_settings
from workers.text.prompts import tuned

TWEETS, QUICK_TWEETS = 64, 4
BATCH = 32
BASE = "smollm2-135m-instruct"


def run(*, quick: bool) -> Comparison:
    """Summarise 64 texts of the curated pairs with the demo's base, in bfloat16.

    Raises:
        CannotRun: the base is not there.
    """
    base = get_settings().models_folder / BASE
    if not (base / "model.safetensors").is_file():
        raise CannotRun(f"no model in {base}: `tweetmill fetch` brings it, or set TWEETMILL_HOME to the home that has it")
    from workers.inference.local.engine import TransformersEngine

    texts = _texts(QUICK_TWEETS if quick else TWEETS)
    prompts = [tuned(text, Stage.SUMMARY) for text in texts]
    engine = TransformersEngine(str(base))
    sampling = Sampling(MAX_NEW_TOKENS[Stage.SUMMARY])
    answers: dict[str, list[str]] = {}

    def lean() -> int:
        answers["lean"] = [generation.texts[0] for generation in engine.generate(prompts, sampling)]
        return len(answers["lean"])

    generate = _generate(base, prompts)

    def stock() -> int:
        answers["stock"] = generate()
        return len(answers["stock"])

    comparison = compare(
        Way("TransformersEngine, greedy", lean),
        [
            Way(f"transformers.generate, batches of {BATCH}", stock),
            Way("TransformersEngine under guard", lambda: len(guarded(engine, texts))),
        ],
        unit="texts",
    )
    same = sum(one == other for one, other in zip(answers["lean"], answers["stock"], strict=True))
    # In bfloat16 another order of sums may tip a close call.
    comparison.notes.append(
        f"{same} of {len(texts)} greedy answers are the same either way; the base is not tuned, so the guard works hard"
    )
    return comparison


def _texts(count: int) -> list[str]:
    with (ROOT / "samples" / "pairs.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line)["clean"] for line, _ in zip(lines, range(count), strict=False)]


def _generate(base: Path, prompts: list[Prompt]) -> Callable[[], list[str]]:
    """The textbook loop: left-padded batches in the order of the prompts, through `model.generate`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from workers.base_models.chat_template import encode

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer: Any = AutoTokenizer.from_pretrained(base, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).to(device).eval()
    encoded = [{"input_ids": encode(tokenizer, prompt)} for prompt in prompts]

    def write() -> list[str]:
        texts: list[str] = []
        for start in range(0, len(encoded), BATCH):
            batch = tokenizer.pad(encoded[start : start + BATCH], return_tensors="pt").to(device)
            with torch.inference_mode():
                output = model.generate(**batch, do_sample=False, max_new_tokens=MAX_NEW_TOKENS[Stage.SUMMARY])
            written = output[:, batch["input_ids"].shape[1] :]
            texts += [text.strip() for text in tokenizer.batch_decode(written, skip_special_tokens=True)]
        return texts

    return write
