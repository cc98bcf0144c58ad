"""Sends chat completions to a server with the OpenAI chat API, which may be busy, slow, restarted or wrong: retries and refusals."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from pathlib import Path

from workers.inference.engine import EngineError
from workers.inference.remote.completions import MOST_TOKENS, Completion, ErrorBody, Nonsense, TokenUsage, read
from workers.inference.remote.concurrency import ConcurrencyLimiter
from workers.inference.remote.dialect import Dialect, Request, Talk, dialect_of
from workers.inference.remote.error_reading import Complaint, complaint
from workers.inference.remote.errors import AccountEmpty, PromptError, Refusal, refused
from workers.inference.remote.retry_after import retry_after
from workers.inference.remote.transport import Hung, LedAway, Reply, Transport, Unreachable, Unreadable

__all__ = ["AccountEmpty", "Backoff", "ChatServer", "Complaint", "Completion", "Meter", "Passing", "PromptError", "Refusal", "Request"]

LONGEST_WAIT = 60.0
"""Seconds between two tries at most, whatever Retry-After says; the teacher waits longer."""

_BUSY = {429, 503, 529}
_MAY_PASS = {408, 409, 425}
_CHARACTERS_A_TOKEN = 4  # of servers that do not count


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
        """Return the wait in seconds after try `attempt` (from 0) where the server names none."""
        return min(self.first * 2.0**attempt, LONGEST_WAIT) * random.uniform(0.75, 1.25)


class Passing(EngineError):
    """This request failed at every try while others went through: later it may be answered."""


@dataclass
class Meter:
    """What some requests cost, whatever came of them. `estimated` counts those of which the server said no usable figure."""

    tokens_in: int = 0
    tokens_out: int = 0
    estimated: int = 0

    def add(self, usage: TokenUsage | None, body: dict[str, object], written: int) -> None:
        """Count one request in; a server that does not count is counted for."""
        if usage is None or (written and not usage.tokens_out):
            self.estimated += 1
            asked = len(json.dumps(body["messages"], ensure_ascii=False))
            usage = TokenUsage(min(MOST_TOKENS, asked // _CHARACTERS_A_TOKEN), min(MOST_TOKENS, -(-written // _CHARACTERS_A_TOKEN)))
        self.tokens_in += usage.tokens_in
        self.tokens_out += usage.tokens_out


@dataclass
class _Tries:
    """How often one request failed. A busy server that answers others in between is no reason to give up."""

    backoff: Backoff
    before: int  # requests that had gone through when it was first sent
    passed: int  # and when it was last pushed back
    failed: int = 0
    hung: int = 0
    problem: str = ""
    nonsense: str = ""
    chat: bool = False  # the nonsense came from a chat server

    @property
    def spent(self) -> bool:
        return self.failed >= self.backoff.tries or self.hung >= self.backoff.hangs

    def fail(self, problem: str) -> None:
        """Note a failure of the server."""
        self.failed, self.problem, self.nonsense = self.failed + 1, problem, ""

    def misread(self, why: str, *, ever: bool, chat: bool = False) -> None:
        """Note an answer that is none. A server that has never given one has another address, and is not waited for."""
        self.failed, self.problem, self.nonsense = self.failed + (1 if ever else max(1, self.backoff.tries // 2)), "", why
        self.chat = chat


class ChatServer:
    """Chat completions of one server; overload, server errors, nonsense and time-outs are tried again.

    What it does not take, such as a temperature or a system's turn, is found out on the way and done without from then on.

    Args:
        base_url: with its version, such as `http://localhost:8000/v1`.
        api_key: empty for servers that ask for none.
        timeout: seconds for one request, from its first byte to the answer's last.
        backoff: between tries.
        socket: a Unix socket on which the server listens, in place of the URL's host and port.

    Raises:
        Refusal: the key is none that a request can carry.
    """

    def __init__(self, base_url: str, api_key: str, timeout: float, backoff: Backoff, socket: Path | None = None) -> None:
        if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            raise Refusal("OPENAI_API_KEY holds a blank or another character that no key has: set it anew")
        self._timeout = timeout
        self._backoff = backoff
        self._transport = Transport(base_url, api_key, timeout, socket)
        self._base_url = str(self._transport.base_url)
        self._version = ""

    @property
    def host(self) -> str:
        """The server's name, without credentials and path."""
        url = self._transport.base_url
        return url.host + (f":{url.port}" if url.port else "")

    @property
    def authorization(self) -> str | None:
        """Return the header that carries the key, if any."""
        return self._transport.authorization

    def dialect(self, model: str) -> Dialect:
        """Return what is known of the requests that a model takes."""
        return dialect_of(self._base_url, model)

    def close(self) -> None:
        """End what is under way and close the connections."""
        self._transport.close()

    def is_there(self) -> bool:
        """Return whether the server answers a request for its list of models, if only by refusing it: the request costs nothing."""
        try:
            return self._transport.send("models").status < 500
        except (Hung, Unreachable, Unreadable, LedAway):
            return False

    def models(self) -> tuple[str, ...]:
        """Return the names of the models that the server tells of; none where it does not answer, or as nobody does."""
        try:
            reply = self._transport.send(f"{self._version}models")
            document = json.loads(reply.content) if reply.status == 200 else {}
        except (Hung, Unreachable, Unreadable, LedAway, ValueError):
            return ()
        listed = document.get("data") if isinstance(document, dict) else None
        return tuple(str(each["id"]) for each in listed if isinstance(each, dict) and "id" in each) if isinstance(listed, list) else ()

    def load_adapter(self, name: str, folder: str) -> Complaint | None:
        """Ask the server, as one of vLLM, to load an adapter from a folder of its machine.

        Returns:
            What the server says against it; None where it has it now, or can't be reached, of which the next request will tell.
        """
        try:
            reply = self._transport.send(f"{self._version}load_lora_adapter", {"lora_name": name, "lora_path": folder})
        except (Hung, Unreachable, Unreadable, LedAway):
            return None
        return None if reply.status < 300 else complaint(reply.status, reply.content, ())

    def complete(self, request: Request, limiter: ConcurrencyLimiter, meter: Meter) -> Completion:
        """Return one chat completion; count its tokens in `meter` even where nothing of it can be used.

        Raises:
            PromptError: the server refuses this prompt, or its answers are no completions.
            Passing: only this request fails.
            Refusal: the server refuses the key, the model or the address, or the account is used up.
            EngineError: it can't be reached, or stays overloaded or broken.
            Closed: the limiter was closed in between.
        """
        tries = _Tries(self._backoff, limiter.passed, limiter.passed)
        talk = Talk(self.dialect(request.model), request)
        while True:
            body, structured = talk.body()
            with limiter.slot() as began:
                version = self._version
                reply = self._sent(f"{version}chat/completions", body, tries, meter)
            answer = None if reply is None else self._read(reply, request)
            rest = None
            if isinstance(answer, Completion):
                limiter.record_success()
                meter.add(answer.usage, body, answer.written)
                talk.taken()
                return replace(answer, structured=structured)
            if isinstance(answer, Complaint):
                if talk.adapts(answer) or self._finds_version(answer, version):
                    continue
                rest = self._pushed_back(answer, retry_after(reply, answer.rest), request.model, began, tries, limiter)
            elif isinstance(answer, Nonsense):
                limiter.record_success()
                if answer.paid:
                    meter.add(answer.usage, body, 0)
                tries.misread(answer.why, ever=bool(talk.dialect.proven), chat=answer.chat)
            if tries.spent:
                raise self._given_up(tries, limiter)
            if rest is None:
                limiter.sleep(self._backoff.delay(max(0, tries.failed - 1)))

    def _read(self, reply: Reply, request: Request) -> Completion | Complaint | Nonsense:
        if reply.status >= 300:
            return complaint(reply.status, reply.content, request.texts())
        dialect = self.dialect(request.model)
        answer = read(reply.content, request.number, stream=reply.is_stream, opened=dialect.opens_thoughts)
        if isinstance(answer, Completion) and any(choice.opened for choice in answer.choices):
            dialect.opens_thoughts = True
        return complaint(answer.status, answer.document, request.texts()) if isinstance(answer, ErrorBody) else answer

    def _sent(self, path: str, body: dict[str, object], tries: _Tries, meter: Meter) -> Reply | None:
        """Return the reply, read to its end; None when none came, which is noted."""
        try:
            return self._transport.send(path, body)
        except Hung:
            tries.hung += 1
            tries.fail(f"does not answer in {self._timeout:g} s: check that it runs, or give it more time")
            meter.add(None, body, 0)  # it may have been at work
        except Unreachable as error:
            if error.sent:
                tries.fail(f"gives no whole answer ({error}): check its log, and what stands between")
                meter.add(None, body, 0)  # it may have been at work
            else:
                tries.fail(f"cannot be reached ({error}): check OPENAI_BASE_URL and that the server runs")
        except Unreadable as error:
            tries.misread(str(error), ever=False)
            meter.add(None, body, 0)
        except LedAway as error:
            if error.endless:
                raise Refusal(f"the server at {self.host} sends requests round and round: check the address ({self._tried})") from None
            raise Refusal(
                f"the server at {self.host} sends requests on to {error}; neither the key nor a tweet goes there."
                " If that is where the server is, make it the address"
            ) from None
        return None

    def _finds_version(self, found: Complaint, tried: str) -> bool:
        """Whether to try below /v1, since the address has no path and there is nothing at its root."""
        if found.status not in {404, 405} or tried or self._transport.base_url.path.strip("/"):
            return False
        self._version = "v1/"
        return True

    def _pushed_back(
        self, found: Complaint, rest: float | None, model: str, began: float, tries: _Tries, limiter: ConcurrencyLimiter
    ) -> float | None:
        """Note a refusal that may pass; the seconds of its Retry-After, which the limiter makes every thread wait."""
        status = found.status
        if found.is_account or (status not in _MAY_PASS | _BUSY and status < 500):
            raise refused(found, model, self._tried)
        reason = f" ({found.quoted})" if found.words else ""
        tries.fail(f"keeps answering {status}{reason}: lower the concurrency, or try again later")
        if rest is not None and rest > self._backoff.longest:
            if self._backoff.longest > LONGEST_WAIT:
                raise EngineError(f"the server at {self.host} wants to be left alone for {rest / 60:.0f} minutes: try again after that")
            rest = self._backoff.longest
        if status in _BUSY:
            limiter.back_off(began, rest)
        elif rest is not None:
            limiter.sleep(rest)
        # While others go through, waiting for one's turn is no failure.
        busy_with_others = status in _BUSY and limiter.passed != tries.passed
        tries.passed = limiter.passed
        tries.failed -= 1 if busy_with_others else 0
        return rest

    @property
    def _tried(self) -> str:
        """Where requests went, without the address's own path, which may be anything."""
        path = "…" if self._transport.base_url.path.strip("/") else ""
        also = f" and before at {self.host}/chat/completions" if self._version else ""
        return f"tried at {self.host}/{path + '/' if path else ''}{self._version}chat/completions{also}"

    def _given_up(self, tries: _Tries, limiter: ConcurrencyLimiter) -> Exception:
        if tries.nonsense:
            where = f"check that OPENAI_BASE_URL or teacher.base_url ends in its API version, such as /v1 ({self._tried})"
            advice = "look at the server's log, or name another model" if tries.chat else where
            return PromptError(f"the server's answer {tries.nonsense}, and no chat completion: {advice}")
        message = f"the server at {self.host} {tries.problem} (after {tries.failed} tries)"
        return Passing(message) if limiter.passed != tries.before else EngineError(message)
