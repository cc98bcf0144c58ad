"""Migrate, and give each kind of process a login of its own whose password lies in a file; for containers.

    python -m deploy.logins worker=/run/secrets/postgres_worker_password producer=/run/secrets/postgres_producer_password

makes the logins `tweetmill_worker_login` and `tweetmill_producer_login`, or gives them these passwords.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from deploy.migrate import grant, migrate, owner
from schemas import roles
from workers.configuration.settings_sources import read_password
from workers.errors import NotReady, SettingsError, TweetmillError
from workers.settings import Settings, get_settings

KINDS = {"producer": roles.PRODUCER, "worker": roles.WORKER, "reader": roles.READER}


def bring_up(settings: Settings, password_files: Mapping[str, Path]) -> None:
    """Bring tables, rights and logins up to date.

    Args:
        settings: whose DATABASE_URL is that of the owner, who may create roles.
        password_files: by kind of login, a key of `KINDS`.

    Raises:
        SettingsError: an unknown kind, or a password that can't be read.
        NotReady: the owner may not create roles.
        Unavailable: Postgres does not answer.
    """
    passwords = {_role_of(kind): read_password(f"the login of the {kind}", file) for kind, file in password_files.items()}
    migrate(settings)
    refused = grant(settings)
    if refused:
        raise NotReady(refused)
    with owner(settings) as engine, engine.begin() as connection:
        for role, password in passwords.items():
            _ensure(connection, role, password)


def _role_of(kind: str) -> str:
    if kind not in KINDS:
        raise SettingsError(f"there is no such kind of login: write one of {', '.join(KINDS)}, then = and the file of its password")
    return KINDS[kind]


def _ensure(connection: Connection, role: str, password: str) -> None:
    login = f"{role}_login"
    driver: Any = connection.connection.driver_connection
    # Hashed here, so that the password itself is in no statement and no log of the server.
    secret = driver.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()
    if connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :login"), {"login": login}).scalar() is None:
        connection.execute(text(f"CREATE ROLE {login} LOGIN IN ROLE {role}"))
    connection.exec_driver_sql(f"ALTER ROLE {login} PASSWORD '{secret}'")


def main() -> None:
    """Migrate, create the logins, and print what was done."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("logins", nargs="*", metavar="KIND=PASSWORD_FILE")
    given = dict(login.partition("=")[::2] for login in parser.parse_args().logins)
    try:
        bring_up(get_settings(), {kind: Path(file) for kind, file in given.items()})
    except TweetmillError as error:
        sys.stderr.write(f"tweetmill: {error}\n")
        raise SystemExit(1) from None
    sys.stdout.write(f"The tables and rights are up to date; logins: {', '.join(given) or 'none asked for'}\n")


if __name__ == "__main__":
    main()
