"""The endpoint as an ASGI application: its routes, who may ask, and how long a request may take."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from schemas.serving import ServeOptions
from workers.catalog.models import IN_SERVICE
from workers.serving import chat, plain
from workers.serving.batching import Answer, Batcher
from workers.serving.metrics import Metrics
from workers.serving.refusals import Refused
from workers.serving.texts import read_object

logger = logging.getLogger(__name__)

_Handler = Callable[[Request], Awaitable[Response]]
_CLIENT_LEFT = 499  # as nginx counts it; nobody reads it


class Endpoint:
    """What the routes do.

    Args:
        batcher: that writes.
        options: the limits.
        token: that a client must show.
        metrics: to count with.
    """

    def __init__(self, batcher: Batcher, options: ServeOptions, token: str, metrics: Metrics) -> None:
        self._batcher = batcher
        self._options = options
        self._token = token.encode()
        self._metrics = metrics
        self._aliases = (IN_SERVICE,) if options.follows else ()

    def application(self) -> Starlette:
        """Return the application. `/health` alone is open: it says nothing but that the endpoint is there."""
        routes = [
            Route("/health", self._health, methods=["GET"]),
            Route("/metrics", self._guarded("metrics", self._page), methods=["GET"]),
            Route("/v1/models", self._guarded("models", self._models), methods=["GET"]),
            Route("/v1/models/{name:path}", self._guarded("models", self._model), methods=["GET"]),
            Route("/v1/chat/completions", self._guarded("chat", self._chat), methods=["POST"]),
            Route("/summarize", self._guarded("summarize", self._summarize), methods=["POST"]),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _not_found})

    def _guarded(self, endpoint: str, handler: _Handler) -> _Handler:
        """Return a handler that asks for the token first, turns refusals into responses, and counts."""

        async def handle(request: Request) -> Response:
            began = time.monotonic()
            try:
                self._check_token(request)
                response = await handler(request)
            except Refused as refused:
                response = refused.response()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                logger.error("%s: %s", endpoint, type(error).__name__)  # noqa: TRY400 - a traceback may quote a tweet
                response = Refused(500, "the endpoint failed at this request", "internal_error").response()
            self._metrics.request(endpoint, response.status_code, time.monotonic() - began)
            return response

        return handle

    def _check_token(self, request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # compare_digest takes as long for a wrong token as for the right one.
        is_right = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self._token)
        if scheme.lower() != "bearer" or not is_right:
            raise Refused(401, "send the endpoint's token: Authorization: Bearer …, the api_key of OpenAI's clients", "invalid_api_key")

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _page(self, _: Request) -> Response:
        return Response(self._metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._described(name) for name in self._names()]})

    async def _model(self, request: Request) -> Response:
        name = request.path_params["name"]
        chat.check_model(name, self._batcher.served, self._aliases)
        return JSONResponse(self._described(name))

    def _names(self) -> Sequence[str]:
        return (self._batcher.served.name, *self._aliases)

    def _described(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._batcher.served.created, "owned_by": "tweetmill"}

    async def _chat(self, request: Request) -> Response:
        body = await read_object(request, self._options.max_body)
        asked = chat.read(body, self._batcher.served, self._aliases, self._options.max_chars)
        (answer,) = await self._answers(request, [asked.tweet])
        if not asked.streams:
            return JSONResponse(chat.completion(answer))
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(chat.events(answer, counts=asked.counts), media_type="text/event-stream", headers=headers)

    async def _summarize(self, request: Request) -> Response:
        body = await read_object(request, self._options.max_body)
        tweets, several = plain.read(body, self._options.max_chars, self._options.queue)
        answers = await self._answers(request, tweets)
        # The checks of a long list take a while, in which others would not be heard.
        return JSONResponse(await asyncio.to_thread(plain.answered, tweets, answers, several=several))

    async def _answers(self, request: Request, tweets: Sequence[str]) -> list[Answer]:
        """Return the answers to the tweets of a request, as soon as all are there.

        Raises:
            Refused: the endpoint is overloaded or stopping, the model can't answer, it takes too long, or the client has left.
        """
        tickets = self._batcher.submit(tweets)
        written = asyncio.gather(*(asyncio.wrap_future(ticket.future) for ticket in tickets))
        written.add_done_callback(_read)
        left = asyncio.ensure_future(_departure(request))
        try:
            done, _ = await asyncio.wait((written, left), timeout=self._options.timeout, return_when=asyncio.FIRST_COMPLETED)
            if written in done:
                answers = written.result()
                for answer in answers:
                    self._metrics.answer(answer.result)
                return answers
            if left in done:
                self._metrics.client_left()
                raise Refused(_CLIENT_LEFT, "the client left", "client_left")
            raise Refused(504, f"no answer within {self._options.timeout:g} seconds: try again later", "timeout", retry_after=5)
        finally:
            left.cancel()
            self._batcher.leave([ticket for ticket in tickets if not ticket.future.done()])
            written.cancel()


def _read(written: asyncio.Future[list[Answer]]) -> None:
    """Look at what became of answers that nobody waits for any more: asyncio would complain of it."""
    if not written.cancelled():
        written.exception()


async def _departure(request: Request) -> None:
    """Return when the client has closed the connection. The body has been read: nothing else can come."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _not_found(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    paths = "POST /v1/chat/completions, POST /summarize, GET /v1/models, GET /metrics, GET /health"
    sentence = f"{error.detail}: there are {paths}"
    return Refused(error.status_code, sentence, "unknown_url").response()
