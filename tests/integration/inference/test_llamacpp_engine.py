"""llama.cpp's own server behind a worker's supervisor, with random models of a few thousand weights."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from schemas.chat import Message, Prompt
from tests.support.tiny_model import build_tiny_adapter, build_tiny_model
from tests.support.worker_process import wait_for
from workers import processes
from workers.errors import UserError
from workers.inference.builders import llamacpp
from workers.inference.engine import Engine, Sampling
from workers.inference.local.engine import TransformersEngine
from workers.inference.served import launcher, sockets
from workers.inference.served.engine import ServedEngine
from workers.inference.served.program import Patience
from workers.settings import get_settings

GREEDY = Sampling(max_new_tokens=3)
PATIENCE = Patience(start=60, look=0.1, first=0.1, longest=0.2, stop=5, report=0.5)


@dataclass
class Worker:
    """What a worker with this engine has: a supervisor, and engines that ask it."""

    home: Path
    launched: launcher.Launched

    def engine(self, base: Path) -> ServedEngine:
        return ServedEngine(llamacpp.program(get_settings()), self.home, base, self.home / "merged")

    def servers(self) -> list[int]:
        return list(processes.descendants(self.launched.pid))

    def sockets(self) -> Path:
        return sockets.folder_of(self.home, os.getpid())


@pytest.fixture
def worker(stack_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setenv("TWEETMILL_THREADS", "1")
    monkeypatch.setenv("TWEETMILL_SERVER_CONCURRENCY", "4")
    get_settings.cache_clear()
    settings = get_settings()
    task = launcher.task_of(settings, llamacpp.program(settings), sockets.prepare(settings.home, os.getpid()))
    launched = launcher.Launched(replace(task, patience=PATIENCE), threading.Event().set)
    running = Worker(settings.home, launched)
    wait_for((running.sockets() / sockets.CONTROL).exists, 20)
    yield running
    launched.stop()
    assert not running.servers()
    get_settings.cache_clear()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("base"))


def prompts(count: int) -> list[Prompt]:
    return [(Message("system", "Summarize the tweet."), Message("user", f"The bus {n} was late")) for n in range(count)]


def written(engine: Engine, adapter: Path | None = None, count: int = 40) -> list[str | None]:
    """The answers; None where random weights wrote halves of letters, which no server's answer may hold."""
    return [answer.texts[0] if answer.texts else None for answer in engine.generate(prompts(count), GREEDY, adapter)]


def letters(text: str) -> str:
    """The text without what stands for halves of letters: each program puts another number of them."""
    return text.replace("\ufffd", "").strip()


def test_it_writes_what_transformers_writes_with_a_base_and_with_a_tuned_model(worker: Worker, base: Path, tmp_path: Path) -> None:
    tuned = build_tiny_adapter(base, tmp_path / "demo-0123456789ab")
    asking, local = worker.engine(base), TransformersEngine(str(base), threads=1, dtype="float32")
    for adapter in (None, tuned):
        pairs = zip(written(asking, adapter), written(local, adapter), strict=True)
        same = [letters(theirs) == letters(str(ours)) for theirs, ours in pairs if theirs is not None]
        assert len(same) > 5
        assert sum(same) >= 0.9 * len(same), "random weights decide by little, and f16 rounds"
    assert not list((worker.home / "models" / llamacpp.FOLDER).iterdir()), "the file is gone once it is mapped"
    asking.close()


def test_nobody_gets_an_answer_without_the_key(worker: Worker, base: Path) -> None:
    asking = worker.engine(base)
    written(asking, count=1)
    (socket,) = (each for each in worker.sockets().glob("cpu-*.sock"))
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://llama.cpp") as client:
        body = json.dumps({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 1})
        for path in ("/v1/chat/completions", "/completion", "/tokenize"):
            assert client.post(path, content=body).status_code == 401
        assert client.get("/slots").status_code in {401, 404, 501}, "slots show prompts"
    asking.close()


def test_a_server_that_is_killed_is_started_again_and_each_prompt_is_answered(worker: Worker, base: Path) -> None:
    asking = worker.engine(base)
    before = written(asking, count=3)
    for pid in worker.servers():
        os.kill(pid, signal.SIGKILL)
    assert written(asking, count=3) == before
    asking.close()


def test_a_model_that_it_can_not_run_fails_the_job_with_where_to_look(worker: Worker, base: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in base.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "model_type": "gpt_neo"}))
    asking = worker.engine(other)
    with pytest.raises(UserError, match=r"llama\.cpp can't run it.*llamacpp-cpu\.log"):
        written(asking, count=1)
    assert "NotExportable" in (worker.home / "logs" / "llamacpp-cpu.log").read_text()
    asking.close()
