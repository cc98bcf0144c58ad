"""An engine on a GPU: one process a GPU, held as a training holds it, and left when it idles or a training waits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.gpus import prompt, uuid_of, write_driver
from tests.support.ranks import a_spec
from tests.support.tiny_model import build_tiny_model
from tests.support.worker_process import wait_for
from workers.errors import Busy, SettingsError
from workers.gpus import driver, gpu_locks
from workers.inference import engines
from workers.inference.engine import EngineError, Sampling
from workers.inference.gpu import engine as gpu_engine
from workers.inference.gpu import process
from workers.inference.gpu.engine import GpuEngine
from workers.processes import is_running
from workers.settings import get_settings
from workers.training.launcher import launch
from workers.training.protocol.outcome import TrainingStopped
from workers.training.protocol.payload import RunPayload

pytestmark = pytest.mark.spread

CODE = str(Path(__file__).parents[2])
WORKER = """
import sys, time
from pathlib import Path
from tests.support.gpus import prompt
from workers.inference import engines
from workers.inference.engine import Sampling
from workers.inference.gpu import process
process.COMMAND = (sys.executable, "-m", "tests.support.gpus", sys.argv[2])
engine = engines.engine_for(sys.argv[1])
while True:
    (answer,) = engine.generate([prompt("the bus was late")], Sampling(max_new_tokens=4))
    print(engine.device, engine._process.pid, ascii(answer.texts[0]), flush=True)
    sys.stdin.readline()
"""
HOLDER = """
import sys
from workers.gpus import gpu_locks
from workers.settings import get_settings
with gpu_locks.held(sys.argv[1:], gpu_locks.lock_folder(get_settings().locks_folder), patience=0):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def machine(stack_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Path]]:
    """Gives this machine GPUs; the engine on each of them has words and no model."""
    monkeypatch.setattr(process, "COMMAND", (sys.executable, "-m", "tests.support.gpus", "words"))
    monkeypatch.setattr(gpu_engine, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(gpu_engine, "PATIENCE", 0.5)
    monkeypatch.setattr(gpu_engine, "YIELD_AFTER", 0.3)
    monkeypatch.setattr(engines, "PATIENCE", 0.5)
    monkeypatch.setattr(engines, "_unusable", [])
    monkeypatch.setenv("PYTHONPATH", CODE)

    def with_gpus(count: int) -> Path:
        folder = write_driver(tmp_path / "driver", count)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return folder

    yield with_gpus
    engines.release()


@pytest.fixture
def engine_on(machine: Callable[[int], Path]) -> Iterator[Callable[[int], GpuEngine]]:
    """Starts an engine on a machine with so many GPUs; ends all."""
    with ExitStack() as opened:

        def start(gpus: int) -> GpuEngine:
            machine(gpus)
            engine = GpuEngine(get_settings(), "base")
            opened.callback(engine.close)
            return engine

        yield start


@pytest.fixture
def training(tmp_path: Path) -> Callable[..., Any]:
    """Holds the GPUs of a training, as its launcher does."""

    def devices(should_stop: Callable[[], Any] = lambda: None, **changes: Any) -> Any:
        return launch._devices(run_of(tmp_path, **changes), should_stop)

    return devices


def run_of(folder: Path, **changes: Any) -> RunPayload:
    """A training with these keys of a recipe."""
    return RunPayload(spec=a_spec(folder, **changes), train_file=folder / "none", run_folder=folder / "a-job" / "attempt-1")


def folder() -> Path:
    return gpu_locks.lock_folder(get_settings().locks_folder)


def is_free(gpu: int) -> bool:
    try:
        with gpu_locks.held([uuid_of(gpu)], folder(), patience=0, use="engine"):
            return True
    except Busy:
        return False


def ask(engine: Any, *texts: str, **options: Any) -> list[str]:
    return [answer.texts[0] for answer in engine.generate([prompt(text) for text in texts], Sampling(), **options)]


def test_eight_engines_take_eight_gpus(machine: Any) -> None:
    machine(8)
    with ExitStack() as opened, ThreadPoolExecutor(8) as together:
        started = list(together.map(lambda _: GpuEngine(get_settings(), "base", patience=30), range(8)))
        for engine in started:
            opened.callback(engine.close)
        seen = {ask(engine, "hello")[0] for engine in started}
        assert seen == {f"{uuid_of(number)} hello" for number in range(8)}
        with pytest.raises(Busy, match=rf"GPU {uuid_of(0)} is held by the warm engine of process {os.getpid()}"):
            GpuEngine(get_settings(), "base", patience=0)
        started[3].close()
        ninth = GpuEngine(get_settings(), "base", patience=0)
        opened.callback(ninth.close)
        assert ask(ninth, "hello")[0] not in {ask(engine, "hello")[0] for engine in started if engine is not started[3]}


def test_an_engine_takes_gpus_that_its_worker_sees_alone(engine_on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    engine = engine_on(4)
    assert ask(engine, "hello") == [f"{uuid_of(2)} hello"]
    assert [is_free(number) for number in range(4)] == [True, True, False, True]


def test_a_training_has_the_gpu_of_another_workers_warm_engine_in_bounded_time(
    machine: Any, training: Any, tmp_path: Path, measured: Any
) -> None:
    drivers, base = machine(1), build_tiny_model(tmp_path / "tiny")
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(base), "model"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CODE
    )
    try:
        device, pid, first = worker.stdout.readline().split(maxsplit=2)
        assert device == uuid_of(0)
        (drivers / "computing").write_text(f"{pid}, {device}\n")
        assert not is_free(0)
        began = time.monotonic()
        with training(world_size=1) as held:
            assert held.devices == (device,)
            assert not is_running(int(pid)), "its memory is given back with the process"
        assert time.monotonic() - began < launch.GPU_PATIENCE + gpu_locks.ENGINE_LEAVES_WITHIN
        worker.stdin.write("\n")
        worker.stdin.flush()
        again, second_pid, second = worker.stdout.readline().split(maxsplit=2)
        assert (again, second) == (device, first), "it comes back when there is work"
        assert second_pid != pid
    finally:
        worker.kill()
        worker.wait()


def test_an_engine_at_work_leaves_after_the_portion_at_hand_and_goes_on_elsewhere(
    engine_on: Any, training: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_engine, "FEWEST", 2)
    monkeypatch.setattr(gpu_engine, "MOST", 2)
    engine = engine_on(2)
    with ThreadPoolExecutor(1) as beside:
        answers = beside.submit(ask, engine, *[f"wait 0.{number}" for number in range(1, 8)])
        with training(world_size=1) as held:
            assert held.devices == (uuid_of(1),), "one that is free is taken first"
        with gpu_locks.held([uuid_of(0)], folder(), patience=0.1) as held:
            assert not answers.done(), "it was at work when it was asked"
            seen = [answer.split()[0] for answer in answers.result()]
    assert seen == sorted(seen), "first on one GPU, then on the other"
    assert set(seen) == {uuid_of(0), uuid_of(1)}


def test_a_job_whose_engine_must_leave_the_only_gpu_is_given_back(engine_on: Any) -> None:
    engine = engine_on(1)
    busy = pytest.raises(Busy, match=r"is held by process \d+, job a-training")
    with gpu_locks.held([uuid_of(0)], folder(), patience=5, job="a-training"), busy:
        ask(engine, "hello")
    assert ask(engine, "hello") == [f"{uuid_of(0)} hello"]


def test_a_gpu_that_a_training_asked_for_is_taken_by_no_engine(engine_on: Any) -> None:
    engine = engine_on(2)
    waiting = gpu_locks.held([uuid_of(0), uuid_of(1)], folder(), patience=0)
    assert engine.device == uuid_of(0)
    with gpu_locks.held([uuid_of(1)], folder(), patience=0, job="long"), pytest.raises(Busy), waiting:
        pytest.fail("another training has one of them")
    assert ask(engine, "hello") == [f"{uuid_of(0)} hello"], "its own would not have been enough, so it was not asked"


def test_an_idle_engine_leaves_its_gpu(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(1)
    monkeypatch.setenv("TWEETMILL_ENGINE_IDLE", "0.3")
    get_settings.cache_clear()
    engine = engines.engine_for("base")
    assert not is_free(0)
    assert wait_for(lambda: is_free(0), 10)
    assert engines.engine_for("base") is engine
    assert ask(engine, "hello") == [f"{uuid_of(0)} hello"]


def test_an_engine_with_nothing_to_do_leaves_its_gpu_to_another_that_waits_for_it(engine_on: Any) -> None:
    idle = engine_on(1)
    ask(idle, "the bus was late")
    waiting = engine_on(1)
    assert waiting.device == uuid_of(0)
    assert idle.device is None


def test_of_several_engines_the_one_with_nothing_to_do_leaves(engine_on: Any) -> None:
    working, idle = engine_on(2), engine_on(2)
    assert (working.device, idle.device) == (uuid_of(0), uuid_of(1))
    waited = threading.Event()

    def work() -> None:
        while not waited.is_set():
            ask(working, "the bus was late")

    with ThreadPoolExecutor(1) as pool:
        at_work = pool.submit(work)
        try:
            waiting = engine_on(2)
        finally:
            waited.set()
        at_work.result(30)
    assert (working.device, idle.device, waiting.device) == (uuid_of(0), None, uuid_of(1))


def test_an_engine_that_was_at_work_a_moment_ago_keeps_its_gpu(engine_on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_engine, "YIELD_AFTER", 30.0)
    working = engine_on(1)
    with pytest.raises(Busy, match="is held by the warm engine"):
        GpuEngine(get_settings(), "base", patience=1.0)
    assert working.device == uuid_of(0)


def test_a_worker_leaves_its_gpu_before_it_trains(machine: Any) -> None:
    machine(1)
    engines.engine_for("base")
    assert not is_free(0)
    engines.release()
    assert is_free(0)


def test_a_killed_worker_leaves_no_engine_on_its_gpu(machine: Any) -> None:
    machine(1)
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, "base", "words"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CODE
    )
    pid = int(worker.stdout.readline().split()[1])
    assert not is_free(0)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert wait_for(lambda: not is_running(pid), 10)
    assert wait_for(lambda: is_free(0), 10)


def test_a_request_that_is_given_up_leaves_the_next_its_own_answers(engine_on: Any) -> None:
    engine = engine_on(1)

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(engine, "wait 0.3", "first", on_progress=stop)
    counted: list[int] = []
    assert ask(engine, "second", "b", on_progress=counted.append) == [f"{uuid_of(0)} second", f"{uuid_of(0)} b"]
    assert sum(counted) == 2


def test_an_engine_that_crashes_is_started_anew_for_the_next_request(engine_on: Any) -> None:
    engine = engine_on(1)
    with pytest.raises(EngineError, match="RuntimeError in the engine's process: CUDA error"):
        ask(engine, "crash")
    assert ask(engine, "hello") == [f"{uuid_of(0)} hello"]
    with pytest.raises(EngineError, match=r"ended with signal SIGKILL"):
        ask(engine, "wait 20", on_progress=lambda _: os.kill(engine._process.pid, signal.SIGKILL))
    assert ask(engine, "hello") == [f"{uuid_of(0)} hello"]


def test_while_all_gpus_are_held_a_worker_uses_its_cpu_where_the_settings_say_so(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(1)
    monkeypatch.setattr(engines, "builder_of", lambda _: _OnCpu)
    with gpu_locks.held([uuid_of(0)], folder(), patience=0):
        with pytest.raises(Busy):
            engines.engine_for("base")
        monkeypatch.setenv("TWEETMILL_BUSY_GPU", "cpu")
        get_settings.cache_clear()
        assert isinstance(engines.engine_for("base"), _OnCpu)
    assert isinstance(engines.engine_for("base"), GpuEngine), "one came free"


@pytest.mark.parametrize("asked", ["auto", "cuda", "cpu"])
def test_a_gpu_that_pytorch_can_not_use_is_held_by_no_engine(machine: Any, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    machine(1)
    monkeypatch.setattr(engines, "builder_of", lambda _: _OnCpu)
    monkeypatch.setenv("TWEETMILL_DEVICE", asked)
    get_settings.cache_clear()
    if asked == "cuda":
        with pytest.raises(SettingsError, match="TWEETMILL_DEVICE=cuda: PyTorch sees no GPU here"):
            engines.engine_for("unusable")
    else:
        assert isinstance(engines.engine_for("unusable"), _OnCpu)
    assert is_free(0)


def test_a_recipe_for_the_cpu_holds_no_gpu(machine: Any, training: Any, tmp_path: Path) -> None:
    machine(1)
    with gpu_locks.held([uuid_of(0)], folder(), patience=0), training(world_size=1, device="cpu") as held:
        assert held == gpu_locks.Held()
    assert launch._environment(run_of(tmp_path, device="cpu"), held.devices)["CUDA_VISIBLE_DEVICES"] == ""


def test_ranks_see_the_gpus_that_are_held_for_them(machine: Any, training: Any, tmp_path: Path) -> None:
    machine(4)
    with gpu_locks.held([uuid_of(0), uuid_of(2)], folder(), patience=0), training(world_size=2) as held:
        shown = launch._environment(run_of(tmp_path), held.devices)["CUDA_VISIBLE_DEVICES"]
    assert shown == f"{uuid_of(1)},{uuid_of(3)}"


def test_a_training_that_waits_for_a_gpu_stops_when_it_is_asked_to(machine: Any, training: Any) -> None:
    machine(1)
    with gpu_locks.held([uuid_of(0)], folder(), patience=0), pytest.raises(TrainingStopped), training(lambda: "cancel", world_size=1):
        pytest.fail("the GPU is held")


def test_two_homes_with_one_folder_of_locks_share_a_gpu(machine: Any, tmp_path: Path) -> None:
    def holder(home: str, **environment: str) -> subprocess.Popen[str]:
        env = {**os.environ, "TWEETMILL_HOME": str(tmp_path / home), **environment}
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([sys.executable, "-c", HOLDER, "0"], env=env, text=True, cwd=CODE, **pipes)

    shared = {"TWEETMILL_LOCKS": str(tmp_path / "shared")}
    first = holder("one", **shared)
    assert first.stdout.readline() == "held\n"
    second, apart = holder("two", **shared), holder("two")
    assert "is held by process" in second.communicate("")[1]
    assert apart.communicate("\n")[0] == "held\n", "without it each home has locks of its own"
    first.communicate("\n")


def test_a_device_that_goes_by_its_place_on_the_bus_is_shown_to_cuda_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "present_gpus", lambda: ("0000:65:00.0", "0000:b3:00.0"))
    assert driver.cuda_names(["0000:b3:00.0"]) == "1"
    assert driver.cuda_names(["1", uuid_of(0)]) == f"1,{uuid_of(0)}"
    assert driver.cuda_names([]) == ""


class _OnCpu:
    """A builder, and its engine."""

    ON_GPU = True

    @classmethod
    def build(cls, settings: Any, base: str) -> _OnCpu:
        return cls()

    def set_threads(self, threads: int | None) -> None:
        pass
