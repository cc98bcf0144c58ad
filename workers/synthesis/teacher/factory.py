"""Makes the client of the teacher that a recipe names, and decides whether the worker's key may be sent to it."""

from __future__ import annotations

from urllib.parse import urlsplit

from schemas.synthesis import TeacherSource
from workers.errors import SettingsError
from workers.settings import ENVIRONMENT, get_settings
from workers.settings_sources import check_proxies
from workers.synthesis.teacher.clients import LocalTeacher, ServerTeacher, Teacher


def teacher_of(source: TeacherSource) -> Teacher:
    """Return the teacher of a recipe.

    Raises:
        SettingsError: nobody says where it is, or the environment's address is none.
    """
    if source.engine == "local":
        return LocalTeacher(source)
    settings = get_settings()
    keys_address = settings.openai_address()
    check_proxies(ENVIRONMENT)
    base_url = source.base_url or keys_address
    if base_url is None:
        raise SettingsError("the teacher has no address: give teacher.base_url, or set OPENAI_BASE_URL where the worker runs")
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else ""
    # A recipe may come from anybody. Where the key has an address, it goes nowhere else.
    own = keys_address is None or _place(base_url) == _place(keys_address)
    return ServerTeacher(source, base_url, key if own else "")


def _place(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port
