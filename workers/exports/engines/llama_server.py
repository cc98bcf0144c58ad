"""llama.cpp's server on the folder of a model: `python -m workers.exports.engines.llama_server MODEL SOCKET …`.

The weights are written as a GGUF file, which is gone once llama.cpp has mapped it. Requests need the key that is in `LLAMA_API_KEY`. Why a
model can't be served stands in the last line that is written.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from schemas.payloads import Quant
from workers.errors import UserError
from workers.exports.engines.engine import CannotLoad
from workers.exports.engines.llama_cpp import serve
from workers.exports.gguf.writing import write_gguf
from workers.exports.room import NoRoom
from workers.file_permissions import make_private
from workers.processes import is_running
from workers.settings import ENVIRONMENT

UNUSABLE = 2
"""Exit code: llama.cpp can't run this model, or there is no room for its file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal ends the process; return the exit code if that does not happen."""
    asked = _asked(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # what is written is removed then, too
    scratch = _own_folder(Path(asked.scratch))
    try:
        file = _written(Path(asked.model), scratch / "model.gguf", asked.quant)
        key = ENVIRONMENT.get("LLAMA_API_KEY")
        server = serve(file, Path(asked.socket), slots=asked.slots, context=asked.context, threads=asked.threads, key=key)
    except (UserError, CannotLoad) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return UNUSABLE
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    signal.pause()
    del server
    return 1


def _written(model: Path, file: Path, quant: Quant) -> Path:
    try:
        return write_gguf(model, file, quant).path
    except OSError as error:
        free = shutil.disk_usage(file.parent).free
        raise NoRoom(f"the file can't be written ({error.strerror}): {free // 2**20} MiB are free where {file.parent} lies") from None


def _own_folder(scratch: Path) -> Path:
    """Return a folder for this process, and remove those of processes that were killed."""
    make_private(scratch)
    for other in scratch.iterdir():
        if other.name.isdecimal() and not is_running(int(other.name)):
            shutil.rmtree(other, ignore_errors=True)
    return make_private(scratch / str(os.getpid()))


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers.exports.engines.llama_server")
    parser.add_argument("model", help="folder of a model in safetensors, with tokenizer and chat template")
    parser.add_argument("socket", help="Unix socket to listen on, ending in .sock")
    parser.add_argument("--scratch", required=True, help="folder for the GGUF file, until it is mapped")
    parser.add_argument("--quant", choices=get_args(Quant), required=True, help="of the weights")
    parser.add_argument("--context", type=int, required=True, help="tokens of a prompt and its answer")
    parser.add_argument("--slots", type=int, required=True, help="requests that are decoded together")
    parser.add_argument("--threads", type=int, required=True, help="CPU threads")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
