"""Connects to X's filtered stream, again and again, in the pauses that X asks for, and yields its posts until the cap is reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from producers.sources.live import http_streams
from producers.sources.live.failures import check_network
from producers.sources.live.http_streams import StatusError, TooLongError
from producers.sources.live.patience import Patience
from producers.sources.live.pauses import Pauses
from producers.sources.live.stepping import stepped
from producers.sources.live.x_api import rules
from producers.sources.live.x_api.ledger import Ledger
from producers.sources.live.x_api.posts import EXPANSIONS, FIELDS, Disconnected, Posts
from workers.ingest.live import Event
from workers.ingest.readers.errors import SourceError
from workers.settings import get_settings

if TYPE_CHECKING:
    from producers.sources.live.registry import LiveOptions

NAME = "x"
PATH = "/2/tweets/search/stream"
DEFAULT_ADDRESS = f"https://api.x.com{PATH}"
LONGEST_LINE = 2**20
"""Bytes of a line: a long post with the posts that it refers to has some ten kilobytes."""

# Each 20 seconds comes a line, empty where there is nothing to say.
_PATIENT = Patience(stall=30.0)
# X's pauses are the least to wait: chance makes them longer.
_CHANCE = (1.0, 1.25)


@dataclass(frozen=True)
class Backoff:
    """The pauses that X asks for, in seconds: https://docs.x.com/x-api/fundamentals/handling-disconnections.

    Attributes:
        network: how much longer each is than the one before after a failure of the network; the first is none.
        network_longest: of them.
        http: the first after an HTTP error; each is twice as long.
        http_longest: of them.
        rate: the first after HTTP 429; each is twice as long.
        rate_longest: of them: the window of a rate limit.
    """

    network: float = 0.25
    network_longest: float = 16.0
    http: float = 5.0
    http_longest: float = 320.0
    rate: float = 60.0
    rate_longest: float = 900.0


_DOCUMENTED = Backoff()


class _Pausing:
    """The three rows of pauses, which begin anew when something was read."""

    def __init__(self, backoff: Backoff) -> None:
        self._network = Pauses(0.0, backoff.network_longest, step=backoff.network, chance=_CHANCE)
        self._http = Pauses(backoff.http, backoff.http_longest, chance=_CHANCE)
        self._rate = Pauses(backoff.rate, backoff.rate_longest, chance=_CHANCE)

    @property
    def tries(self) -> int:
        """How many there were since something was read."""
        return self._network.tries + self._http.tries + self._rate.tries

    def after(self, status: int | None) -> float:
        """Return the pause after an HTTP status, or after a failure of the network."""
        row = self._network if status is None else self._rate if status == httpx.codes.TOO_MANY_REQUESTS else self._http
        return row.next()

    def reset(self) -> None:
        """Begin anew."""
        for row in (self._network, self._http, self._rate):
            row.reset()


class XStream:
    """The posts that rules of X's filtered stream match.

    Args:
        address: `x`, or that of the stream.
        options: `name`, `languages`, `rules`, and `max_usd`, which must be there.
        patience: how long it waits for what.
        backoff: how long between two tries.
        longest: bytes of a line.

    Raises:
        SourceError: there is no token or no cap, it is to begin anew, or the address would carry the token unencrypted.
        SettingsError: a setting is wrong.
    """

    waits = False

    def __init__(
        self,
        address: str,
        options: LiveOptions,
        patience: Patience = _PATIENT,
        backoff: Backoff = _DOCUMENTED,
        longest: int = LONGEST_LINE,
    ) -> None:
        self.origin = DEFAULT_ADDRESS if address == NAME else address
        self._base = http_streams.split(self.origin)
        if self._base.query:
            raise SourceError("write the address of X's stream without parameters: leave out what stands behind ?")
        if options.from_start:
            raise SourceError(
                "X's stream has no start, and what was spent on it is counted where it was left: leave out --from-start, "
                "or give another --name to count anew"
            )
        settings = get_settings()
        if settings.x_bearer_token is None:
            raise SourceError("X asks for a token: make an app in its developer console, and set X_BEARER_TOKEN to its bearer token")
        if options.max_usd is None:
            raise SourceError(f"X charges ${settings.x_post_usd:g} for each post that is read: say with --max-usd what may be spent")
        http_streams.check_encrypted(self._base, settings.x_bearer_token)
        self._token, self._price, self._cap = settings.x_bearer_token, settings.x_post_usd, options.max_usd
        self._options, self._patience, self._backoff, self._longest = options, patience, backoff, longest

    @staticmethod
    def takes(address: str) -> bool:
        """Whether an address is X's."""
        return address == NAME or (address.startswith(("https://", "http://")) and urlsplit(address).path == PATH)

    def events(self, cursor: str | None, idle_seconds: float = 1.0) -> Iterator[Event | None]:
        """Yield the posts that come; where the cap is reached, a notice of that, the last. See `workers.ingest.live.LiveSource`."""
        ledger = Ledger() if cursor is None else Ledger.read(cursor)
        posts = Posts(ledger, self._price, self._options.name or NAME, self._options.languages)
        return stepped(self._followed(posts, known=cursor is not None), idle_seconds)

    async def _followed(self, posts: Posts, *, known: bool) -> AsyncGenerator[Event, None]:
        """Yield events over all connections; of a stream that is `known` to have worked, it tries for as long as it takes."""
        pausing = _Pausing(self._backoff)
        has_rules = False
        async with http_streams.client(self._base, self._token, self._patience) as client:
            while not posts.ledger.is_spent(self._cap, self._price):
                status = None
                was_often_tried = pausing.tries + 1 >= self._patience.first_tries
                try:
                    if not has_rules:
                        await rules.agree(client, self._options.rules)
                        has_rules = True
                    async for event in self._connection(client, posts, pausing):
                        yield event
                except StatusError as refused:
                    # That rules were agreed does not say that the app gets a connection: other streams may hold it.
                    self._check_status(refused, lasts=was_often_tried and not (known or posts.was_connected))
                    status = refused.status
                except TooLongError:
                    yield posts.refused(None, f"the line is longer than {self._longest} bytes")
                except Disconnected:
                    yield Event(str(posts.ledger), notice="disconnect notice")
                except (httpx.TransportError, OSError) as failure:
                    # Rules are agreed with X alone: its address is right.
                    check_network(failure, self._base.netloc, lasts=was_often_tried and not (known or has_rules))
                if not posts.ledger.is_spent(self._cap, self._price):
                    await asyncio.sleep(pausing.after(status))
        yield Event(str(posts.ledger), notice="cap reached", said=posts.ledger.spent(self._cap))

    async def _connection(self, client: httpx.AsyncClient, posts: Posts, pausing: _Pausing) -> AsyncGenerator[Event, None]:
        """Yield the events of one connection, until it breaks or ends, or the cap is reached."""
        parameters = {"tweet.fields": FIELDS, "expansions": EXPANSIONS}
        async with client.stream("GET", self._base.path, params=parameters) as response:
            if response.status_code != httpx.codes.OK:
                raise StatusError(response.status_code)
            posts.connect()
            async for line in http_streams.lines(response, self._longest):
                pausing.reset()
                if not line.strip():
                    continue  # it says that the connection lives
                for event in posts.events(line):
                    yield event
                if posts.ledger.is_spent(self._cap, self._price):
                    return

    def _check_status(self, refused: StatusError, *, lasts: bool) -> None:
        """Return where a refusal may pass.

        Raises:
            SourceError: waiting would not help.
        """
        if refused.status == httpx.codes.UNAUTHORIZED:
            raise SourceError(f"X refuses the token ({refused}): set X_BEARER_TOKEN to the bearer token of an app")
        if refused.status == httpx.codes.PAYMENT_REQUIRED:
            raise SourceError(f"the account of X_BEARER_TOKEN has no credits ({refused}): buy some in X's developer console")
        if refused.status == httpx.codes.FORBIDDEN:
            raise SourceError(
                f"the app of X_BEARER_TOKEN may not read the filtered stream ({refused}): see its access in X's developer console"
            )
        if not refused.may_pass:
            raise SourceError(f"X refuses what it was asked for ({refused}): check the address and each --rule")
        if lasts:
            raise SourceError(f"X does not serve its stream ({refused}): try again later, and end other streams of the same app")
