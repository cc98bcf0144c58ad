"""Connects to a server of Mastodon, again and again, catches up with what was written meanwhile, and yields what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlsplit

import httpx
from httpx_sse import EventSource, SSEError

from producers.sources.live import http_streams
from producers.sources.live.failures import check_network
from producers.sources.live.http_streams import BoundedEvents, StatusError, TooLongError
from producers.sources.live.mastodon.statuses import Statuses, order
from producers.sources.live.patience import PATIENT, Patience
from producers.sources.live.pauses import Pauses
from producers.sources.live.stepping import stepped
from workers.ingest.live import Event, Unusable
from workers.ingest.readers.errors import SourceError
from workers.settings import get_settings

if TYPE_CHECKING:
    from producers.sources.live.registry import LiveOptions

NAME = "mastodon"
LONGEST_EVENT = 2**20
"""Bytes of an event: a post with its author's profile has some kilobytes."""

_STREAMING = "/api/v1/streaming"
_PAGE = 40
_MOST_PAGES = 500
# Of each stream what its timeline is called, and which parameters that takes.
_TIMELINES: Mapping[str, tuple[str, dict[str, str]]] = {
    "/public": ("/api/v1/timelines/public", {}),
    "/public/local": ("/api/v1/timelines/public", {"local": "true"}),
    "/public/remote": ("/api/v1/timelines/public", {"remote": "true"}),
    "/hashtag": ("/api/v1/timelines/tag/", {}),
    "/hashtag/local": ("/api/v1/timelines/tag/", {"local": "true"}),
}
_LONGEST_TAG = 200


class Mastodon:
    """The posts of a server's public stream, or of a hashtag there.

    Args:
        address: as the API has it: `https://HOST/api/v1/streaming/public`, `…/public/local`, `…/public/remote`,
            `…/hashtag?tag=NAME` or `…/hashtag/local?tag=NAME`.
        options: `name` and `languages`.
        patience: how long it waits for what.
        most_pages: of a timeline, that are read to catch up.
        longest: bytes of an event.

    Raises:
        SourceError: the address is none of a stream, or would carry the token unencrypted.
        SettingsError: a setting is wrong.
    """

    waits = False

    def __init__(
        self,
        address: str,
        options: LiveOptions,
        patience: Patience = PATIENT,
        most_pages: int = _MOST_PAGES,
        longest: int = LONGEST_EVENT,
    ) -> None:
        self.origin = address
        self._base = http_streams.split(address)
        self._host = self._base.netloc.lower()
        self._stream = self._base.path.removeprefix(_STREAMING)
        self._query = dict(parse_qsl(self._base.query))
        if self._stream not in _TIMELINES:
            known = ", ".join(f"{_STREAMING}{stream}" for stream in _TIMELINES)
            raise SourceError(f"this is not the address of a public stream of Mastodon: its path is one of {known}")
        is_tag = self._stream.startswith("/hashtag")
        if set(self._query) != ({"tag"} if is_tag else set()) or len(self._query.get("tag", "")) > _LONGEST_TAG:
            raise SourceError(
                "name the hashtag as ?tag=NAME, and nothing else behind the address" if is_tag else "leave out what stands behind ?"
            )
        self._options, self._patience = options, patience
        self._most_pages, self._longest = most_pages, longest
        self._token = get_settings().mastodon_access_token
        http_streams.check_encrypted(self._base, self._token)

    @staticmethod
    def takes(address: str) -> bool:
        """Whether an address is one of a stream of Mastodon."""
        return address.startswith(("https://", "http://")) and urlsplit(address).path.startswith(f"{_STREAMING}/")

    def events(self, cursor: str | None, idle_seconds: float = 1.0) -> Iterator[Event | None]:
        """Yield what the server says behind a cursor, forever. See `workers.ingest.live.LiveSource`."""
        statuses = Statuses(self._host, self._options.name or NAME, self._options.languages)
        if cursor is not None:
            statuses.go_on(cursor)
        return stepped(self._followed(statuses), idle_seconds)

    async def _followed(self, statuses: Statuses) -> AsyncGenerator[Event, None]:
        """Yield events over all connections."""
        pauses = Pauses(self._patience.first_pause, self._patience.longest_pause)
        answered = statuses.newest is not None
        async with http_streams.client(self._base, self._token, self._patience) as client:
            while True:
                pause = 0.0
                try:
                    async with self._connected(client) as stream:
                        answered = True
                        if statuses.newest is not None:
                            yield Event(statuses.cursor, notice="connection")
                            async with aclosing(self._caught_up(client, statuses)) as missed:
                                async for event in missed:
                                    yield event
                        async for event in self._read(stream, statuses):
                            pauses.reset()
                            yield event
                except StatusError as refused:
                    self._check_status(refused, lasts=not answered and pauses.tries + 1 >= self._patience.first_tries)
                    pause = self._patience.longest_pause if refused.status == httpx.codes.TOO_MANY_REQUESTS else 0.0
                except TooLongError:
                    yield _too_long(statuses, self._longest)
                except (httpx.TransportError, OSError) as failure:
                    check_network(failure, self._host, lasts=not answered and pauses.tries + 1 >= self._patience.first_tries)
                await asyncio.sleep(max(pauses.next(), pause))

    @asynccontextmanager
    async def _connected(self, client: httpx.AsyncClient) -> AsyncIterator[httpx.Response]:
        """Open the stream, which another host may serve.

        Raises:
            StatusError: the server refuses it.
        """
        base = await self._streaming_base(client)
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        async with client.stream("GET", f"{base}{_STREAMING}{self._stream}", params=self._query, headers=headers) as response:
            if response.status_code != httpx.codes.OK:
                raise StatusError(response.status_code)
            yield response

    async def _streaming_base(self, client: httpx.AsyncClient) -> str:
        """Return scheme and host of the streams: a server says where it has them by a redirect, or has no such page."""
        async with client.stream("GET", _STREAMING) as response:
            if not response.has_redirect_location:
                return ""
            place = urlsplit(str(httpx.URL(f"{self._base.scheme}://{self._base.netloc}{_STREAMING}").join(response.headers["location"])))
        http_streams.check_encrypted(place, self._token)
        return f"{place.scheme}://{place.netloc}"

    async def _caught_up(self, client: httpx.AsyncClient, statuses: Statuses) -> AsyncGenerator[Event, None]:
        """Yield the posts behind the newest one that the timeline has, the oldest first, page by page."""
        path, parameters = _TIMELINES[self._stream]
        path += quote(self._query.get("tag", ""), safe="")
        for _ in range(self._most_pages):
            asked = parameters | {"min_id": str(statuses.newest), "limit": str(_PAGE)}
            async with client.stream("GET", path, params=asked) as response:
                refused = StatusError(response.status_code) if response.status_code != httpx.codes.OK else None
                if refused is not None and refused.may_pass:
                    raise refused
                page = await _page(response) if refused is None else str(refused)
            if isinstance(page, str):
                statuses.lose(f"the timeline of {self._host} can't be read to catch up ({page})")
                return
            newest = statuses.newest
            for status in sorted(page, key=_order):
                for event in statuses.of_status(status):
                    yield event
            if statuses.newest == newest:
                return
        statuses.lose(f"more than {self._most_pages * _PAGE} posts of {self._host} were to be caught up: those behind them are left out")

    async def _read(self, response: httpx.Response, statuses: Statuses) -> AsyncGenerator[Event, None]:
        """Yield the events of one connection, until it breaks or ends."""
        body = httpx.Response(response.status_code, headers=response.headers, stream=BoundedEvents(response, self._longest))
        try:
            async for said in EventSource(body).aiter_sse():
                for event in statuses.events(said.event, said.data):
                    yield event
        except SSEError:
            raise SourceError(f"{self._host} does not answer with a stream of events: check the address") from None

    def _check_status(self, refused: StatusError, *, lasts: bool) -> None:
        """Return where a refusal may pass.

        Raises:
            SourceError: waiting would not help.
        """
        if refused.status in (401, 403):
            what = "asks for a token" if self._token is None else "refuses the token"
            advice = "make one there that may read:statuses, and set MASTODON_ACCESS_TOKEN to it"
            raise SourceError(f"{self._host} {what} ({refused}): {advice}")
        if not refused.may_pass:
            raise SourceError(f"{self._host} has no such stream ({refused}): check the address")
        if lasts:
            raise SourceError(f"{self._host} does not serve its stream ({refused}): try again later, or check the address")


async def _page(response: httpx.Response) -> list[object] | str:
    """Return the posts of a page, or what is wrong with it."""
    try:
        page = await http_streams.document(response)
    except TooLongError:
        return f"a page of more than {http_streams.LONGEST_ANSWER} bytes"
    except ValueError:
        return "an answer that is not JSON"
    return page if isinstance(page, list) else "an answer that is no list"


def _order(status: object) -> tuple[int, str]:
    local = status.get("id") if isinstance(status, dict) else None
    return order(local) if isinstance(local, str) else (0, "")


def _too_long(statuses: Statuses, longest: int) -> Event:
    key = "before the first" if statuses.newest is None else f"after {statuses.newest}"
    return Event(statuses.cursor, rejected=Unusable(key, None, f"the event is longer than {longest} bytes"))
