"""Start the endpoint of `tweetmill serve` in place of this process."""

from __future__ import annotations

import os

from deploy.environment import CODE, python
from deploy.local.home import Home
from schemas.serving import ServeOptions
from workers.serve_token import serve_token
from workers.settings import ENVIRONMENT, Settings

_GENERATED = "serve_token"


def become(settings: Settings, options: ServeOptions) -> None:
    """Replace this process by an endpoint. Where no token is set, one is made, in a file that only its owner may read.

    Raises:
        SettingsError: the token can't be used, or the home is none.
    """
    home = Home(settings.home)
    home.prepare()
    token = {}
    if settings.serve_token is None and settings.serve_token_file is None:
        token = {"TWEETMILL_SERVE_TOKEN_FILE": str(home.secret(_GENERATED))}
    else:
        serve_token(settings)
    os.chdir(CODE)
    command = python("-m", "workers.serving", options.model_dump_json())
    os.execve(command[0], command, {**ENVIRONMENT, "PYTHONSAFEPATH": "1", **token})  # noqa: S606 - no shell is wanted
