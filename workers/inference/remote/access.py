"""Decides whether the worker's key may be sent to a server."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from workers.configuration.settings_sources import check_proxies
from workers.errors import SettingsError
from workers.redaction import remember
from workers.settings import ENVIRONMENT, get_settings


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


KEY_VARIABLE = r"TWEETMILL_SERVED_KEY\w{0,80}"
"""Names of the environment variables that hold keys of servers which have models of the catalog."""


def key_in(variable: str) -> str:
    """Return the key that an environment variable holds, of those that may be sent to the server of a model.

    A model's row may come from anybody, and name any variable: no other is read.

    Raises:
        SettingsError: it is not set, or may not be sent.
    """
    value = ENVIRONMENT.get(variable, "").strip() if re.fullmatch(KEY_VARIABLE, variable) else ""
    if not value or not all("!" <= sign <= "~" for sign in value):
        raise SettingsError(f"{variable[:100]}: set it to the key of the model's server, for each worker")
    remember(value)
    return value


def _place(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port
