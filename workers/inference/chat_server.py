"""A server that speaks the OpenAI chat API, seen as one that is busy, slow, restarted and wrong: requests, tries and refusals."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from pydantic import BaseModel, ValidationError

from workers import clock
from workers.inference.engine import EngineError
from workers.inference.gate import Gate

LONGEST_WAIT = 60.0
"""Seconds between two tries at most, whatever Retry-After says; the teacher waits longer."""

_LONGEST_ANSWER = 4 * 1024 * 1024  # bytes: no completion is that long, and a broken server must not fill the memory
_BUSY = {429, 503}


class Message(BaseModel):
    """What a choice says."""

    content: str


class Choice(BaseModel):
    """One of the answers."""

    message: Message


class Usage(BaseModel):
    """What the server says that it cost."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Completion(BaseModel):
    """A chat completion, as far as it matters here."""

    choices: list[Choice]
    usage: Usage | None = None

    @property
    def texts(self) -> list[str]:
        """What the choices say."""
        return [choice.message.content.strip() for choice in self.choices]


@dataclass(frozen=True)
class Backoff:
    """How long to wait before another try, in seconds: doubling from `first`, with jitter, `tries` in all.

    `hangs` of them may end without an answer in time. A Retry-After is obeyed up to `longest`.
    """

    tries: int = 6
    first: float = 0.5
    longest: float = LONGEST_WAIT
    hangs: int = 6

    def delay(self, attempt: int) -> float:
        """The wait after try `attempt` (from 0) where the server names none."""
        return min(self.first * 2.0**attempt, LONGEST_WAIT) * random.uniform(0.75, 1.25)


class PromptError(Exception):
    """This prompt alone can't be answered, and asking again does not help. `status` is the server's, 0 without one."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Passing(EngineError):
    """This request failed at every try while others went through: later it may be answered."""


class Refusal(EngineError):
    """The server will not work as it is asked to: somebody must change the key, the model or the address."""


@dataclass
class _Tries:
    """How often one request failed. A busy server that answers others in between is no reason to give up."""

    backoff: Backoff
    before: int  # requests that had gone through when it was first sent
    passed: int  # and when it was last pushed back
    failed: int = 0
    hung: int = 0
    problem: str = ""

    @property
    def spent(self) -> bool:
        return self.failed >= self.backoff.tries or self.hung >= self.backoff.hangs


class ChatServer:
    """Chat completions of one server; overload, server errors, nonsense and time-outs are tried again.

    Args:
        base_url: with its version, such as `http://localhost:8000/v1`.
        api_key: empty for servers that ask for none.
        concurrency: connections.
        timeout: seconds for one request, from its first byte to the answer's last.
        backoff: between tries.
    """

    def __init__(self, base_url: str, api_key: str, concurrency: int, timeout: float, backoff: Backoff) -> None:
        self._timeout = timeout
        self._backoff = backoff
        self._client = httpx.Client(
            base_url=base_url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=timeout,
            limits=httpx.Limits(max_connections=concurrency),
        )

    @property
    def host(self) -> str:
        """The server's name, without credentials and path."""
        port = self._client.base_url.port
        return self._client.base_url.host + (f":{port}" if port else "")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def is_there(self) -> bool:
        """Whether it tells its models, or at least that it will not: the question costs nothing."""
        try:
            return self._client.get("models").status_code < 500
        except httpx.HTTPError:
            return False

    def complete(self, body: dict[str, object], gate: Gate) -> Completion:
        """One chat completion. The server's own words stay out of every error: they may quote a tweet.

        Raises:
            PromptError: the server refuses this prompt, or its answers stay malformed.
            Passing: only this request fails.
            Refusal: the server refuses the key or the model.
            EngineError: it can't be reached, or stays overloaded or broken.
            Closed: the gate was closed in between.
        """
        tries = _Tries(self._backoff, gate.passed, gate.passed)
        while True:
            with gate.entered() as began:
                response = self._sent(body, tries)
            rest = None
            if response is not None and response.is_success:
                gate.went_through()
                completion = _parsed(response)
                if completion is not None:
                    return completion
                tries.failed, tries.problem = tries.failed + 1, ""
            elif response is not None:
                rest = self._pushed_back(response, str(body["model"]), began, tries, gate)
            if tries.spent:
                raise self._given_up(tries, gate)
            if rest is None:
                gate.sleep(self._backoff.delay(max(0, tries.failed - 1)))

    def _sent(self, body: dict[str, object], tries: _Tries) -> httpx.Response | None:
        """The response, read to its end; None when none came, which is noted."""
        deadline = clock.now() + self._timeout
        try:
            with self._client.stream("POST", "chat/completions", json=body) as response:
                content = bytearray()
                for part in response.iter_bytes():
                    content += part
                    if len(content) > _LONGEST_ANSWER:
                        return httpx.Response(response.status_code, headers={"content-type": "text/plain"})
                    if clock.now() > deadline:
                        raise httpx.ReadTimeout("the answer drips")
                kept = {name: value for name in ("retry-after",) if (value := response.headers.get(name))}
                return httpx.Response(response.status_code, headers=kept, content=bytes(content))
        except httpx.TimeoutException as error:
            tries.hung += 1
            tries.problem = f"does not answer in {self._timeout:g} s ({type(error).__name__}): check that it runs, or give it more time"
        except (httpx.TransportError, httpx.DecodingError) as error:
            tries.problem = f"cannot be reached ({type(error).__name__}): check OPENAI_BASE_URL and that the server runs"
        tries.failed += 1
        return None

    def _pushed_back(self, response: httpx.Response, model: str, began: float, tries: _Tries, gate: Gate) -> float | None:
        """Note a refusal that may pass; the seconds of its Retry-After, which the gate makes every thread wait."""
        status = response.status_code
        if status not in {408, 409, 425, *_BUSY} and status < 500:
            raise _refused(status, model)
        tries.problem = f"keeps answering {status}: lower the concurrency, or try again later"
        rest = _retry_after(response.headers.get("retry-after", ""))
        if rest is not None and rest > self._backoff.longest:
            if self._backoff.longest > LONGEST_WAIT:
                raise EngineError(f"the server at {self.host} wants to be left alone for {rest / 60:.0f} minutes: try again after that")
            rest = self._backoff.longest
        if status in _BUSY:
            gate.pushed_back(began, rest)
        elif rest is not None:
            gate.sleep(rest)
        # While others go through, waiting for one's turn is no failure.
        busy_with_others = status in _BUSY and gate.passed != tries.passed
        tries.passed = gate.passed
        tries.failed += 0 if busy_with_others else 1
        return rest

    def _given_up(self, tries: _Tries, gate: Gate) -> Exception:
        if not tries.problem:
            advice = "check that OPENAI_BASE_URL ends in its API version, such as /v1"
            return PromptError(f"the server's answer is no chat completion: {advice}")
        told = f"the server at {self.host} {tries.problem} (after {tries.failed} tries)"
        return Passing(told) if gate.passed != tries.before else EngineError(told)


def _parsed(response: httpx.Response) -> Completion | None:
    try:
        completion = Completion.model_validate_json(response.content)
    except ValidationError:
        return None
    return completion if completion.choices else None


def _refused(status: int, model: str) -> Exception:
    if status in {401, 403}:
        return Refusal(f"the server refuses the key ({status}): set OPENAI_API_KEY to one that may use {model!r}")
    if status in {404, 405}:
        return Refusal(
            f"the server has no model {model!r} or no chat completions here ({status}): check OPENAI_BASE_URL, and serve an adapter under"
            " its name (vLLM: --enable-lora --lora-modules NAME=FOLDER)"
        )
    return PromptError(f"the server refuses this prompt ({status}): it may exceed the model's context, so serve with a longer one", status)


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
