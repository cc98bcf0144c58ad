"""Set up logs that carry the job, and never a tweet or a secret.

Every record of a worker carries the job id and attempt bound by `bind`; `unbind` clears them, so nothing leaks into the next job.
"""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar

from workers.redaction import redact
from workers.showable import showable, showable_json

_context: ContextVar[dict[str, str] | None] = ContextVar("tweetmill_log_context", default=None)


def bind(**fields: object) -> None:
    """Put `fields` on every later record of this thread."""
    _context.set({**(_context.get() or {}), **{name: str(value) for name, value in fields.items()}})


def unbind() -> None:
    """Forget all bound fields."""
    _context.set(None)


class PlainFormatter(logging.Formatter):
    """`12:00:01 INFO ledger [job=… attempt=1] message`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, with the bound fields in brackets."""
        fields = " ".join(f"{name}={value}" for name, value in (_context.get() or {}).items())
        line = super().format(record)
        return showable(redact(line.replace("[]", f"[{fields}]" if fields else "", 1)))


class JsonFormatter(logging.Formatter):
    """One JSON object a line, for log collectors."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a JSON object of time in ISO 8601, level, logger, message and the bound fields."""
        body = {"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname, "logger": record.name}
        body |= {"message": redact(record.getMessage()), **(_context.get() or {})}
        if record.exc_info:
            body["error"] = redact(self.formatException(record.exc_info))
        return showable_json(json.dumps(body, ensure_ascii=False))


def set_up(json_lines: bool = False, level: int = logging.INFO) -> None:
    """Send the root logger to standard error in one of the two forms."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if json_lines else PlainFormatter("%(asctime)s %(levelname)s %(name)s [] %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("httpx", "urllib3", "filelock", "torch"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
