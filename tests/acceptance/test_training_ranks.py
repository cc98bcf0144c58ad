"""Real ranks, real DeepSpeed, a tiny model: a training finishes, repeats itself, and leaves no process behind however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.payloads import TrainingSpec
from tests.tiny_model import build_tiny_model
from workers.training import launch
from workers.training.outcome import StopReason, TrainingFailed, TrainingResult, TrainingStopped
from workers.training.processes import descendants
from workers.training.progress import Done, ProgressReader, Start, Step

WORDS = ["bus", "train", "sister", "Oslo", "library", "Monday", "swimming", "medals", "city", "hope"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def train_file(tmp_path: Path) -> Path:
    lines = []
    for number in range(48):
        words = [WORDS[(number * step + step) % len(WORDS)] for step in range(1, 4 + number % 7)]
        prompt = [{"role": "system", "content": "Summarize the tweet."}, {"role": "user", "content": " ".join(words) + "!!"}]
        lines.append(json.dumps({"prompt": prompt, "completion": f"The {words[0]} was late."}))
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def a_spec(base: Path, **changes: Any) -> TrainingSpec:
    options = {"name": "tiny", "base": str(base), "dataset": "d", "world_size": 2, "max_steps": 12, "learning_rate": 2e-2} | changes
    return TrainingSpec(**options)


class Run:
    """A training in a thread of its own, watched from outside."""

    def __init__(self, spec: TrainingSpec, train_file: Path, folder: Path) -> None:
        self.events: list[Start | Step | Done] = []
        self.order: StopReason | None = None
        self.outcome: TrainingResult | Exception | None = None
        self._thread = threading.Thread(target=self._train, args=(spec, train_file, folder))
        self._thread.start()

    def _train(self, spec: TrainingSpec, train_file: Path, folder: Path) -> None:
        try:
            self.outcome = launch.run(spec, train_file, folder, self.events.append, lambda: self.order)
        except Exception as error:
            self.outcome = error

    def group(self) -> dict[str, list[int]]:
        """The living processes of the run, by role."""
        roles: dict[str, list[int]] = {"supervisor": [], "agent": [], "rank": []}
        for pid in descendants(os.getpid()):
            command = command_of(pid)
            for role, mark in (("supervisor", "training.supervisor"), ("agent", "distributed.run"), ("rank", "training.rank")):
                if mark in command:
                    roles[role].append(pid)
                    break
        return roles

    def until_it_steps(self) -> list[int]:
        """Wait for the second step; return all pids of the group."""
        wait_for(lambda: sum(isinstance(event, Step) for event in self.events) >= 2 or self.outcome is not None, 90)
        group = self.group()
        assert (len(group["supervisor"]), len(group["rank"])) == (1, 2), self.outcome
        return [pid for pids in group.values() for pid in pids]

    def end(self) -> TrainingResult | Exception | None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.outcome

    def end_badly(self) -> TrainingFailed:
        outcome = self.end()
        assert isinstance(outcome, TrainingFailed), outcome
        return outcome


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def alive(pids: list[int]) -> list[int]:
    # A zombie has an empty command line: it holds no memory and waits for its parent alone.
    return [pid for pid in pids if command_of(pid)]


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def train(spec: TrainingSpec, train_file: Path, folder: Path) -> tuple[TrainingResult, list[Start | Step | Done]]:
    run = Run(spec, train_file, folder)
    outcome = run.end()
    assert isinstance(outcome, TrainingResult), (outcome, getattr(outcome, "log_tail", ""))
    return outcome, run.events


def test_two_ranks_learn_and_leave_an_adapter_that_loads(base: Path, train_file: Path, tmp_path: Path) -> None:
    result, events = train(a_spec(base), train_file, tmp_path / "run")

    start, steps = events[0], [event for event in events if isinstance(event, Step)]
    assert isinstance(start, Start)
    assert isinstance(events[-1], Done)
    assert (start.world_size, start.backend, start.zero_stage, start.total_steps) == (2, "gloo", 2, 12)
    assert (result.world_size, result.backend, result.zero_stage, result.steps) == (2, "gloo", 2, 12)
    assert [event.step for event in steps] == list(range(1, 13))
    assert steps[-1].loss < 0.5 * steps[0].loss

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert sorted(path.name for path in result.adapter.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), result.adapter)
    learnt = [float(weight.abs().sum()) for name, weight in adapted.named_parameters() if "lora_B" in name]
    assert len(learnt) == 2 * 7
    assert all(learnt)


def test_equal_seeds_train_equal_models(base: Path, train_file: Path, tmp_path: Path) -> None:
    first, _ = train(a_spec(base, max_steps=4), train_file, tmp_path / "first")
    again, _ = train(a_spec(base, max_steps=4), train_file, tmp_path / "again")

    assert first.final_loss == pytest.approx(again.final_loss, abs=1e-4)
    assert first.sha256 == again.sha256


def test_the_sharding_and_the_number_of_ranks_do_not_change_what_is_learnt(base: Path, train_file: Path, tmp_path: Path) -> None:
    same = {"bf16": False, "max_steps": 4}
    sharded, _ = train(a_spec(base, **same), train_file, tmp_path / "zero2")
    whole, _ = train(a_spec(base, zero_stage=0, **same), train_file, tmp_path / "zero0")
    one, _ = train(a_spec(base, world_size=1, gradient_accumulation_steps=2, **same), train_file, tmp_path / "one")

    assert whole.final_loss == pytest.approx(sharded.final_loss, rel=1e-3)
    assert one.final_loss == pytest.approx(sharded.final_loss, rel=1e-3)
    assert one.tokens == sharded.tokens


def test_a_cancelled_run_leaves_no_process(base: Path, train_file: Path, tmp_path: Path) -> None:
    run = Run(a_spec(base, max_steps=100_000), train_file, tmp_path / "run")
    pids = run.until_it_steps()

    run.order = "cancel"
    began = time.monotonic()
    outcome = run.end()

    assert isinstance(outcome, TrainingStopped)
    assert outcome.reason == "cancel"
    assert time.monotonic() - began < 12
    assert alive(pids) == []
    assert not (tmp_path / "run" / "result.json").exists()


def test_ranks_do_not_outlive_their_supervisor(base: Path, train_file: Path, tmp_path: Path) -> None:
    run = Run(a_spec(base, max_steps=100_000), train_file, tmp_path / "run")
    pids = run.until_it_steps()

    os.kill(run.group()["supervisor"][0], signal.SIGKILL)

    wait_for(lambda: alive(pids) == [], 5)
    failure = run.end_badly()
    assert failure.kind == "crash"


def test_nothing_outlives_a_worker_that_is_killed(base: Path, train_file: Path, tmp_path: Path) -> None:
    payload = a_spec(base, max_steps=100_000).model_dump_json()
    code = (
        "import pathlib, sys; from schemas.payloads import TrainingSpec; from workers.training import launch;"
        "launch.run(TrainingSpec.model_validate_json(sys.argv[1]), *map(pathlib.Path, sys.argv[2:]), lambda event: None, lambda: None)"
    )
    with subprocess.Popen([sys.executable, "-c", code, payload, str(train_file), str(tmp_path / "run")]) as worker:
        reader = ProgressReader(tmp_path / "run")
        wait_for(lambda: any(isinstance(event, Step) for event in reader.read()), 90)
        pids = list(descendants(worker.pid))

        worker.kill()

        assert len(pids) >= 4
        wait_for(lambda: alive(pids) == [], 10)


def test_the_group_falls_with_one_rank(base: Path, train_file: Path, tmp_path: Path) -> None:
    run = Run(a_spec(base, max_steps=100_000), train_file, tmp_path / "run")
    pids = run.until_it_steps()

    os.kill(run.group()["rank"][1], signal.SIGKILL)

    failure = run.end_badly()
    assert failure.kind == "crash"
    assert failure.log_tail
    assert alive(pids) == []


def test_a_hanging_rank_is_noticed(base: Path, train_file: Path, tmp_path: Path) -> None:
    run = Run(a_spec(base, max_steps=100_000, stall_timeout=20.0), train_file, tmp_path / "run")
    pids = run.until_it_steps()

    os.kill(run.group()["rank"][0], signal.SIGSTOP)

    failure = run.end_badly()
    assert failure.kind == "stall"
    assert alive(pids) == []


def test_only_loopback_listens(base: Path, train_file: Path, tmp_path: Path) -> None:
    run = Run(a_spec(base, max_steps=100_000), train_file, tmp_path / "run")
    pids = run.until_it_steps()

    addresses = {address for pid in pids for address in listening(pid)}
    run.order = "cancel"
    run.end()

    assert addresses, "gloo listens for its peers"
    assert all(address == "0100007F" for address in addresses), addresses


def listening(pid: int) -> set[str]:
    """Local addresses, in the kernel's hexadecimal, on which process `pid` accepts TCP connections."""
    sockets = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    rows = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def test_an_empty_dataset_is_the_users_error(base: Path, tmp_path: Path) -> None:
    train_file = tmp_path / "train.jsonl"
    train_file.write_text('{"prompt": [], "completion": "x"}\n')

    run = Run(a_spec(base), train_file, tmp_path / "run")
    failure = run.end_badly()

    assert failure.kind == "user"
    assert "line 1" in str(failure)


def test_a_base_that_is_not_there_is_the_users_error(train_file: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()

    run = Run(a_spec(tmp_path / "nothing"), train_file, tmp_path / "run")
    failure = run.end_badly()

    assert failure.kind == "user"
    assert "base model" in str(failure)
