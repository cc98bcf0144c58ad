"""Runs the endpoint: `python -m workers.serving OPTIONS`, where the options are JSON. `tweetmill serve` starts it."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from schemas.serving import ServeOptions
from workers import logs
from workers.errors import SettingsError, TweetmillError, UserError
from workers.inference.engine import EngineError
from workers.inference.engine_builders import ServerBuilder, builder_of
from workers.inference.served import launcher
from workers.serve_token import serve_token
from workers.serving.application import Endpoint
from workers.serving.batching import Batcher
from workers.serving.metrics import Metrics
from workers.serving.served import Served, Source
from workers.settings import Settings, get_settings

logger = logging.getLogger("workers.serving")

_DRAIN = 10.0  # seconds beyond the longest that a request may take
_KEEP_ALIVE = 30
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(options: ServeOptions) -> None:
    """Serve until a signal asks to stop; what was asked before is answered.

    Raises:
        TweetmillError: the port is taken, there is no token, or the model can't be used.
        EngineError: the engine can't be built.
    """
    settings = get_settings()
    logs.set_up(settings.log_json)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    token = serve_token(settings)
    # Taken before the model is loaded, and listened on only after.
    place = _bound(options.host, options.port)
    metrics = Metrics()
    batcher = Batcher(Source(options), guard=options.guard, batch=options.batch, queue=options.queue, on_batch=metrics.batch)
    server = uvicorn.Server(_configuration(Endpoint(batcher, options, token, metrics), options))

    def leave() -> None:
        server.should_exit = True

    with _engines_server(settings, leave):
        served = batcher.start()
        metrics.look_at(batcher)
        _say(settings, options, served)
        for number in _SIGNALS:
            # Until uvicorn has handlers of its own, and again after it: it raises what it was stopped by once more.
            signal.signal(number, lambda *_: leave())
        server.run(sockets=[place])
        batcher.stop()
    logger.info("stopped: all that was asked is answered")


@contextmanager
def _engines_server(settings: Settings, on_end: Callable[[], None]) -> Iterator[None]:
    """Run the server that the engine asks, if it is one of that kind, for the block; `on_end` is called when it ends before."""
    builder = builder_of(settings.engine)
    if not isinstance(builder, ServerBuilder):
        yield
        return
    launched = launcher.start(settings, builder.program(settings), on_end)
    try:
        yield
    finally:
        launched.stop()


def _say(settings: Settings, options: ServeOptions, served: Served) -> None:
    address = f"http://{f'[{options.host}]' if ':' in options.host else options.host}:{options.port}"
    where = "" if settings.serve_token else f", token in {settings.serve_token_file}"
    logger.info("serving %s at %s/v1%s", served.name, address, where)
    if not options.guard:
        logger.warning("answers are not checked against their tweets: --no-guard")


def _configuration(endpoint: Endpoint, options: ServeOptions) -> uvicorn.Config:
    return uvicorn.Config(
        endpoint.application(),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=int(options.timeout + _DRAIN),
    )


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket at an address that nobody listens on.

    Raises:
        UserError: somebody does, or this machine has no such address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise UserError(f"{host} port {port} can't be served at ({error.strerror}): give another --port or --host") from None
    return bound


if __name__ == "__main__":
    try:
        main(ServeOptions.model_validate_json(sys.argv[1]))
    except (TweetmillError, EngineError) as error:
        sys.stderr.write(f"Error: {error}\n")
        raise SystemExit(2 if isinstance(error, SettingsError) else 1) from None
