"""Servers of other engines, started as a worker starts them, with room for shorter prompts: llama.cpp, and vLLM where it is named."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx
import psutil

from benchmarks.measure import CannotRun
from benchmarks.servers import ROOT, wait_for
from schemas.chat import Prompt
from schemas.payloads import Quant
from workers.errors import SettingsError
from workers.inference.builders import llamacpp, vllm
from workers.inference.engine import Sampling
from workers.inference.remote.engine import OpenAIEngine
from workers.inference.served.program import BASE_NAME, Program, Served
from workers.settings import get_settings

_QUANT: Quant = "q8_0"
_CONTEXT = 512  # tokens of a prompt and its answer
_START, _REQUEST = 900.0, 600.0  # seconds
_KEY = "bench"


@dataclass(frozen=True)
class Server:
    """A server that is stopped while it is not asked, so that it takes no time from the others."""

    name: str
    engine: OpenAIEngine
    process: subprocess.Popen[bytes]

    def write(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[str]:
        """Return its answer to each prompt."""
        self.signal(signal.SIGCONT)
        try:
            return [generation.texts[0] if generation.texts else "" for generation in self.engine.generate(prompts, sampling)]
        finally:
            self.signal(signal.SIGSTOP)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process and to those below it."""
        main = psutil.Process(self.process.pid)
        for each in [main, *main.children(recursive=True)]:
            each.send_signal(number)


@contextmanager
def servers_of(model: Path) -> Iterator[list[Server]]:
    """Start the servers that are installed here with `model`.

    Raises:
        CannotRun: one of them does not come up.
    """
    settings = get_settings()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tweetmill-")))
        found = []
        try:
            if find_spec("xllamacpp") and find_spec("gguf"):
                program = llamacpp.program(settings.model_copy(update={"llamacpp_quant": _QUANT}))
                slots = settings.requests_at_once(llamacpp.SLOTS)
                name = f"llama.cpp by xllamacpp, {_QUANT}, {slots} slots"
                found.append(stack.enter_context(_served(name, program, model, folder / "llama.sock", slots)))
            if settings.vllm_program:
                program = vllm.program(settings)
                name = f"vLLM, {program.command[program.command.index('--dtype') + 1]}, {vllm.ON_CPU_CONCURRENCY} requests open"
                found.append(stack.enter_context(_served(name, program, model, folder / "vllm.sock", vllm.ON_CPU_CONCURRENCY)))
        except SettingsError as error:
            raise CannotRun(str(error)) from None
        yield found


@contextmanager
def _served(name: str, program: Program, model: Path, socket: Path, concurrency: int) -> Iterator[Server]:
    log = socket.with_suffix(".log")
    environment = {**program.environment, **os.environ, **program.fixed, program.key_variable: _KEY}
    with log.open("wb") as out:
        command = program.started(Served(str(model), _CONTEXT), socket, 0)
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=environment)
    try:
        wait_for(lambda: process.poll() is not None or _is_healthy(socket, program.health), name, 0.5, _START)
        if process.poll() is not None:
            raise CannotRun(f"{name} did not start: {log.read_text(errors='replace')[-1000:]}")
        engine = OpenAIEngine("http://server/v1", _KEY, BASE_NAME, concurrency, timeout=_REQUEST, socket=socket)
        server = Server(name, engine, process)
        server.signal(signal.SIGSTOP)
        yield server
        engine.close()
    finally:
        # One that is stopped does not hear that it should end.
        if process.poll() is None:
            main = psutil.Process(process.pid)
            for each in [*main.children(recursive=True), main]:
                each.kill()
        process.wait()


def _is_healthy(socket: Path, health: str) -> bool:
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket))) as client:
            return client.get(f"http://server{health}").is_success
    except httpx.TransportError:
        return False
