"""`tweetmill fetch`: a base model and real tweets for a first try, from the package index."""

from __future__ import annotations

from typing import Any

import typer

from producers.render import output


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        "fetch",
        rich_help_panel=output.DATA,
        epilog=output.example("tweetmill fetch", "tweetmill ingest ~/.local/state/tweetmill/demo/tweets.jsonl --source vader"),
    )(fetch)


def fetch(as_json: output.AsJson = False) -> None:
    """Fetch what the demo works on: 4,200 real tweets and SmolLM2-135M-Instruct. Needs the extra `gpu` once, to convert the model."""
    from producers.demo import fetching
    from workers.settings import get_settings

    settings = get_settings()
    downloads = settings.home / "downloads"
    fetched = {
        "tweets": fetching.tweets_file(downloads, settings.home / "demo" / "tweets.jsonl"),
        "base": fetching.base_model(downloads, settings.models_folder / "smollm2-135m-instruct"),
    }
    output.emit(fetched, as_json, _render)


def _render(fetched: dict[str, Any]) -> str:
    return f"Tweets: {fetched['tweets']}\nBase model: {fetched['base']} (in recipes: base: smollm2-135m-instruct)"
