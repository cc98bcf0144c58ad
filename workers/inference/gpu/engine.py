"""Generates on a GPU that is held as a training holds it, and leaves it when it idles or others wait for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from schemas.chat import Prompt
from workers.gpus import driver, gpu_locks
from workers.inference.engine import Generation, Sampling
from workers.inference.gpu import wire
from workers.inference.gpu.process import EngineProcess
from workers.settings import ENVIRONMENT, Settings

logger = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds that a job waits for a free GPU before it goes back to the queue."""

YIELD_AFTER = 3.0
"""Seconds with nothing to do after which an engine leaves its GPU to another that waits for it: longer than from shard to shard."""

LOOK_EVERY = 1.0
"""Seconds between two looks of an idle engine whether it must leave."""

FEWEST, MOST = 64, 4096
"""Prompts between two looks of an engine at work; as many as take some seconds."""


class GpuEngine:
    """An engine on one of the GPUs that this worker sees, whichever is free, in a process of its own.

    A GPU is taken at once, and again when there is something to generate after it was left. Between two portions of prompts the engine
    looks whether a training asked for its GPU. One thread at a time may generate.

    Args:
        settings: of this worker.
        base: the base model.
        patience: seconds to wait for a free GPU the first time.

    Raises:
        Busy: all GPUs are held; says by whom.
        UserError: the base can't be used.
        UnusableDevice: PyTorch can't use the GPU.
        EngineError: the engine can't be built.
    """

    def __init__(self, settings: Settings, base: str, patience: float = PATIENCE) -> None:
        self._settings = settings
        self._base = base
        self._folder = gpu_locks.lock_folder(settings.locks_folder)
        self._process: EngineProcess | None = None
        self._using = threading.Lock()
        self._used = time.monotonic()
        self._requests = 0
        self._closed = threading.Event()
        with self._using:
            self._take(patience, lambda: None)
        threading.Thread(target=self._leave_when_due, name="engine-idle", daemon=True).start()

    @property
    def device(self) -> str | None:
        """The GPU that is held at this moment; None: none."""
        process = self._process
        return process.device if process is not None else None

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        adapter: Path | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """See `Engine.generate`.

        Raises:
            Busy: a training took the GPU, and no other came free.
        """
        report = on_progress or (lambda _: None)
        # Alike in length, so that batches are full, and equal ones together.
        order = sorted(range(len(prompts)), key=lambda place: (sum(len(turn.content) for turn in prompts[place]), str(prompts[place])))
        done: list[Generation | None] = [None] * len(prompts)
        first, portion = 0, FEWEST
        while first < len(order):
            places = order[first : first + portion]
            began = time.monotonic()
            with self._using:
                generations = self._ask([prompts[place] for place in places], sampling, adapter, report)
            for place, generation in zip(places, generations, strict=True):
                done[place] = generation
            took, first = time.monotonic() - began, first + len(places)
            portion = min(MOST, portion * 2) if took < 2 else max(FEWEST, portion // 2) if took > 8 else portion
        return [generation for generation in done if generation is not None]

    def _ask(self, prompts: Sequence[Prompt], sampling: Sampling, adapter: Path | None, report: Callable[[int], None]) -> list[Generation]:
        process = self._process
        if process is not None and (self._is_wanted(process) or not process.is_alive()):
            self._leave("a training waits for it" if process.is_alive() else "its process has ended")
            process = None
        process = process or self._take(PATIENCE, lambda: report(0))
        self._requests += 1
        process.send(wire.request(self._requests, prompts, sampling, adapter))
        try:
            while True:
                message = process.receive(self._requests, lambda: report(0))
                if "generations" in message:
                    return wire.read_answers(message)
                report(int(message["done"]))
        finally:
            self._used = time.monotonic()

    def _take(self, patience: float, on_wait: Callable[[], None]) -> EngineProcess:
        visible = driver.usable_gpus(ENVIRONMENT.get("CUDA_VISIBLE_DEVICES"))
        build = {"engine": self._settings.engine, "base": self._base, "device": "cuda", "threads": self._settings.threads}
        with gpu_locks.held(visible, self._folder, patience, count=1, use="engine", on_wait=on_wait) as held:
            self._process = EngineProcess(held, build, on_wait)
        self._used = time.monotonic()
        logger.info("engine: on %s, in process %d", self._process.device, self._process.pid)
        return self._process

    def _is_wanted(self, process: EngineProcess) -> bool:
        return gpu_locks.is_wanted(self._folder, process.device)

    def _leave(self, why: str) -> None:
        if self._process is not None:
            logger.info("engine: leaves %s: %s", self._process.device, why)
            self._process.close()
            self._process = None

    def _leave_when_due(self) -> None:
        while not self._closed.wait(LOOK_EVERY):
            if not self._using.acquire(blocking=False):
                continue  # at work: it looks itself
            try:
                if self._process is None:
                    continue
                idle = time.monotonic() - self._used
                if self._is_wanted(self._process):
                    self._leave("a training waits for it")
                elif idle > YIELD_AFTER and gpu_locks.is_awaited(self._folder, self._process.device):
                    self._leave("another worker waits for it, and there is nothing to do here")
                elif idle > self._settings.engine_idle:
                    self._leave(f"nothing to do for {self._settings.engine_idle:.0f} s")
            finally:
                self._using.release()

    def close(self) -> None:
        """Leave the GPU for good."""
        self._closed.set()
        with self._using:
            self._leave("another is needed, or none")
