"""Reads what a chat server says in an error: that the account is empty, that the key or the model is wrong, that the prompt is too long.

Its own words are shown, since nobody knows the reason better; cut, on one line, and without anything that it quotes of a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from workers.inference.remote.message_parts import loaded
from workers.redaction import redact
from workers.showable import showable

_LONGEST_WORDS = 240  # characters that are shown
_READ = 8000  # and that are looked at
_QUOTED = 8  # characters that also stand in the prompt are a quotation of it
_HIDDEN = "…"
_MESSAGES = ("message", "msg", "detail", "error_description", "title", "reason")
_NAMES = frozenset(
    ("temperature", "max_tokens", "max_completion_tokens", "response_format", "json_schema", "stream_options", "streaming", "structured")
)
"""Names of the API that a tweet may happen to hold as well."""

_ACCOUNT_CODES = frozenset(
    (
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "insufficient_funds",
        "insufficient_balance",
        "insufficient_credits",
        "payment_required",
        "credit_balance_too_low",
        "exceeded_current_quota_error",
        "credits_exhausted",
        "quota_exhausted",
        "arrearage",
        "budget_exceeded",
        "spend_limit_reached",
    )
)
# Words of an account that has no money or no allowance left, whatever the status.
_ACCOUNT = re.compile(
    r"insufficient[ _-](?:\w+ )?(?:quota|funds?|credits?|balance)|credit balance|(?:account|prepaid|remaining) balance"
    r"|(?:out of|no|not enough|never purchased|used up|ran out of)(?: \w+){0,4} credits?\b|(?:purchase|add|buy) (?:more )?credits"
    r"|billing hard limit|billing (?:is )?not (?:active|enabled)|payment required|in arrears|arrearage|overdue (?:payment|balance)"
    r"|spend(?:ing)? (?:limit|cap)|budget (?:has been |was |is )?(?:exceeded|exhausted|used up|reached)|hard limit|top[ -]?up|recharge"
    r"|(?:exceeded|exhausted|reached|used up)(?: \w+){0,5} (?:quota|credits?|budget|allowance)"
    r"|quota (?:has been |was |is )?(?:exceeded|exhausted|used up|reached)"
    r"|free (?:tier|quota|credits?)\b.{0,40}(?:exhausted|used up|expired)",
    re.IGNORECASE,
)
_ACCOUNT_403 = re.compile(r"\b(?:quota|credits?|billing|balance|payment|budget|funds?|subscription|spend(?:ing)?)\b", re.IGNORECASE)
# What passes by itself is no empty account, though it may speak of billing.
_PASSING = re.compile(
    r"rate.?limit|per[ -](?:min|minute|second|hour|day)|requests? per|tokens? per|(?:re)?try (?:again )?(?:in|after)"
    r"|too many (?:requests|concurrent)|\b(?:RPM|TPM|RPD|TPD)\b",
    re.IGNORECASE,
)
_NUMBER = r"\d{1,9}(?:\.\d{1,9})?"
_AGAIN = re.compile(
    r"(?:try|retry|wait|available)(?: your request)?(?: again)? (?:in|after|for|at least) (?:about |approximately )?"
    rf"(?:(?P<hours>{_NUMBER}) ?h(?:ours?|rs?)?\s*)?(?:(?P<minutes>{_NUMBER}) ?m(?:in(?:ute)?s?)?(?!s)\s*)?"
    rf"(?:(?P<seconds>{_NUMBER}) ?s(?:ec(?:ond)?s?)?\b)?(?:(?P<millis>{_NUMBER}) ?ms\b)?",
    re.IGNORECASE,
)
_FILTER = re.compile(
    r"content.{0,3}(?:filter|polic|management)|moderation|flagged|safety (?:system|polic|filter)|responsible ai|data.?inspection",
    re.IGNORECASE,
)
_CONTEXT = re.compile(
    r"context.{0,3}(?:length|window|size)|maximum context|(?:prompt|input|request|message)s? (?:is|are|was)? ?too (?:long|large)"
    r"|\btoo long\b|too many (?:input )?tokens|reduce the length"
    r"|exceeds? the (?:model'?s? )?(?:max|limit|context)|longer than the (?:model|max)",
    re.IGNORECASE,
)
_KEY_CODES = frozenset(
    (
        "invalid_api_key",
        "api_key_invalid",
        "api_key_expired",
        "invalid_authentication",
        "authentication_error",
        "auth_error",
        "unauthenticated",
    )
)
# Words of a key that is none, or of a service that is closed to this account or country, whatever the status.
_KEY = re.compile(
    r"api[ _-]?(?:key|token)s?\b.{0,40}\b(?:not valid|invalid|expired|revoked|missing|required|incorrect|disabled|not found|deleted|leaked)"
    r"|(?:invalid|incorrect|expired|missing|revoked|wrong|no|bad)\b.{0,20}\bapi[ _-]?(?:key|token)|renew the api key"
    r"|(?:invalid|expired) (?:access )?token\b|authentication (?:failed|required|error)|unauthori[sz]ed"
    r"|(?:location|country|region|territory)\b.{0,30}\bnot supported"
    r"|(?:account|organi[sz]ation|project|workspace)\b.{0,40}\b(?:deactivated|disabled|suspended|blocked|deleted|not active)",
    re.IGNORECASE,
)
_MODEL_CODES = frozenset(("model_not_found", "model_not_available", "model_decommissioned", "model_not_supported", "invalid_model"))
_MODEL = re.compile(
    r"\bmodels?\b.{0,100}?\b(?:not exist|not found|(?:been|is) (?:decommissioned|retired|removed)|no longer (?:available|supported))\b"
    r"|not a valid model|unable to access model|(?:no such|unknown|invalid) model\b",
    re.IGNORECASE,
)
_PAGE = re.compile(r"\s*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE)


@dataclass(frozen=True)
class Complaint:
    """An error of a server.

    Attributes:
        status: of the response, or what an error inside a successful one says of itself.
        words: what it says, as it may be shown, but whole; empty where it says nothing, or a page of HTML.
        codes: what it calls itself, in lower case.
        parameter: the field that it names as the culprit.
        page: it is a page for people.
        rest: seconds after which it says that it may be asked again.
    """

    status: int
    words: str
    codes: frozenset[str] = frozenset()
    parameter: str = ""
    page: bool = False
    rest: float | None = None

    @property
    def is_account(self) -> bool:
        """Return whether the account is empty, so that every further request would be refused as well."""
        if self.status == 402 or self.codes & _ACCOUNT_CODES:
            return True
        if self.status == 429:
            return bool(_ACCOUNT.search(self.words)) and not _PASSING.search(self.words)
        if self.status == 403:
            return bool(_ACCOUNT.search(self.words) or _ACCOUNT_403.search(self.words)) and not self.is_filter
        return 400 <= self.status < 500 and bool(_ACCOUNT.search(self.words)) and not self.is_filter

    @property
    def is_door(self) -> bool:
        """Return whether the key or the account is refused, so that every further request would be refused as well."""
        if self.status in {401, 403, 407}:
            return True
        return self.status in {400, 412, 422} and bool(self.codes & _KEY_CODES or _KEY.search(self.words)) and not self.is_filter

    @property
    def is_model(self) -> bool:
        """Return whether the server has no such model, or no chat there, so that every further request would be refused as well."""
        if self.status in {404, 405}:
            return True
        return self.status in {400, 410, 422} and bool(self.codes & _MODEL_CODES or _MODEL.search(self.words)) and not self.is_filter

    @property
    def is_filter(self) -> bool:
        """Return whether a content filter refused the prompt."""
        return any("content" in code and ("filter" in code or "policy" in code) for code in self.codes) or bool(_FILTER.search(self.words))

    @property
    def is_too_long(self) -> bool:
        """Return whether the prompt is longer than the model takes."""
        return "context_length_exceeded" in self.codes or self.status == 413 or bool(_CONTEXT.search(self.words))

    @property
    def quoted(self) -> str:
        """Return the server's words, to end a sentence with."""
        if self.words:
            words = self.words
            return f'it says "{words if len(words) <= _LONGEST_WORDS else words[:_LONGEST_WORDS].rstrip() + _HIDDEN}"'
        return "it answers with a page for people and no reason" if self.page else "it gives no reason"


def complaint(status: int, content: bytes | object, sent: Iterable[str]) -> Complaint:
    """Parse an error.

    Args:
        status: of the response.
        content: its body, or the JSON in it.
        sent: texts of the prompt, which are not to be shown.
    """
    page = False
    document = content
    if isinstance(content, bytes):
        body = content[: _READ * 8].decode("utf-8-sig", "replace")
        page = bool(_PAGE.match(body))
        document = loaded(content.decode("utf-8-sig", "replace"))
        if document is None:
            document = {} if page else {"message": body}
    error = _error(document)
    words = next((found for name in _MESSAGES if (found := _words(error.get(name)))), "")
    raw = error.get("metadata")
    raw_words = _words(raw.get("raw")) if isinstance(raw, dict) else ""
    codes = frozenset(str(error[name])[:80].lower() for name in ("code", "type", "status", "error_code") if error.get(name) is not None)
    parameter = _words(error.get("param"))[:80] or _located(error.get("detail"))
    message = f"{words}: {raw_words}" if raw_words and raw_words not in words else words
    return Complaint(status, showable_words(message, sent), codes, parameter, page, _rest(message[:_READ]))


def showable_words(words: str, sent: Iterable[str]) -> str:
    """Return a server's words as they are shown: on one line, controls visible, without secrets and without what they quote of `sent`."""
    line = " ".join(redact(words[:_READ]).split())
    line = _unquoted(line, [" ".join(text.split()) for text in sent])
    return showable(line, one_line=True).replace('"', "'")


def _rest(words: str) -> float | None:
    """Return the seconds of "Please try again in 15m50.4s", which servers write that send no Retry-After."""
    found = _AGAIN.search(words)
    units = ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0), ("millis", 0.001)
    waits = [float(found[name]) * worth for name, worth in units if found[name]] if found else []
    return sum(waits) if waits else None


def _error(document: object) -> Mapping[str, Any]:
    """Return the innermost object that describes the error, with a message under one of its usual names."""
    for _ in range(4):
        if isinstance(document, list) and document:
            document = document[0]
        elif isinstance(document, str):
            return {"message": document}
        elif isinstance(document, dict):
            inner = document.get("error") or document.get("errors")
            if not isinstance(inner, (dict, list, str)) or not inner:
                return document
            if isinstance(inner, str):
                return {"message": inner, **document, "error": None} if "message" not in document else document
            document = inner
        else:
            break
    return document if isinstance(document, dict) else {}


def _words(value: object) -> str:
    """Return the text of a message, which may be a list of a validator's errors."""
    if isinstance(value, str):
        return value[:_READ]
    if isinstance(value, list):
        problems = [(_place(each), _words(each.get("msg", each.get("message")))) for each in value[:5] if isinstance(each, dict)]
        return "; ".join(f"{place}: {words}" if place else words for place, words in problems)
    if isinstance(value, dict):
        return _words(value.get("message", value.get("msg")))
    return ""


def _place(each: Mapping[str, Any]) -> str:
    place = each.get("loc")
    return ".".join(str(part)[:80] for part in place[:5] if part != "body") if isinstance(place, list) else ""


def _located(detail: object) -> str:
    """Return the field that a validator's first error is about."""
    first = detail[0] if isinstance(detail, list) and detail else None
    return _place(first).partition(".")[0] if isinstance(first, dict) else ""


def _unquoted(line: str, sent: list[str]) -> str:
    """Return the line with every stretch that also stands in `sent` hidden."""
    folded = _folded(line)
    pieces: set[str] = set()
    for text in map(_folded, sent):
        size = min(_QUOTED, len(text))
        if size >= 3:
            pieces.update(text[at : at + size] for at in range(len(text) - size + 1))
    hidden = [False] * len(line)
    for size in {len(piece) for piece in pieces}:
        for at in range(len(folded) - size + 1):
            if folded[at : at + size] in pieces:
                hidden[at : at + size] = [True] * size
    stretches = groupby(range(len(line)), key=hidden.__getitem__)
    return "".join(_seen("".join(line[at] for at in stretch), is_hidden=is_hidden) for is_hidden, stretch in stretches)


def _seen(stretch: str, *, is_hidden: bool) -> str:
    """Return what is shown of a stretch: a name of the API that a tweet happens to hold as well is no quotation."""
    return stretch if not is_hidden or stretch.strip(" .,:;'`()").lower() in _NAMES else _HIDDEN


def _folded(text: str) -> str:
    """Return the text in lower case, each letter in its place."""
    return "".join(folded if len(folded := each.lower()) == 1 else each for each in text)
