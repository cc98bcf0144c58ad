"""Reads how long a server asks to be left alone."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from workers.inference.remote.transport import Reply


def retry_after(reply: Reply | None, stated: float | None) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date; without a good one, those that the answer `stated`."""
    value = "" if reply is None else reply.headers.get("retry-after", "")
    try:
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else stated
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
        return max(0.0, (date - datetime.now(date.tzinfo or UTC)).total_seconds()) if date.tzinfo else stated
    except (ValueError, TypeError, OverflowError):
        return stated
