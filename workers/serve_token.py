"""Reads the token that clients of `tweetmill serve` must show."""

from __future__ import annotations

from workers.configuration.settings_sources import read_password
from workers.errors import SettingsError
from workers.settings import Settings

SHORTEST = 16
"""Characters of a token that others must not guess."""


def serve_token(settings: Settings) -> str:
    """Return what clients of `tweetmill serve` must show.

    Raises:
        SettingsError: there is none, it can't be read, or it is short enough to be guessed.
    """
    if settings.serve_token is not None:
        token = settings.serve_token.get_secret_value()
    elif settings.serve_token_file is not None:
        token = read_password("TWEETMILL_SERVE_TOKEN_FILE", settings.serve_token_file)
    else:
        raise SettingsError("no token: set TWEETMILL_SERVE_TOKEN, or start with `tweetmill serve`, which makes one")
    if len(token) < SHORTEST or not all("!" <= sign <= "~" for sign in token):
        raise SettingsError(f"TWEETMILL_SERVE_TOKEN: give at least {SHORTEST} letters, digits and signs of ASCII, without spaces")
    return token
