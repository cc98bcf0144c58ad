"""Loads a GGUF file by llama.cpp, as xllamacpp brings it: its server's own template engine, tokenizer, stop and arithmetic.

The server is spoken to over a Unix socket in a private folder; no port is opened. It is native code in this process, which
`workers.exports.engines.main` therefore is: a crash ends that alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from workers.exports.engines.engine import Answer, CannotAnswer, CannotLoad, Conversation, Options

LIKELIEST = 1000
"""Words whose probabilities are told: each more costs time before every token."""

_CONTEXT = 2048  # tokens at least: room for a tweet many times over
_PATIENCE = 600.0  # seconds for one answer, on a machine that has other things to do


class LlamaCpp:
    """A GGUF file in llama.cpp's server. See `ForeignEngine`."""

    def __init__(self, name: str, server: object, socket: Path, scratch: tempfile.TemporaryDirectory[str]) -> None:
        self.name = name
        self._alive = (server, scratch)  # both end with this object
        self._client = httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://llama.cpp", timeout=_PATIENCE)
        self._words = int(self._client.get("/v1/models").raise_for_status().json()["data"][0]["meta"]["n_vocab"])
        self._plain = self._ask("/tokenize", content="a", add_special=False)["tokens"][-1]

    def prompt_text(self, conversation: Conversation) -> str:
        """See `ForeignEngine`."""
        return str(self._ask("/apply-template", messages=[dict(turn) for turn in conversation])["prompt"])

    def prompt_ids(self, text: str) -> list[int]:
        """See `ForeignEngine`."""
        return [int(number) for number in self._ask("/tokenize", content=text, add_special=True, parse_special=True)["tokens"]]

    def answer(self, ids: Sequence[int], max_new_tokens: int) -> Answer:
        """See `ForeignEngine`."""
        found = self._complete(ids, max_new_tokens, cache_prompt=False, return_tokens=True)
        written, ended = tuple(found["tokens"]), found["stop_type"] == "eos"
        return Answer(str(found["content"]).strip(), written[:-1] if ended else written, ended)

    def log_probabilities(self, ids: Sequence[int], answer: Sequence[int]) -> NDArray[np.float32] | None:
        """See `ForeignEngine`. The likeliest thousand words have their own."""
        return np.stack([self._next(list(ids) + list(answer[:written])) for written in range(len(answer))])

    def _next(self, ids: Sequence[int]) -> NDArray[np.float32]:
        # Nothing is told of a word that ends the answer, or is a part of a letter: a plain one is forced. What is told is of before.
        forced = [[self._plain, 1e4]]
        told = self._complete(ids, 1, cache_prompt=True, logit_bias=forced, n_probs=min(LIKELIEST, self._words))
        likely = told["completion_probabilities"][0]["top_logprobs"]
        found = np.full(self._words, np.nan, dtype=np.float32)
        found[[word["id"] for word in likely]] = [word["logprob"] for word in likely]
        return found

    def _complete(self, ids: Sequence[int], tokens: int, **more: object) -> dict[str, Any]:
        return self._ask("/completion", prompt=[int(number) for number in ids], n_predict=tokens, temperature=0, **more)

    def _ask(self, path: str, **body: object) -> dict[str, Any]:
        answered = self._client.post(path, json=body)
        if answered.is_error:
            raise CannotAnswer(f"llama.cpp answers {path} with {answered.status_code}: {_reason(answered)}")
        found: dict[str, Any] = answered.json()
        return found


def load(folder: Path, options: Options) -> LlamaCpp:
    """Load the one GGUF file of a folder.

    Raises:
        CannotLoad: llama.cpp is not installed, refuses the file, or there is none.
    """
    found = sorted(folder.glob("*.gguf"))
    if len(found) != 1:
        raise CannotLoad(f"{folder} holds {len(found)} GGUF files: give the folder of one export")
    scratch = tempfile.TemporaryDirectory(prefix="tweetmill-")
    socket = Path(scratch.name) / "llama.sock"
    try:
        server = serve(found[0], socket, slots=1, context=max(_CONTEXT, options.context), threads=options.threads)
    except CannotLoad:
        scratch.cleanup()
        raise
    return LlamaCpp(_name(), server, socket, scratch)


def serve(file: Path, socket: Path, *, slots: int, context: int, threads: int, key: str | None = None) -> object:
    """Start llama.cpp's server in this process; it ends with the object that is returned.

    Args:
        file: a GGUF file, which may be removed as soon as this returns.
        socket: a Unix socket to listen on; its name must end in `.sock`, by which llama.cpp tells it from a host.
        slots: requests that are decoded together.
        context: tokens of a prompt and its answer.
        threads: of the CPU.
        key: that requests must bring; None: they need none.

    Raises:
        CannotLoad: llama.cpp is not installed, or refuses the file.
    """
    try:
        import xllamacpp
    except ImportError:
        raise CannotLoad("llama.cpp is not installed: `pip install 'tweetmill[llamacpp]'` where the worker runs") from None
    settings = xllamacpp.CommonParams()
    settings.model.path = str(file)
    settings.hostnames = [str(socket)]
    settings.api_keys = [key] if key else []
    settings.n_ctx, settings.n_parallel, settings.n_gpu_layers = context * slots, slots, 0
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    settings.warmup = settings.ui = settings.fit_params = settings.endpoint_slots = False
    settings.cache_ram_mib = settings.verbosity = 0
    try:
        return xllamacpp.Server(settings)
    except RuntimeError as error:
        raise CannotLoad(f"{_name()} does not load {file.name}: it is damaged, or its chat template can't be read ({error})") from error


def _name() -> str:
    return f"llama.cpp by xllamacpp {version('xllamacpp')}"


def _reason(answered: httpx.Response) -> str:
    try:
        return " ".join(str(answered.json()["error"]["message"]).split())[:200]
    except (ValueError, KeyError, TypeError):
        return "no reason"
