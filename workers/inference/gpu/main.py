"""The process of an engine: `python -m workers.inference.gpu.main`, started by a worker, with one GPU to see.

It says what `wire` defines, on its first output; whatever a library prints goes to the log. It ends when the worker does, since its input
ends then.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from queue import SimpleQueue
from typing import Any, BinaryIO

from workers import logs
from workers.errors import UserError
from workers.inference.engine import Engine, EngineError
from workers.inference.engine_builders import builder_of
from workers.inference.gpu import wire
from workers.memory import is_out_of_memory
from workers.redaction import redact
from workers.settings import get_settings

logger = logging.getLogger(__name__)

OUT_OF_MEMORY = "the GPU has not enough memory: use a smaller base, another dtype (TWEETMILL_DTYPE), or a GPU with more"


class _Server:
    """Answers the requests of one worker."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._engine: Engine | None = None

    def answer(self, message: dict[str, Any]) -> None:
        """Do what a message asks; a failure is an answer as well."""
        number = message.get("number", 0)
        try:
            if "build" in message:
                self._build(message["build"])
                self._say({"ready": True})
            else:
                assert self._engine is not None, "the first message builds the engine"
                prompts, sampling, adapter = wire.read_request(message)
                done = self._engine.generate(prompts, sampling, adapter, lambda count: self._say({"number": number, "done": count}))
                self._say(wire.answers(number, done))
        except (UserError, EngineError) as error:
            self._say(wire.failure(number, error, str(error)))
        except Exception as error:
            logger.exception("engine: the request failed")
            self._say(wire.failure(number, error, _described(error)))
            os._exit(1)  # CUDA can't be trusted after an error of its own: the worker starts a new process

    def _build(self, asked: dict[str, Any]) -> None:
        changes = {name: asked[name] for name in ("engine", "device", "threads")}
        self._engine = builder_of(asked["engine"]).build(get_settings().model_copy(update=changes), asked["base"])

    def _say(self, message: dict[str, Any]) -> None:
        self._out.write(wire.encode(message))
        self._out.flush()


def _described(error: Exception) -> str:
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    return f"{type(error).__name__} in the engine's process: {redact(str(error).partition(chr(10))[0])[:300]}"


def _read(messages: SimpleQueue[dict[str, Any]]) -> None:
    """Queue what the worker says; end this process at once when there is no worker any more."""
    for line in sys.stdin.buffer:
        messages.put(wire.decode(line))
    os._exit(0)


def serve() -> None:
    """Answer requests until the worker is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the worker, which a terminal interrupts as well
    logs.set_up(get_settings().log_json)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    messages: SimpleQueue[dict[str, Any]] = SimpleQueue()
    threading.Thread(target=_read, args=(messages,), daemon=True).start()
    server = _Server(out)
    while True:
        server.answer(messages.get())


if __name__ == "__main__":
    serve()
