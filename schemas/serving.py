"""Define the options of the endpoint that `tweetmill serve` runs."""

from __future__ import annotations

from pydantic import Field

from schemas.payloads import Payload

DEFAULT_PORT = 8400
LARGEST_BATCH, LARGEST_QUEUE, LONGEST_WAIT = 1024, 100_000, 3600
LONGEST_TWEET = 4000
"""Characters of a tweet that a model is shown: a longer one would be cut, so it is refused."""

SMALLEST_BODY, LARGEST_BODY = 1024, 2**28


class ServeOptions(Payload):
    """What is served, where, and within which limits.

    Attributes:
        model: its name, its id or latest; None for the one in service.
        stream: whose model in service is served; None for the one by default, where no model is named.
        host: to listen on.
        port: to listen on.
        guard: check each summary against its tweet.
        batch: tweets that are written together, at most.
        queue: tweets that may wait for a batch, at most.
        timeout: seconds that a request may take before it is given up.
        max_chars: of a tweet.
        max_body: bytes of a request.
    """

    model: str | None = None
    stream: str | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=DEFAULT_PORT, ge=1, le=65535)
    guard: bool = True
    batch: int = Field(default=64, ge=1, le=LARGEST_BATCH)
    queue: int = Field(default=256, ge=1, le=LARGEST_QUEUE)
    timeout: float = Field(default=60.0, ge=0.1, le=LONGEST_WAIT)
    max_chars: int = Field(default=LONGEST_TWEET, ge=1, le=LONGEST_TWEET)
    max_body: int = Field(default=2**20, ge=SMALLEST_BODY, le=LARGEST_BODY)

    @property
    def follows(self) -> bool:
        """Whether what is served changes with each promotion."""
        return self.model is None
