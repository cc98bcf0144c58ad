"""Real workers that start servers of their own: a server may die or never come up, a worker may be killed; every tweet has one summary."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from schemas.payloads import SummarizationSpec
from tasks.summarization import enqueue
from tests.support import jobs
from tests.support.fake_vllm import done, installed
from tests.support.worker_process import WorkerProcess, wait_for
from workers import processes

pytestmark = pytest.mark.spread

TWEETS, SHARD = 48, 24
Start = Callable[..., WorkerProcess]


@pytest.fixture
def job(clean_database: Engine, tmp_path: Path) -> Callable[[], Any]:
    """Asks for the summaries of some tweets by an adapter on a base that is no more than files."""
    base, adapter = tmp_path / "base", tmp_path / "demo-0123456789ab"
    for folder in (base, adapter):
        folder.mkdir()
    (base / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 8}))
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (base / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    (base / "tokenizer.json").write_text("{}")
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}))
    with clean_database.begin() as connection:
        rows = [{"id": f"t{n}", "text": f"omg the bus number {n} was late AGAIN #fail"} for n in range(TWEETS)]
        connection.execute(text("INSERT INTO tweet (id, source, text, text_hash) VALUES (:id, 'test', :text, md5(:text))"), rows)
        model = "INSERT INTO model (name, base, method, stage, adapter_uri) VALUES ('m', :base, 'lora', 'summary', :adapter) RETURNING id"
        made = connection.execute(text(model), {"base": str(base), "adapter": str(adapter)}).scalar_one()
    return lambda: enqueue(SummarizationSpec(model_id=made, shard_size=SHARD)).job


def served(start_worker: Start, program: Path, name: str = "serving", **environment: str) -> WorkerProcess:
    # Without a limit a lone adapter would be merged on a CPU, and there are no weights to merge.
    vllm = {"TWEETMILL_VLLM_PROGRAM": str(program), "TWEETMILL_VLLM_ARGUMENTS": "--max-lora-rank 16"}
    return start_worker(name, "summarization", TWEETMILL_ENGINE="vllm", **vllm, **environment)


def left(folder: Path) -> list[int]:
    """Processes of servers that run still."""
    return [pid for start in done(folder, "start") for pid in (start["pid"], start["child"]) if processes.is_running(pid)]


def stored(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return sorted(connection.execute(text("SELECT tweet FROM summary")).scalars())


def test_a_server_that_dies_at_work_costs_no_tweet_and_no_failure_and_goes_with_its_worker(
    clean_database: Engine, start_worker: Start, job: Callable[[], Any], tmp_path: Path
) -> None:
    folder = tmp_path / "program"
    worker = served(start_worker, installed(folder, {"slow": 0.5, "dies_at": 11}, {"answer": 0.02}))
    assert wait_for(worker.is_ready), worker.log
    asked = job()
    assert wait_for(lambda: jobs.state(clean_database, asked) == "done", 150), worker.log
    assert stored(clean_database) == sorted(f"t{n}" for n in range(TWEETS))
    assert len(done(folder, "start")) == 2
    with clean_database.connect() as connection:
        assert set(connection.execute(text("SELECT failures FROM job WHERE parent IS NOT NULL")).scalars()) == {0}
    assert left(folder)
    worker.signal(signal.SIGTERM)
    worker.exit_code(60)
    assert wait_for(lambda: not left(folder), 10), "it is stopped with its worker"


def test_a_killed_worker_takes_its_server_with_it_and_another_finishes(
    clean_database: Engine, start_worker: Start, job: Callable[[], Any], tmp_path: Path
) -> None:
    folder = tmp_path / "program"
    program = installed(folder, {"answer": 0.5})
    worker = served(start_worker, program)
    assert wait_for(worker.is_ready), worker.log
    asked = job()
    assert wait_for(lambda: len(done(folder, "chat")) > 2), worker.log
    os.kill(worker.process.pid, signal.SIGKILL)
    assert wait_for(lambda: not left(folder), 30), "no server outlives its worker"
    worker.kill_all()
    (folder / "plan.jsonl").write_text("{}")
    again = served(start_worker, program, "again")
    assert wait_for(lambda: jobs.state(clean_database, asked) == "done", 150), again.log
    assert stored(clean_database) == sorted(f"t{n}" for n in range(TWEETS))


def test_a_server_that_never_comes_up_ends_the_worker_with_the_facts_and_the_job_waits_for_another(
    clean_database: Engine, start_worker: Start, job: Callable[[], Any], tmp_path: Path
) -> None:
    folder = tmp_path / "program"
    worker = served(start_worker, installed(folder, {"dies_at": 0, "code": 7, "says": "No available memory for the cache blocks."}))
    assert wait_for(worker.is_ready), worker.log
    asked = job()
    assert worker.exit_code(150) == 1
    assert "3 times in a row, the last time: it ended with exit code 7" in worker.log
    assert "No available memory for the cache blocks." in worker.log
    assert jobs.state(clean_database, asked) not in {"done", "failed"}
    with clean_database.connect() as connection:
        assert set(connection.execute(text("SELECT failures FROM job WHERE parent IS NOT NULL")).scalars()) == {0}


def test_a_worker_without_the_program_says_so_and_takes_no_job(clean_database: Engine, start_worker: Start, tmp_path: Path) -> None:
    worker = served(start_worker, tmp_path / "nothing")
    assert worker.exit_code(150) == 2
    (told,) = [line for line in worker.log.splitlines() if line.startswith("tweetmill:")]
    assert "TWEETMILL_VLLM_PROGRAM" in told
    assert "Traceback" not in worker.log
