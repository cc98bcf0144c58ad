"""The engine behind a door: any server that speaks the OpenAI chat API (vLLM, SGLang, llama.cpp, Ollama, a hosted one)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from workers.inference.chat_server import Backoff, ChatServer, PromptError, Usage
from workers.inference.engine import Generation, Prompt, Sampling
from workers.inference.flow import as_they_come
from workers.inference.gate import Gate

__all__ = ["Backoff", "OpenAIEngine"]

ALTERNATIVES_TEMPERATURE = 0.7
"""The servers have no beams in common: after the greedy answer, alternatives are sampled at this temperature."""


class OpenAIEngine:
    """Chat completions with bounded concurrency, which follows what the server says of its load.

    A prompt whose answer stays malformed, or that the server refuses by itself, comes back without texts and with an `error`.

    Args:
        base_url: with its version, such as `http://localhost:8000/v1`.
        api_key: empty for servers that ask for none.
        model: the name of the base model at the server.
        concurrency: requests that are open at once, at most.
        adapters: folder of an adapter to its name at the server; otherwise the folder's own name is asked for.
        timeout: seconds for one request.
        backoff: between tries.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        model: str,
        concurrency: int = 8,
        adapters: Mapping[Path, str] | None = None,
        timeout: float = 60.0,
        backoff: Backoff | None = None,
    ) -> None:
        self._model = model
        self._adapters = dict(adapters or {})
        self._concurrency = concurrency
        self._server = ChatServer(base_url, api_key, concurrency, timeout, backoff or Backoff())

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        adapter: Path | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """See `Engine.generate`. Alternatives are the greedy answer first, then sampled ones.

        Raises:
            EngineError: the server cannot be reached, refuses the key or the model, or stays overloaded.
        """
        model = self._model if adapter is None else self._adapters.get(adapter, adapter.name)
        results: list[Generation | None] = [None] * len(prompts)
        gate = Gate(self._concurrency)

        def answered(prompt: Prompt) -> Generation:
            return self._answer(prompt, sampling, model, gate)

        for done in as_they_come(answered, prompts, gate, self._concurrency):
            for place, generation in done:
                results[place] = generation
                if on_progress:
                    on_progress(1)
        return [result for result in results if result is not None]

    def _answer(self, prompt: Prompt, sampling: Sampling, model: str, gate: Gate) -> Generation:
        body: dict[str, object] = {
            "model": model,
            "messages": [{"role": message.role, "content": message.content} for message in prompt],
            "max_tokens": sampling.max_new_tokens,
        }
        try:
            completions = [self._server.complete(body | {"temperature": 0.0}, gate)]
            more = sampling.num_return_sequences - 1
            if more:
                completions.append(self._server.complete(body | {"temperature": ALTERNATIVES_TEMPERATURE, "n": more}, gate))
        except PromptError as error:
            return Generation((), tokens_in=0, tokens_out=0, error=str(error))
        texts = [text for completion in completions for text in completion.texts]
        usages = [completion.usage or Usage() for completion in completions]
        return Generation(
            texts=tuple(dict.fromkeys(texts)),
            tokens_in=sum(usage.prompt_tokens for usage in usages),
            tokens_out=sum(usage.completion_tokens for usage in usages),
        )
