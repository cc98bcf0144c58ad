"""Decides whether the worker's key may be sent to a server."""

from __future__ import annotations

from urllib.parse import urlsplit

from workers.settings import ENVIRONMENT, get_settings
from workers.settings_sources import check_proxies


def key_for(base_url: str) -> str:
    """Return OPENAI_API_KEY, or nothing where it has an address, OPENAI_BASE_URL, and the server is another.

    A recipe or a job may come from anybody, and name any server.

    Raises:
        SettingsError: OPENAI_BASE_URL or a proxy's address can't be used.
    """
    settings = get_settings()
    keys_address = settings.openai_address()
    check_proxies(ENVIRONMENT)
    own = keys_address is None or _place(base_url) == _place(keys_address)
    return settings.openai_api_key.get_secret_value() if settings.openai_api_key and own else ""


def _place(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port
