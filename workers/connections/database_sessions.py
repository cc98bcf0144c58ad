"""Applies the settings of a Postgres session, such as its timeouts: when the session starts, or with each transaction.

A pooler such as PgBouncer rejects start-up options or ignores them, and in its transaction mode gives a session's settings to another
client. Then, and where a service of libpq has options of its own, each transaction sets them for itself.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, Engine, event

from workers.errors import SettingsError

# Shows whether start-up options were applied: a pooler may accept and ignore them.
_MARK = "tweetmill.session"
# In psycopg's own form: they run below SQLAlchemy, and before a transaction's first statement.
_CURRENT = "SELECT current_setting(%s, true)"
_SET = "SELECT set_config(name, value, true) FROM unnest(%s::text[], %s::text[]) AS setting(name, value)"
_REFUSED = "unsupported startup parameter"
_SPACE = re.compile(r"(?<!\\)\s+")
_TO_ESCAPE = re.compile(r"([\s\\])")
_NAME = re.compile(r"[A-Za-z_][\w.]*", re.ASCII)


def parse_options(options: str) -> dict[str, str]:
    """Parse a string of options for libpq, `-c name=value`, `-cname=value` or `--name=value`, into settings by name.

    Raises:
        SettingsError: it contains anything else.
    """
    words = [re.sub(r"\\(.)", r"\1", word) for word in _SPACE.split(options.strip()) if word]
    found: dict[str, str] = {}
    while words:
        word = words.pop(0)
        if word == "-c" and words:
            word += words.pop(0)
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if word[:2] not in ("-c", "--") or not equals or not _NAME.fullmatch(name):
            raise SettingsError("DATABASE_URL: its options (or PGOPTIONS) are no list of `-c name=value`")
        found[name.lower()] = value
    return found


def keep_settings(engine: Engine, settings: dict[str, str], *, at_start: bool) -> None:
    """Apply these settings to every transaction of an engine.

    Args:
        engine: one that has no connection yet.
        settings: by name, as `SET` takes them.
        at_start: whether they may be sent when a session begins.
    """
    _Sessions(settings, at_start).attach(engine)


class _Sessions:
    """Applies the settings to the sessions of one engine; what one connection shows of a pooler holds for the next."""

    def __init__(self, settings: dict[str, str], at_start: bool) -> None:
        self._settings = settings
        self._at_start = at_start
        self._is_pooled = False

    def attach(self, engine: Engine) -> None:
        """Listen to the engine."""
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "begin", self._begin)

    def _connect(self, dialect: Any, _: Any, arguments: Any, options: dict[str, Any]) -> Any:
        if self._at_start:
            try:
                connection = dialect.connect(*arguments, **options, options=_written({**self._settings, _MARK: "on"}))
            except dialect.loaded_dbapi.OperationalError as error:
                if _REFUSED not in str(error):
                    raise
            else:
                if _are_kept(connection):
                    return connection
                connection.close()
            self._at_start, self._is_pooled = False, True
        # A prepared statement does not exist in the pooler's next connection.
        unprepared = {"prepare_threshold": None} if self._is_pooled else {}
        return dialect.connect(*arguments, **options, **unprepared)

    def _begin(self, connection: Connection) -> None:
        if self._at_start:
            return
        names, values = list(self._settings), list(self._settings.values())
        connection.exec_driver_sql(_SET, (names, values))


def _written(settings: dict[str, str]) -> str:
    escaped = {name: _TO_ESCAPE.sub(r"\\\1", value) for name, value in settings.items()}
    return " ".join(f"-c {name}={value}" for name, value in escaped.items())


def _are_kept(connection: Any) -> bool:
    connection.autocommit = True
    answer = connection.execute(_CURRENT, (_MARK,), prepare=False).fetchone()
    connection.autocommit = False
    return bool(answer[0] == "on")
