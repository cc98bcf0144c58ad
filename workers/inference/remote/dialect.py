"""Adapts requests to a server: finds out once what of the chat API it lacks or wants otherwise, and remembers it.

A server that refuses a field says so in its own words, at no cost. The field that the words name is changed, and the request sent again.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from schemas.chat import Prompt, fold_system
from workers import clock
from workers.inference.remote.error_reading import Complaint

_REMEMBERED = 3600.0  # seconds: servers are upgraded
_MOST_GUESSES = 3  # prompts whose refusal names no field and may be due to one


class Feature(StrEnum):
    """A part of a request that some servers do not take."""

    SCHEMA = "response_format"
    SEVERAL = "n"
    SEED = "seed"
    LOGPROBS = "logprobs"
    STREAM_USAGE = "stream_options"
    TEMPERATURE = "temperature"
    SYSTEM = "system"
    MAX_TOKENS = "max_tokens"
    MAX_COMPLETION_TOKENS = "max_completion_tokens"
    WHOLE = "stream"


_NOT_TAKEN = (
    r"not (?:be )?(?:support|allow|permit|recogni|accept|enabled|available|valid|a valid|know|implement)|unsupported|unrecogni[sz]ed"
    r"|unknown|unexpected|invalid|extra (?:inputs?|fields?)|does ?n[o']t (?:support|accept|allow|take)|isn't (?:support|allow)"
    r"|can ?not|deprecated|\bonly\b|\bmust\b|forbidden|no longer|instead|requires?"
)
_REFUSED = re.compile(_NOT_TAKEN, re.IGNORECASE)
# In this order: the first that the words speak of is changed.
_SPOKEN_OF: tuple[tuple[Feature, re.Pattern[str]], ...] = (
    (Feature.STREAM_USAGE, re.compile(r"stream_options|include_usage", re.IGNORECASE)),
    (Feature.SCHEMA, re.compile(r"response_?.?format|json_schema|json mode|structured|guided|grammar|\bschema\b", re.IGNORECASE)),
    (Feature.MAX_TOKENS, re.compile(r"max_completion_tokens|\bmax_tokens\b", re.IGNORECASE)),
    (Feature.MAX_COMPLETION_TOKENS, re.compile(r"max_completion_tokens", re.IGNORECASE)),
    (Feature.TEMPERATURE, re.compile(r"temperature|do_sample", re.IGNORECASE)),
    (Feature.SEED, re.compile(r"\bseed\b", re.IGNORECASE)),
    (Feature.LOGPROBS, re.compile(r"log_?prob", re.IGNORECASE)),
    (
        Feature.SEVERAL,
        re.compile(
            r"[`'\"]n[`'\"]|\bn\b\s*(?:>|must|is not|should|=|parameter|to be)|(?:parameter|field|argument)s?:? n\b"
            r"|multiple (?:choices|completions)|best_of",
            re.IGNORECASE,
        ),
    ),
    (
        Feature.SYSTEM,
        re.compile(
            r"system.{0,3}(?:role|message|prompt|instruction|turn)|role.{0,20}system|developer instruction|system_instruction"
            r"|only user,? (?:and|or) assistant|roles must alternate|first message must",
            re.IGNORECASE,
        ),
    ),
    (Feature.WHOLE, re.compile(r"\bstream(?:ing|ed|s)?\b", re.IGNORECASE)),
)
_TOO_MANY = re.compile(
    r"too (?:large|high|big|many)|at most|exceed|(?:less|greater|more) than|at least|minimum|maximum (?:value|allowed)|supports up to",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Request:
    """A request in full, whichever parts of it the server takes.

    Attributes:
        model: its name at the server.
        prompt: the chat.
        max_tokens: of one answer.
        temperature: 0 for the likeliest answer.
        number: of choices.
        seed: for sampling; None: none.
        logprobs: whether the log-probability of each token is wanted.
        schema: the response format for JSON; None: plain text is wanted.
        structured: the chat that asks for JSON, where there is a schema.
    """

    model: str
    prompt: Prompt
    max_tokens: int
    temperature: float = 0.0
    number: int = 1
    seed: int | None = None
    logprobs: bool = False
    schema: Mapping[str, object] | None = None
    structured: Prompt | None = None

    def texts(self) -> list[str]:
        """Return the texts that must not be shown: all messages but the instructions."""
        return [message.content for message in (*self.prompt, *(self.structured or ())) if message.role != "system"]


@dataclass
class Dialect:
    """What is known of one model at one server.

    Attributes:
        lacks: what it does not take.
        proven: what it took.
        opens_thoughts: its prompt ends inside a thought, so that answers begin with the rest of it.
    """

    lacks: frozenset[Feature] = frozenset()
    proven: frozenset[Feature] = frozenset()
    opens_thoughts: bool = False
    guesses: int = 0
    since: float = field(default_factory=clock.now)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def drop(self, *features: Feature) -> None:
        """Leave these out from now on."""
        with self._lock:
            self.lacks |= frozenset(features)

    def prove(self, features: frozenset[Feature]) -> None:
        """Note that the server took these."""
        with self._lock:
            self.proven |= features

    @property
    def left_out(self) -> list[str]:
        """Return what is left out of requests, by the names of the API, in order."""
        return sorted(feature.value for feature in self.lacks)


class Talk:
    """One request, sent in other forms until the server takes it."""

    def __init__(self, dialect: Dialect, request: Request) -> None:
        self.dialect = self._dialect = dialect
        self._request = request
        self._guessed: list[Feature] = []
        self._sent: frozenset[Feature] = frozenset()

    def body(self) -> tuple[dict[str, object], bool]:
        """Return the body to send now, and whether it asks for JSON of the schema."""
        request, lacks = self._request, self._dialect.lacks | frozenset(self._guessed)
        structured = request.schema is not None and Feature.SCHEMA not in lacks
        prompt = request.structured if structured and request.structured is not None else request.prompt
        wanted = dict(_fields(request, prompt, structured, lacks))
        self._sent = frozenset(wanted)
        body: dict[str, object] = {"model": request.model, "messages": _messages(prompt, folded=Feature.SYSTEM in lacks)}
        return body | {name.value: value for name, value in wanted.items() if name not in (Feature.SYSTEM, Feature.WHOLE)} | _streamed(
            lacks
        ), structured

    def adapts(self, found: Complaint) -> bool:
        """Return whether the server may take the request in another form, in which the caller must then send it again."""
        feature = spoken_of(found, self._sent)
        if feature is not None:
            self._dialect.drop(feature)
            return True
        if self._sent & self._dialect.lacks:  # another request found it out meanwhile
            return True
        if found.status not in {400, 422} or found.is_too_long or found.is_filter or found.is_account or found.is_door or found.is_model:
            return False
        return self._guesses()

    def taken(self) -> None:
        """Note that the server took the request as it was sent last."""
        self._dialect.prove(self._sent)
        if self._guessed:
            self._dialect.drop(*self._guessed)

    def _guesses(self) -> bool:
        """Leave out one more feature that the server has not taken yet; return whether there is one."""
        for feature in (
            Feature.SCHEMA,
            Feature.LOGPROBS,
            Feature.SEVERAL,
            Feature.SEED,
            Feature.STREAM_USAGE,
            Feature.TEMPERATURE,
            Feature.SYSTEM,
        ):
            if feature in self._sent and feature not in self._dialect.proven:
                if not self._guessed:
                    if self._dialect.guesses >= _MOST_GUESSES:
                        return False
                    self._dialect.guesses += 1
                self._guessed.append(feature)
                return True
        return False


def spoken_of(found: Complaint, sent: frozenset[Feature]) -> Feature | None:
    """Return the feature of a request that an error is about, if it is one that can be left out."""
    if found.is_account or not (400 <= found.status < 502) or found.status in {401, 402, 403, 429}:
        return None
    named = found.parameter.lower().strip()
    for feature, pattern in _SPOKEN_OF:
        if feature not in sent:
            continue
        if named and feature is not Feature.MAX_TOKENS and named == feature.value:
            return feature
        if not pattern.search(found.words) and not (named and pattern.search(named)):
            continue
        if feature in (Feature.MAX_TOKENS, Feature.MAX_COMPLETION_TOKENS) and _is_bound(found, feature):
            continue
        if feature in (Feature.TEMPERATURE, Feature.SCHEMA) or _REFUSED.search(found.words):
            return feature
    return None


def _is_bound(found: Complaint, feature: Feature) -> bool:
    """Return whether the error is that the number is too large, and not about the field."""
    return bool(_TOO_MANY.search(found.words)) and not (feature is Feature.MAX_TOKENS and "max_completion_tokens" in found.words)


def _fields(request: Request, prompt: Prompt, structured: bool, lacks: frozenset[Feature]) -> Iterator[tuple[Feature, object]]:
    """Yield the fields of a body that a server may refuse."""
    if Feature.MAX_TOKENS not in lacks:
        yield Feature.MAX_TOKENS, request.max_tokens
    elif Feature.MAX_COMPLETION_TOKENS not in lacks:
        yield Feature.MAX_COMPLETION_TOKENS, request.max_tokens
    if Feature.TEMPERATURE not in lacks:
        yield Feature.TEMPERATURE, request.temperature
    if structured:
        yield Feature.SCHEMA, request.schema
    if request.number > 1 and Feature.SEVERAL not in lacks:
        yield Feature.SEVERAL, request.number
    if request.seed is not None and Feature.SEED not in lacks:
        yield Feature.SEED, request.seed
    if request.logprobs and Feature.LOGPROBS not in lacks:
        yield Feature.LOGPROBS, True
    if Feature.WHOLE not in lacks:
        yield Feature.WHOLE, False
    elif Feature.STREAM_USAGE not in lacks:
        yield Feature.STREAM_USAGE, {"include_usage": True}
    if Feature.SYSTEM not in lacks and any(message.role == "system" for message in prompt):
        yield Feature.SYSTEM, True


def _streamed(lacks: frozenset[Feature]) -> dict[str, object]:
    return {"stream": True} if Feature.WHOLE in lacks else {}


def _messages(prompt: Prompt, *, folded: bool) -> list[dict[str, str]]:
    """Return the turns; folded, the system's text stands at the beginning of the first user turn."""
    if folded:
        prompt = fold_system(prompt)
    return [{"role": message.role, "content": message.content} for message in prompt]


_known: dict[tuple[str, str], Dialect] = {}
_known_lock = threading.Lock()


def dialect_of(base_url: str, model: str) -> Dialect:
    """Return what this process knows of a model at a server; it is forgotten after an hour."""
    with _known_lock:
        known = _known.get((base_url, model))
        if known is None or clock.now() - known.since > _REMEMBERED:
            known = _known[base_url, model] = Dialect()
        return known


def forget_dialects() -> None:
    """Forget what is known of all servers."""
    with _known_lock:
        _known.clear()
