"""llama.cpp's server on the folder of a model: `python -m workers.exports.engines.llama_server MODEL SOCKET [--quant f16] …`.

The weights are written as a GGUF file beside the socket, which is gone once llama.cpp has mapped it. Requests need the key that is in
`LLAMA_API_KEY`. Why a model can't be served stands in the last line that is written.
"""

from __future__ import annotations

import argparse
import os
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

UNUSABLE = 2
"""Exit code: llama.cpp can't run this model."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal ends the process; return the exit code if that does not happen."""
    asked = _asked(arguments)
    socket = Path(asked.socket)
    file = socket.with_suffix(".gguf")
    try:
        write_gguf(Path(asked.model), file, asked.quant)
        server = serve(file, socket, slots=asked.slots, context=asked.context, threads=asked.threads, key=os.environ.get("LLAMA_API_KEY"))
    except (UserError, CannotLoad) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return UNUSABLE
    finally:
        file.unlink(missing_ok=True)
    signal.pause()
    del server
    return 1


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(prog="python -m workers.exports.engines.llama_server")
    parser.add_argument("model", help="folder of a model in safetensors, with tokenizer and chat template")
    parser.add_argument("socket", help="Unix socket to listen on, ending in .sock")
    parser.add_argument("--quant", choices=get_args(Quant), default="f16", help="of the weights")
    parser.add_argument("--context", type=int, default=1024, help="tokens of a prompt and its answer")
    parser.add_argument("--slots", type=int, default=32, help="requests that are decoded together")
    parser.add_argument("--threads", type=int, default=cores, help="CPU threads")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
