"""Remove secrets from texts of drivers and libraries before they reach people, logs, rows or Flower.

A known secret is removed wherever it stands. What only looks like one, by its place in a URL or behind a name such as `password=`, is
removed as well: drivers quote settings that this program has never read.
"""

from __future__ import annotations

import re
import sys
import traceback
from types import TracebackType
from urllib.parse import quote, quote_plus

HIDDEN = "***"

_SHORTEST = 4  # characters of a secret that is looked for at all: shorter ones are words
ANYWHERE = 8
"""Characters of a secret that is taken out of the middle of a word."""

# Passwords of trials: taken out, they would leave no sentence whole. Their places in URLs are hidden all the same.
_EVERYDAY = frozenset({"tweetmill", "postgres", "redis", "valkey", "celery", "flower", "none", "true", "false"})

_secrets: set[str] = set()

_KEYS = r"[\w.-]*(?:password|passwd|passphrase|pwd|secret|api[_-]?key|(?:access|secret|private)[_-]?key|(?:access|auth|api|hf)[_-]?token)"
_SCHEMES = r"(?:redis|rediss|valkey|valkeys|unix|socket|sentinel|postgres|postgresql|amqp)(?:\+\w+)*"
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # A server's address, whole: where a password is written wrongly, it can't be told apart from the rest. Our own examples stay.
    (re.compile(rf"(\b{_SCHEMES}://)(?!(?:[A-Z:]*@)?HOST\b|/PATH\b)(?=[\w:@%/\[])[^\s'\"<>)\]]+"), r"\1…"),
    # Of other addresses what stands before the last @, and what a key-like name has for its value.
    (re.compile(r"(\b[\w+.-]+://)(?![A-Z:]*@HOST\b)[^\s'\"<>]*@"), rf"\1{HIDDEN}@"),
    (re.compile(rf"((?:\b{_KEYS}|[?&](?:key|token|sig|auth))=)(?:'[^']*'|\"[^\"]*\"|[^\s&#'\"]+)", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(rf"(['\"]{_KEYS}['\"]\s*:\s*)(?:'[^']*'|\"[^\"]*\")", re.IGNORECASE), rf"\1'{HIDDEN}'"),
    (re.compile(r"(\bBearer\s+)[\w.~+/=-]{4,}", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\b(?:sk|hf|ghp|gsk|xai)[-_]\w[\w-]{8,}"), HIDDEN),
    # What libpq and redis-py quote of an address.
    (re.compile(r"((?:translate host name|connection to server (?:at|on socket)) )\"[^\"]*\"(?: \([^)]*\))?(?:, port [^\s:]+)?"), r"\1…"),
    (re.compile(r"(failed to resolve host )'[^']*'"), r"\1…"),
    (re.compile(r"(\b(?:for user|for host|database|role|invalid port number:|invalid integer value) )\"[^\"]*\""), r"\1…"),
    (re.compile(r"(\bError -?\d+ connecting to )\S+?\.(?=\s|$)"), r"\1…."),
)


def remember(*secrets: str | None) -> None:
    """Redact these from now on, in this process: as they are, and percent-encoded."""
    for secret in secrets:
        if secret and len(secret) >= _SHORTEST and secret.lower() not in _EVERYDAY:
            _secrets.update((secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]))


def redact(text: str) -> str:
    """Return the text with `HIDDEN` in place of secrets."""
    for secret in sorted(_secrets, key=len, reverse=True):
        if secret in text:
            text = _as_word(secret).sub(HIDDEN, text) if len(secret) < ANYWHERE else text.replace(secret, HIDDEN)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def _as_word(secret: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])")


def first_line(error: BaseException) -> str:
    """Return an error's first line, without secrets; SQLAlchemy's own text would go on with the statement."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return redact(lines[0]) if lines else type(error).__name__


def show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error that ends the process as Python does, without secrets; for `sys.excepthook`."""
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))
