"""Builds the engine that asks a server with the OpenAI chat API."""

from __future__ import annotations

from workers.configuration.settings_sources import check_proxies
from workers.errors import SettingsError
from workers.inference.remote.engine import OpenAIEngine
from workers.settings import ENVIRONMENT, Settings


def build(settings: Settings, base: str) -> OpenAIEngine:
    """Connect to the server of `OPENAI_BASE_URL`, which knows `base` as a model's name.

    Raises:
        SettingsError: there is no address, or a proxy's address can't be used.
    """
    address = settings.openai_address()
    check_proxies(ENVIRONMENT)
    if address is None:
        raise SettingsError("TWEETMILL_ENGINE=openai needs OPENAI_BASE_URL, the address of an OpenAI-compatible server")
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else ""
    concurrency, folder = settings.server_concurrency, settings.server_adapters
    return OpenAIEngine(address, api_key=key, model=base, concurrency=concurrency, adapters_folder=folder)
