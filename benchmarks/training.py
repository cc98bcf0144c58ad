"""A tweetmill rank beside TRL's SFTTrainer and transformers' Trainer: equal model, data, batch, LoRA, type of weights and threads."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from benchmarks.measure import ROUNDS, CannotRun, Comparison
from benchmarks.servers import ROOT
from benchmarks.trainers import MARK
from schemas.payloads import Stage
from workers.settings import ENVIRONMENT, get_settings
from workers.text.prompts import tuned

BASE = "smollm2-135m-instruct"
STEPS, QUICK_STEPS = 6, 1
SETTINGS = {"batch": 8, "max_length": 160, "learning_rate": 4e-4}
NAMES = {"tweetmill": "a tweetmill rank", "trl": "TRL's SFTTrainer", "transformers": "transformers' Trainer"}


class Child:
    """One trainer in a process of its own, which waits for its turn."""

    def __init__(self, name: str, settings: dict[str, Any], log: IO[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.trainers", name, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            env=_environment(name),
        )
        self._log = Path(log.name)

    def turn(self) -> tuple[int, float]:
        """Let it make its steps; return the tokens it saw and the seconds it took.

        Raises:
            CannotRun: it ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(MARK):
                told = json.loads(line.removeprefix(MARK))
                return told["tokens"], told["seconds"]
        end = self._log.read_text(errors="replace").splitlines()[-1:]
        raise CannotRun(f"{NAMES[self.name]} ended before its time: {' '.join(end)[:300]}")

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def run(*, quick: bool) -> Comparison:
    """Fine-tune the demo's base with LoRA on the curated pairs, in float32 on one thread, some steps of 8 examples each by turns.

    Raises:
        CannotRun: the base or TRL is not there.
    """
    base = get_settings().models_folder / BASE
    if not (base / "model.safetensors").is_file():
        raise CannotRun(f"no model in {base}: `tweetmill fetch` brings it, or set TWEETMILL_HOME to the home that has it")
    if importlib.util.find_spec("trl") is None:
        raise CannotRun("TRL is not installed: pip install -c constraints.txt -e '.[bench]'")
    folder = Path(tempfile.mkdtemp(prefix="tweetmill-bench-"))
    settings = SETTINGS | {"base": str(base), "train_file": str(_write(folder)), "steps": QUICK_STEPS if quick else STEPS}
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        children = []
        for name in NAMES:
            (folder / name).mkdir()
            log = stack.enter_context((folder / f"{name}.log").open("w"))
            children.append(Child(name, settings | {"folder": str(folder / name)}, log))
            stack.callback(children[-1].end)
        return _compared(children)


def _compared(children: list[Child]) -> Comparison:
    """Seconds a token, in rounds of another order each; the steps of the first round warm up."""
    counts = {child.name: child.turn()[0] for child in children}
    rates: list[dict[str, float]] = []
    for number in range(ROUNDS):
        turn = number % len(children)
        seen = {child.name: child.turn() for child in children[turn:] + children[:turn]}
        rates.append({name: tokens / seconds for name, (tokens, seconds) in seen.items()})
        counts = {name: counts[name] + tokens for name, (tokens, _) in seen.items()}
    subject, *others = NAMES
    ratios = {NAMES[name]: [rate[subject] / rate[name] for rate in rates] for name in others}
    notes = ["times as long for as many tokens, padding excluded; tokens a second: "]
    notes[0] += ", ".join(
        f"{NAMES[name]} {min(rate[name] for rate in rates):.0f} to {max(rate[name] for rate in rates):.0f}" for name in NAMES
    )
    return Comparison(NAMES[subject], "tokens", counts[subject], ratios, notes)


def _write(folder: Path) -> Path:
    """The curated pairs as a training file."""
    path = folder / "train.jsonl"
    with (ROOT / "samples" / "pairs.jsonl").open(encoding="utf-8") as pairs, path.open("w", encoding="utf-8") as out:
        for line in pairs:
            pair = json.loads(line)
            prompt = [{"role": turn.role, "content": turn.content} for turn in tuned(pair["clean"], Stage.SUMMARY)]
            out.write(json.dumps({"prompt": prompt, "completion": pair["summary"]}, ensure_ascii=False) + "\n")
    return path


def _environment(name: str) -> dict[str, str]:
    env = {**ENVIRONMENT, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.fspath(ROOT)}
    if name == "tweetmill":  # as its launcher and torchrun set it up
        env |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
        env |= {"GLOO_SOCKET_IFNAME": "lo", "ACCELERATE_USE_DEEPSPEED": "true"}
    return env
