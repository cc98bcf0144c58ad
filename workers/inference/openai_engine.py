"""The engine behind a door: any server that speaks the OpenAI chat API (vLLM, SGLang, llama.cpp, Ollama, a hosted one)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
from pydantic import BaseModel, ValidationError

from workers.inference.engine import EngineError, Generation, Prompt, Sampling

WINDOW = 1024
"""Prompts that are handed to the threads together, so that memory has a bound."""

ALTERNATIVES_TEMPERATURE = 0.7
"""The servers have no beams in common: after the greedy answer, alternatives are sampled at this temperature."""

LONGEST_WAIT = 60.0
"""Seconds between two tries at most, whatever Retry-After says."""


class _Message(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Message


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    choices: list[_Choice]
    usage: _Usage | None = None


@dataclass(frozen=True)
class Backoff:
    """How long to wait before another try, in seconds: doubling from `first`, with jitter, `tries` in all."""

    tries: int = 6
    first: float = 0.5

    def delay(self, attempt: int, response: httpx.Response | None) -> float:
        """The wait after try `attempt` (from 0); a server's Retry-After is obeyed up to a minute."""
        asked = _retry_after(response.headers.get("retry-after", "")) if response is not None else None
        if asked is not None:
            return min(asked, LONGEST_WAIT)
        return min(self.first * 2.0**attempt, LONGEST_WAIT) * random.uniform(0.75, 1.25)


class OpenAIEngine:
    """Chat completions with bounded concurrency; overload, server errors and time-outs are tried again.

    A prompt whose answer stays malformed, or that the server refuses by itself, comes back without texts and with an `error`.

    Args:
        base_url: with its version, such as `http://localhost:8000/v1`.
        api_key: empty for servers that ask for none.
        model: the name of the base model at the server.
        concurrency: requests that are open at once.
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
        self._backoff = backoff or Backoff()
        self._client = httpx.Client(
            base_url=base_url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=timeout,
            limits=httpx.Limits(max_connections=concurrency),
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

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
        with ThreadPoolExecutor(self._concurrency) as pool:
            for start in range(0, len(prompts), WINDOW):
                places = range(start, min(start + WINDOW, len(prompts)))
                pending = {pool.submit(self._answer, prompts[place], sampling, model): place for place in places}
                try:
                    for future in as_completed(pending):
                        results[pending[future]] = future.result()
                        if on_progress:
                            on_progress(1)
                except BaseException:
                    # What is not yet sent is not sent any more: the whole engine has failed, or the caller wants to stop.
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        return [result for result in results if result is not None]

    def _answer(self, prompt: Prompt, sampling: Sampling, model: str) -> Generation:
        body = {
            "model": model,
            "messages": [{"role": message.role, "content": message.content} for message in prompt],
            "max_tokens": sampling.max_new_tokens,
        }
        try:
            completions = [self._complete(body | {"temperature": 0.0})]
            more = sampling.num_return_sequences - 1
            if more:
                completions.append(self._complete(body | {"temperature": ALTERNATIVES_TEMPERATURE, "n": more}))
        except _PromptError as error:
            return Generation((), tokens_in=0, tokens_out=0, error=str(error))
        texts = [choice.message.content.strip() for completion in completions for choice in completion.choices]
        usages = [completion.usage or _Usage() for completion in completions]
        return Generation(
            texts=tuple(dict.fromkeys(texts)),
            tokens_in=sum(usage.prompt_tokens for usage in usages),
            tokens_out=sum(usage.completion_tokens for usage in usages),
        )

    def _complete(self, body: dict[str, object]) -> _Completion:
        problem = ""
        for attempt in range(self._backoff.tries):
            response: httpx.Response | None = None
            try:
                response = self._client.post("chat/completions", json=body)
            except httpx.TransportError as error:
                problem = f"cannot be reached ({type(error).__name__}): check OPENAI_BASE_URL and that the server runs"
            else:
                if response.is_success:
                    completion = _parsed(response)
                    if completion is not None:
                        return completion
                    problem = ""
                else:
                    problem = _refused(response, str(body["model"]))
            if attempt + 1 < self._backoff.tries:
                time.sleep(self._backoff.delay(attempt, response))
        if problem:
            raise EngineError(f"the server at {self._client.base_url.host} {problem} (after {self._backoff.tries} tries)")
        raise _PromptError("the server's answer is no chat completion: check that OPENAI_BASE_URL ends in its API version, such as /v1")


class _PromptError(Exception):
    """This prompt alone cannot be answered."""


def _parsed(response: httpx.Response) -> _Completion | None:
    try:
        completion = _Completion.model_validate_json(response.content)
    except ValidationError:
        return None
    return completion if completion.choices else None


def _refused(response: httpx.Response, model: str) -> str:
    """What a response that may pass says; one that will not raises. The server's own words stay out: they may quote a tweet."""
    status = response.status_code
    if status in {408, 409, 425, 429} or status >= 500:
        return f"keeps answering {status}: lower the concurrency, or try again later"
    if status in {401, 403}:
        raise EngineError(f"the server refuses the key ({status}): set OPENAI_API_KEY to one that may use {model!r}")
    if status in {404, 405}:
        raise EngineError(
            f"the server has no model {model!r} or no chat completions here ({status}): check OPENAI_BASE_URL, and serve an adapter under"
            " its name (vLLM: --enable-lora --lora-modules NAME=FOLDER)"
        )
    raise _PromptError(f"the server refuses this prompt ({status}): it may exceed the model's context, so serve with a longer one")


def _retry_after(value: str) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date; None without one."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (date - datetime.now(date.tzinfo or UTC)).total_seconds()) if date.tzinfo else None
