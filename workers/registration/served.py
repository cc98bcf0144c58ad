"""Adds a model that a server has: its name there, the address, and which environment variable holds the key."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import SecretStr

from schemas.addresses.loopback import is_loopback
from schemas.addresses.parsing import parse_http
from schemas.payloads import Stage
from schemas.tables.models import Model
from workers import database
from workers.catalog import additions, datasets
from workers.configuration import server_addresses
from workers.errors import UserError
from workers.inference.remote.access import KEY_VARIABLE

_LONGEST = 200


def add(name: str, url: str, model: str, key_variable: str | None, stage: Stage, dataset: str | None) -> Model:
    """Add a model of a server; it is not asked yet.

    Args:
        name: of the model in the catalog.
        url: of the server's API, with `/v1`.
        model: its name there.
        key_variable: the environment variable that holds the server's key on each worker; None: none.
        stage: what it writes.
        dataset: whose held-back examples it is evaluated on; None: none.

    Raises:
        UserError: the address, the variable or the name can't be used.
    """
    server_addresses.parsed("--served", SecretStr(url), parse_http)
    if not 1 <= len(model) <= _LONGEST or not model.isprintable():
        raise UserError(f"--model: give the name under which the server has the model, of up to {_LONGEST} characters")
    if key_variable is not None:
        _check_variable(key_variable, url)
    with database.session() as session:
        additions.check_name(session, name)
        held_back = datasets.resolve(session, dataset).id if dataset is not None else None
        details = {"url": url.rstrip("/"), **({"key_variable": key_variable} if key_variable is not None else {})}
        values = {"name": name, "base": model, "method": additions.SERVED, "stage": stage.value, "dataset": held_back, "details": details}
        return additions.add(session, values)


def _check_variable(name: str, url: str) -> None:
    if not re.fullmatch(KEY_VARIABLE, name):
        raise UserError(
            "--key-variable: give the name of an environment variable that begins with TWEETMILL_SERVED_KEY, such as"
            " TWEETMILL_SERVED_KEY_NEWS, and set it for each worker: a variable of another name is never sent anywhere"
        )
    place = urlsplit(url)
    if place.scheme != "https" and not is_loopback(place.hostname or ""):
        raise UserError("--key-variable: a key goes to another machine by https alone. Give --served with https")
