"""A machine with GPUs, as far as a driver tells: `nvidia-smi` is a script, and what an engine on a GPU runs in is a process of its own.

As a program it is that process, `python -m tests.support.gpus MODE`: `words` answers each prompt with a few words about it, and
`model` with a real model on the CPU.
"""

from __future__ import annotations

import stat
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from schemas.chat import Message, Prompt
from workers.inference.engine import Generation, Sampling, UnusableDevice
from workers.settings import ENVIRONMENT, Settings


def uuid_of(number: int) -> str:
    """The UUID of GPU `number`."""
    return f"GPU-0000000{number}-1111-2222-3333-444455556666"


def write_driver(folder: Path, gpus: int) -> Path:
    """Write an `nvidia-smi` that lists so many GPUs, and what the file `computing` beside it says; return its folder.

    A line of that file is `PID, UUID`; as with the real driver, a process that has ended is not listed.
    """
    folder.mkdir(exist_ok=True)
    listed = "\n".join(f"GPU {number}: NVIDIA H200 (UUID: {uuid_of(number)})" for number in range(gpus))
    script = folder / "nvidia-smi"
    script.write_text(
        f"#!/bin/sh\nif [ \"$1\" = -L ]; then echo '{listed}'; exit; fi\n"
        f'while read -r pid gpu; do kill -0 "${{pid%,}}" 2>/dev/null && echo "$pid $gpu"; done < "{folder}/computing"\nexit 0\n'
    )
    script.chmod(stat.S_IRWXU)
    (folder / "computing").write_text("")
    return folder


def prompt(text: str) -> Prompt:
    """A chat of one turn."""
    return (Message("user", text),)


class Words:
    """Answers with the GPU that it sees, and the prompt. `wait N` takes N seconds, `crash` ends in an error that nobody expects."""

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, adapter: Path | None = None, on_progress: Callable[[int], None] | None = None
    ) -> list[Generation]:
        """See `Engine.generate`."""
        for asked in prompts:
            word, _, seconds = asked[-1].content.partition(" ")
            if word == "crash":
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            time.sleep(float(seconds) if word == "wait" else 0)
            if on_progress is not None:
                on_progress(1)
        seen = ENVIRONMENT["CUDA_VISIBLE_DEVICES"]
        return [Generation((f"{seen} {asked[-1].content}",), tokens_in=1, tokens_out=1) for asked in prompts]


def _words(_settings: Settings, base: str) -> Any:
    if base == "unusable":
        raise UnusableDevice("PyTorch sees no GPU here")
    return Words()


def _model(settings: Settings, base: str) -> Any:
    from workers.inference.builders import transformers

    return transformers.build(settings.model_copy(update={"device": "cpu"}), base)


if __name__ == "__main__":
    from workers.inference.gpu import main

    main.builder_of = lambda _: SimpleNamespace(build={"words": _words, "model": _model}[sys.argv[1]])  # type: ignore[assignment]
    sys.path.insert(0, str(Path.cwd()))
    main.serve()
