"""Shows how a stream stands while it runs: a line for people, or an object a line for programs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from producers.render import streams
from producers.render.output import json_text
from producers.render.progress import JobProgress, display
from producers.render.quantities import duration
from workers import clock
from workers.redaction import first_line

if TYPE_CHECKING:
    from workers.streams.queries import StreamStatus

logger = logging.getLogger(__name__)

_EVERY = 2.0  # seconds


@contextmanager
def shown(name: str, *, as_json: bool) -> Iterator[Callable[[], None]]:
    """Yield what shows how a stream stands, every two seconds however often it is called; at the end it is shown once more.

    Args:
        name: of the stream.
        as_json: an object a line on standard output, instead of a line on standard error.
    """
    last = float("-inf")
    with nullcontext() if as_json else display() as show:

        def now() -> None:
            found = status_or_none(name)
            if found is None:
                return
            if show is None:
                streams.write(json_text(found.as_dict()) + "\n", and_go_on=True)
            else:
                show(f"stream {name}", _progress(found))

        def sometimes() -> None:
            nonlocal last
            if clock.now() - last >= _EVERY:
                last = clock.now()
                now()

        yield sometimes
        now()


def status_or_none(name: str) -> StreamStatus | None:
    """Return how a stream stands; None, with a warning, where Postgres does not tell it now: the stream itself goes on."""
    from sqlalchemy.exc import DBAPIError

    from workers import database
    from workers.errors import Unavailable
    from workers.streams import queries

    try:
        with database.session() as session:
            return queries.status(session, name)
    except (Unavailable, DBAPIError) as error:
        logger.warning("how the stream stands can't be told now: %s", first_line(error))
        return None


def _progress(found: StreamStatus) -> JobProgress:
    return JobProgress(max(0, found.tweets - found.backlog), found.tweets or None, "tweets in shards", standing(found))


def standing(found: StreamStatus) -> str:
    """Return in one line how a stream stands, the telling part first."""
    parts = [f"{found.backlog:,} wait", f"{found.in_flight} shard{'' if found.in_flight == 1 else 's'} at work"]
    parts += [f"{found.failed_shards} failed"] if found.failed_shards else []
    parts += [f"lag {duration(found.lag_seconds)}", f"{found.arrivals_per_second:.3g}/s in", f"{found.summaries_per_second:.3g}/s out"]
    if found.latency_p50 is not None and found.latency_p95 is not None:
        parts.append(f"summary after {found.latency_p50:.1f} s (p50), {found.latency_p95:.1f} s (p95)")
    return " · ".join(parts)
