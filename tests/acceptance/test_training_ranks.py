"""Real ranks, real DeepSpeed, a tiny model: a training finishes, repeats itself, and leaves no process behind however it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.chat import Message
from tests.support.rank_series import result as series_result
from tests.support.rank_series import train_all
from tests.support.ranks import Run, a_spec, alive, train, wait_for, write_train_file
from tests.support.tiny_model import build_tiny_model
from workers.base_models.files import BaseRecord, digest
from workers.base_models.precision import choose_dtype
from workers.inference.engine import Sampling
from workers.inference.local.engine import TransformersEngine
from workers.processes import descendants
from workers.training.protocol.outcome import TrainingStopped
from workers.training.protocol.payload import RunPayload
from workers.training.protocol.progress import Done, ProgressReader, Start, Step

pytestmark = pytest.mark.spread

Told = Callable[..., None]


@pytest.fixture
def train_file(tmp_path: Path) -> Path:
    return write_train_file(tmp_path / "train.jsonl")


def test_two_ranks_learn_leave_an_adapter_that_loads_and_learn_the_same_again(base: Path, train_file: Path, tmp_path: Path) -> None:
    result, run = train(a_spec(base), train_file, tmp_path / "run")

    events = run.events
    start, steps = events[0], [event for event in events if isinstance(event, Step)]
    assert isinstance(start, Start)
    assert isinstance(events[-1], Done)
    assert (start.world_size, start.backend, start.zero_stage, start.total_steps) == (2, "gloo", 2, 12)
    assert (result.world_size, result.backend, result.zero_stage, result.steps) == (2, "gloo", 2, 12)
    assert start.dtype == result.dtype == choose_dtype("auto", "cpu").dtype
    assert "times as long in bfloat16" in start.dtype_reason
    assert [event.step for event in steps] == list(range(1, 13))
    assert steps[-1].loss < 0.5 * steps[0].loss

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert sorted(path.name for path in result.adapter.iterdir()) == ["adapter_config.json", "adapter_model.safetensors", "base.json"]
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), result.adapter)
    learnt = [float(weight.abs().sum()) for name, weight in adapted.named_parameters() if "lora_B" in name]
    assert len(learnt) == 2 * 7
    assert all(learnt)

    again, _ = train(a_spec(base), train_file, tmp_path / "again")
    assert result.final_loss == pytest.approx(again.final_loss, abs=1e-4)
    assert result.sha256 == again.sha256, "equal seeds train equal models"


def test_the_sharding_and_the_number_of_ranks_do_not_change_what_is_learnt(base: Path, train_file: Path, tmp_path: Path) -> None:
    same = {"bf16": False, "max_steps": 4}
    specs = {
        "zero2": a_spec(base, **same),
        "zero0": a_spec(base, zero_stage=0, **same),
        "one": a_spec(base, world_size=1, gradient_accumulation_steps=2, **same),
    }
    runs = {name: RunPayload(spec=spec, train_file=train_file, run_folder=tmp_path / name) for name, spec in specs.items()}
    for ranks in (1, 2):
        (tmp_path / str(ranks)).mkdir()
        train_all([run for run in runs.values() if run.spec.world_size == ranks], tmp_path / str(ranks), ranks)
    sharded, whole, one = (series_result(runs[name]) for name in ("zero2", "zero0", "one"))

    assert whole.final_loss == pytest.approx(sharded.final_loss, rel=1e-3)
    assert one.final_loss == pytest.approx(sharded.final_loss, rel=1e-3)
    assert one.tokens == sharded.tokens


def test_only_loopback_listens_and_a_cancelled_run_leaves_no_process(base: Path, train_file: Path, tmp_path: Path) -> None:
    run = Run(a_spec(base, max_steps=100_000), train_file, tmp_path / "run")
    pids = run.until_it_steps()

    addresses = {address for pid in pids for address in listening(pid)}
    assert addresses, "gloo listens for its peers"
    assert all(address == "0100007F" for address in addresses), addresses

    run.order = "cancel"
    began = time.monotonic()
    outcome = run.end()

    assert isinstance(outcome, TrainingStopped)
    assert outcome.reason == "cancel"
    assert time.monotonic() - began < 12
    assert alive(pids) == []
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize(
    ("role", "which"),
    [
        pytest.param("rank", 1, marks=pytest.mark.fault(3)),
        pytest.param("agent", 0, marks=pytest.mark.fault(4)),
        pytest.param("supervisor", 0, marks=pytest.mark.fault(5)),
    ],
)
def test_the_group_falls_with_any_one_of_it(role: str, which: int, base: Path, train_file: Path, tmp_path: Path, measured: Told) -> None:
    run = Run(a_spec(base, max_steps=100_000), train_file, tmp_path / "run")
    pids = run.until_it_steps()

    run.kill(role, which)

    took = wait_for(lambda: alive(pids) == [], 10)
    failure = run.end_badly()
    assert failure.kind == "crash"
    assert failure.log_tail
    measured(killed=role, group_gone_seconds=round(took, 2), processes_left=len(alive(pids)))


def test_nothing_outlives_a_worker_that_is_killed(base: Path, train_file: Path, tmp_path: Path) -> None:
    payload = RunPayload(spec=a_spec(base, max_steps=100_000), train_file=train_file, run_folder=tmp_path / "run")
    code = (
        "import sys; from workers.training.launcher import launch; from workers.training.protocol.payload import RunPayload;"
        "launch.run(RunPayload.model_validate_json(sys.argv[1]), lambda event: None, lambda: None)"
    )
    with subprocess.Popen([sys.executable, "-c", code, payload.model_dump_json()]) as worker:
        reader = ProgressReader(tmp_path / "run")
        wait_for(lambda: any(isinstance(event, Step) for event in reader.read()), 90)
        pids = list(descendants(worker.pid))

        worker.kill()

        assert len(pids) >= 4
        wait_for(lambda: alive(pids) == [], 10)


@pytest.mark.fault(9)
def test_a_hanging_rank_is_noticed(base: Path, train_file: Path, tmp_path: Path, measured: Told) -> None:
    patience = 10.0  # seconds; five times that for the first step
    run = Run(a_spec(base, max_steps=100_000, stall_timeout=patience), train_file, tmp_path / "run")
    pids = run.until_it_steps()

    os.kill(run.group()["rank"][0], signal.SIGSTOP)

    took = wait_for(lambda: alive(pids) == [], 60)
    failure = run.end_badly()
    assert failure.kind == "stall"
    measured(stall_timeout=patience, killed_after_seconds=round(took, 2))
    assert took < patience + 10
    assert alive(pids) == []


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


def test_a_template_that_refuses_is_the_users_error(base: Path, train_file: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "refusing")
    (folder / "chat_template.jinja").write_text("{{ raise_exception('Only tools are spoken to') }}")
    run = Run(a_spec(folder, world_size=1), train_file, tmp_path / "run")
    failure = run.end_badly()

    assert failure.kind == "user"
    assert "chat template fails (Only tools are spoken to)" in str(failure)


def test_a_base_without_system_role_is_taught_and_ends_its_answers_as_taught(tmp_path: Path) -> None:
    # Given a base whose template refuses a system role, and closes a turn with a token that is not the model's end
    base = build_tiny_model(tmp_path / "base")
    template = (base / "chat_template.jinja").read_text()
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    (base / "chat_template.jinja").write_text(refusing + template)
    ends = {"config.json": {"eos_token_id": 0}, "generation_config.json": {"eos_token_id": 0}}
    for file, end in (ends | {"tokenizer_config.json": {"eos_token": "<|endoftext|>"}}).items():
        (base / file).write_text(json.dumps(json.loads((base / file).read_text()) | end))
    # When it learns one answer
    prompt = (Message("system", "Summarize."), Message("user", "the bus"))
    line = {"prompt": [vars(message) for message in prompt], "completion": "The bus was late."}
    file = tmp_path / "train.jsonl"
    file.write_text((json.dumps(line) + "\n") * 4)
    result, _ = train(a_spec(base, world_size=1, max_steps=25), file, tmp_path / "run")
    # Then it gives that answer and no more, and its adapter knows the weights it was trained on
    engine = TransformersEngine(str(base), device="cpu", dtype="float32")
    (generation,) = engine.generate([prompt], Sampling(max_new_tokens=40), result.adapter)
    assert generation.texts == ("The bus was late.",)
    record = BaseRecord.read(result.adapter)
    assert record is not None
    assert (record.sha256, record.end_of_turn) == (result.base_sha256, "<|im_end|>")
    assert record.sha256 == digest(base)
