"""Create and start Postgres with the programs of its wheel, without a password and without the path of its home.

Postgres refuses to run as root. Started by root it runs as a user of its own: an id that no account has, and that nobody can become who is
not root. Its data and its socket stay in the home, whatever folders above it are closed: the server runs in its data folder, and reaches
its socket's through a descriptor that it inherits, so that it looks up no path from the root on. Only the user that started it may connect;
the kernel says who that is (`peer`).
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.local import postgres_user as users
from deploy.local.postgres_programs import programs
from deploy.local.processes import spawn
from workers.errors import SettingsError, Unavailable
from workers.file_permissions import FILE, make_private
from workers.files import atomic_folder, atomic_write

USER = DATABASE = "tweetmill"
SOCKET_FILE = ".s.PGSQL.5432"
SHUTDOWN_SIGNALS = ((0.0, signal.SIGINT), (20.0, signal.SIGQUIT), (30.0, signal.SIGKILL))

_HERE = "/proc/self/cwd"
_INITDB = ("--auth=reject", "--encoding=UTF8", "--locale=C", "--no-instructions", "-U", USER)
# Terse, and without the statement: an error must not carry a tweet into the log.
_SERVER = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}
_RIGHTS = "pg_hba.conf", "local all all peer map=stack\n"
_NAMES = "pg_ident.conf", 'stack "{}" all\n'


def start(data: Path, sockets: Path, log: Path, environment: Mapping[str, str]) -> int:
    """Start the server of `data`, which is made if need be, with its socket in the folder `sockets`; return its process's id.

    Raises:
        Unavailable: it does not start.
        SettingsError: its wheel is missing, or it can't be run on this machine.
    """
    caller = _account()
    user = users.owner_of(data)
    bin_folder = programs(user)
    make_private(sockets)
    if not (data / "PG_VERSION").exists():
        _make(bin_folder, data, log, environment, user)
    for folder in (data, sockets):
        users.give(folder, user)
    _write(data, *_RIGHTS, user)
    _write(data, _NAMES[0], _NAMES[1].format(caller), user)
    with _opened(sockets) as (descriptor, socket_folder):
        options = {**_SERVER, "unix_socket_directories": socket_folder}
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = [str(bin_folder / "postgres"), "-D", _here(data), *arguments]
        try:
            return spawn(command, log, environment=environment, folder=data, survives=True, keep=descriptor, user=user).pid
        except OSError as error:
            raise Unavailable(f"Postgres can't be started: {error.strerror}") from error


def answers(sockets: Path) -> bool:
    """Return whether the server takes connections."""
    import psycopg

    try:
        with _connect(sockets):
            return True
    except psycopg.OperationalError:
        return False


def create_database(sockets: Path) -> None:
    """Create the database on the first start."""
    with _connect(sockets) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
            connection.execute(f"CREATE DATABASE {DATABASE}")


def _connect(sockets: Path) -> Any:
    import psycopg

    return psycopg.connect(host=str(sockets), user=USER, dbname="postgres", connect_timeout=5, autocommit=True)


def _account() -> str:
    """Return the name of the user that runs this, by which Postgres knows it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise SettingsError(
            f"this user (id {os.geteuid()}) has no account, and Postgres wants one: run as a user who has, or set DATABASE_URL"
        ) from None


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[tuple[int, ...], str]]:
    """Open a folder for a child: the descriptor to inherit and the path that reaches it; without /proc, the path itself."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    path = Path(f"/proc/self/fd/{descriptor}")
    try:
        yield ((descriptor,), str(path)) if path.exists() else ((), str(folder))
    finally:
        os.close(descriptor)


def _here(data: Path) -> str:
    return _HERE if Path(_HERE).exists() else str(data)


def _make(bin_folder: Path, data: Path, log: Path, environment: Mapping[str, str], user: int | None) -> None:
    # Made aside and renamed: an interrupted start leaves no half of a database behind.
    with atomic_folder(data, data.with_name(f".{data.name}.new")) as aside:
        _init(bin_folder, aside, log, environment, user)


def _init(bin_folder: Path, aside: Path, log: Path, environment: Mapping[str, str], user: int | None) -> None:
    make_private(aside)
    maker = None if user is None else users.idle_account()
    users.give(aside, maker)
    identity: dict[str, Any] = {} if maker is None else {"user": maker, "group": maker, "extra_groups": []}
    command = [str(bin_folder / "initdb"), *_INITDB, "-D", _here(aside)]
    with log.open("ab") as output:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=aside,
            env=dict(environment),
            start_new_session=True,
            check=False,
            umask=0o077,
            **identity,
        )
    if done.returncode:
        raise Unavailable(f"Postgres: initdb ended with {done.returncode}; {log} says why")
    users.give(aside, user)


def _write(data: Path, name: str, content: str, user: int | None) -> None:
    """Replace a file of Postgres's, never through what another user laid in its place."""
    with atomic_write(data / name, mode=FILE) as file:
        file.write(content.encode())
        if user is not None:
            os.fchown(file.fileno(), user, user)
