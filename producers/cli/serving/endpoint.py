"""The verb of an endpoint for other programs: serve."""

from __future__ import annotations

from typing import Annotated

import typer

from producers.render.output import SUMMARIES, example, say

_EVERYWHERE = "answers on {host} can be asked for from other machines, over plain HTTP: put a server with TLS in front of it"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        rich_help_panel=SUMMARIES,
        epilog=example("tweetmill serve demo", "tweetmill serve --promoted --port 9000", "tweetmill serve --for news"),
    )(serve)


def serve(
    reference: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="A model's name, its id, or latest.")] = None,
    promoted: Annotated[bool, typer.Option("--promoted", help="The model in service, and each one that is promoted later.")] = False,
    stream: Annotated[str | None, typer.Option("--for", metavar="STREAM", help="The model in service for this stream.")] = None,
    host: Annotated[str, typer.Option(help="The address to listen on; others than this machine's own need this option.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 8400,
    guard: Annotated[bool, typer.Option("--guard/--no-guard", help="Check each summary against its tweet.")] = True,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Tweets that are written together, at most.")] = 64,
    queue: Annotated[int, typer.Option(min=1, max=100_000, help="Tweets that may wait; more are refused with 429.")] = 256,
    timeout: Annotated[float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="A request is given up after so long.")] = 60.0,
    max_chars: Annotated[int, typer.Option(min=1, max=4000, help="Characters of a tweet; a longer one is refused.")] = 4000,
    max_body: Annotated[int, typer.Option(min=1024, max=2**28, metavar="BYTES", help="Of a request, at most.")] = 2**20,
) -> None:
    """Serve a model to other programs: OpenAI's chat completions, POST /summarize, and metrics. It runs until it is stopped.

    Clients show a token: TWEETMILL_SERVE_TOKEN, or one that is made and kept in the home. What is asked together is written together.
    """
    from importlib.util import find_spec

    from deploy import serving
    from schemas.addresses.loopback import is_loopback
    from schemas.serving import ServeOptions
    from workers.errors import UserError
    from workers.settings import get_settings

    if sum((reference is not None, promoted, stream is not None)) != 1:
        raise typer.BadParameter("name a model, or give --promoted, or --for STREAM")
    if any(find_spec(module) is None for module in ("starlette", "uvicorn", "prometheus_client")):
        raise UserError("serving needs the extra serve: install tweetmill[serve]")
    options = ServeOptions(
        model=reference,
        stream=stream,
        host=host,
        port=port,
        guard=guard,
        batch=batch,
        queue=queue,
        timeout=timeout,
        max_chars=max_chars,
        max_body=max_body,
    )
    if not is_loopback(host):
        say(f"Note: {_EVERYWHERE.format(host=host)}.", "yellow")
    serving.become(get_settings(), options)
