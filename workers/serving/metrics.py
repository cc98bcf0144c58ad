"""Counts what the endpoint does, in Prometheus's form. Nothing of a tweet is a label, and labels have few values."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from workers.inference.guard import Guarded
from workers.serving.batching import Batch, Batcher

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_PREFIX = "tweetmill_serve"


class Metrics:
    """The metrics of one endpoint."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        own = self._registry
        self._requests = Counter(f"{_PREFIX}_requests", "Requests, by endpoint and status", ["endpoint", "status"], registry=own)
        self._seconds = Histogram(f"{_PREFIX}_request_seconds", "Time of answered requests", ["endpoint"], buckets=_SECONDS, registry=own)
        self._tweets = Counter(f"{_PREFIX}_tweets", "Tweets that were answered", registry=own)
        self._retried = Counter(f"{_PREFIX}_retried", "Tweets that were written for twice", registry=own)
        self._flags = Counter(f"{_PREFIX}_flags", "Flags of answers", ["flag"], registry=own)
        self._tokens = Counter(f"{_PREFIX}_tokens", "Tokens, read and written", ["direction"], registry=own)
        self._left = Counter(f"{_PREFIX}_clients_left", "Requests whose client left before the answer", registry=own)
        self._rows = Histogram(f"{_PREFIX}_batch_rows", "Tweets that were written together", buckets=_ROWS, registry=own)
        self._batch_seconds = Histogram(f"{_PREFIX}_batch_seconds", "Time of a batch", buckets=_SECONDS, registry=own)
        self._waiting = Gauge(f"{_PREFIX}_waiting", "Tweets that wait for a batch", registry=own)
        self._in_flight = Gauge(f"{_PREFIX}_in_flight", "Tweets that are written for", registry=own)

    def look_at(self, batcher: Batcher) -> None:
        """Take the gauges from a batcher whenever they are asked for."""
        self._waiting.set_function(lambda: batcher.waiting)
        self._in_flight.set_function(lambda: batcher.in_flight)

    def batch(self, batch: Batch) -> None:
        """Count a batch that has ended."""
        self._rows.observe(batch.rows)
        self._batch_seconds.observe(batch.seconds)

    def answer(self, result: Guarded) -> None:
        """Count what was written for one tweet."""
        self._tweets.inc()
        self._retried.inc(result.tries > 1)
        for flag in result.flags:
            self._flags.labels(flag).inc()
        self._tokens.labels("in").inc(result.tokens_in)
        self._tokens.labels("out").inc(result.tokens_out)

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """Count a request that was answered or refused."""
        self._requests.labels(endpoint, str(status)).inc()
        if status < 400:
            self._seconds.labels(endpoint).observe(seconds)

    def client_left(self) -> None:
        """Count a request whose client has gone."""
        self._left.inc()

    def page(self) -> bytes:
        """Return the page that Prometheus reads."""
        return generate_latest(self._registry)
