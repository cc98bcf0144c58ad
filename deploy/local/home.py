"""Lay out the folder of the one-machine stack, and lock it for one stack at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.errors import SettingsError
from workers.file_permissions import FILE, FOLDER, close_to_others, make_private, write_private
from workers.files import sha256
from workers.settings import STACK_FILE

# The kernel's limit on the path of a Unix socket, the longest of ours taken off.
_LONGEST_SOCKET_FOLDER = 103 - len("/postgres/.s.PGSQL.5432")

# What needs no quotes in a URL, in a list of hosts, or in the configuration of a server.
_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
_MOST_WORKERS = 64
# All that lies in a home, ever.
_OURS = frozenset(
    {*("run", "secrets", "valkey", "logs", "postgres", ".postgres.new", "models", "runs", "downloads", "demo", "locks"), STACK_FILE}
)


@dataclass(frozen=True)
class Home:
    """The state folder of one stack (`TWEETMILL_HOME`)."""

    path: Path

    def prepare(self) -> None:
        """Create the folders, for their owner alone whatever the umask.

        Raises:
            SettingsError: it can't be a home.
            OSError: a folder can't be made.
        """
        self._refuse_unusable()
        for folder in (self.path, self.run, self.secrets, self.valkey, self.logs):
            make_private(folder)

    def close(self) -> None:
        """Close to other users what an earlier version left open. What else lies in the folder, or is linked to, keeps its mode."""
        is_ours = {entry.name for entry in self.path.iterdir()} <= _OURS
        found = self.path.stat()
        is_open = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
        if found.st_uid == os.geteuid() and (is_ours or is_open):
            self.path.chmod(FOLDER)
        for name in sorted(_OURS - {self.postgres.name}):
            if (self.path / name).exists():
                close_to_others(self.path / name)

    def _refuse_unusable(self) -> None:
        try:
            str(self.path).encode()
        except UnicodeEncodeError:
            raise SettingsError("TWEETMILL_HOME is not valid UTF-8: name a folder whose name is") from None
        if self.path == Path("/"):
            raise SettingsError("TWEETMILL_HOME is the root of the file system: name a folder of its own")
        if self.path.is_dir() and self.path.stat().st_mode & 0o1002 == 0o002 and self.path.stat().st_uid != os.geteuid():
            raise SettingsError(f"others may write into {self.path}, and it is not yours: set TWEETMILL_HOME to a folder of your own")

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.path / "logs"

    @property
    def run(self) -> Path:
        """The records of processes, the lock, and the sockets where their path is short enough."""
        return self.path / "run"

    @property
    def secrets(self) -> Path:
        """Generated passwords."""
        return self.path / "secrets"

    @property
    def valkey(self) -> Path:
        """Valkey's append-only file."""
        return self.path / "valkey"

    @property
    def postgres(self) -> Path:
        """Postgres's data."""
        return self.path / "postgres"

    @property
    def stack_file(self) -> Path:
        """The addresses that `workers.settings` reads."""
        return self.path / STACK_FILE

    @property
    def sockets(self) -> Path:
        """Where the sockets lie: in `run`, unless the kernel would refuse so long a path, or a client could misread it.

        Postgres's clients take a comma for a list of hosts; a URL has its own reading of other characters.

        Raises:
            SettingsError: when somebody else owns the short folder that would be used instead.
        """
        if len(os.fsencode(self.run)) <= _LONGEST_SOCKET_FOLDER and _PLAIN.fullmatch(str(self.run)):
            return self.run
        digest = sha256(os.fsencode(self.path))[:12]
        short = Path(tempfile.gettempdir()) / f"tweetmill-{os.geteuid()}-{digest}"
        if len(os.fsencode(short)) > _LONGEST_SOCKET_FOLDER or not _PLAIN.fullmatch(str(short)):
            raise SettingsError(
                f"no socket can lie in {self.run} or {short.parent}: set TWEETMILL_HOME or TMPDIR to a short and plain path"
            )
        make_private(short)
        if short.is_symlink() or short.stat().st_uid != os.geteuid():
            raise SettingsError(f"{short} belongs to somebody else: set TWEETMILL_HOME to a shorter path than {self.path}")
        short.chmod(FOLDER)
        return short

    def forget_sockets(self) -> None:
        """Remove the folders for sockets, where they lie elsewhere and are empty."""
        with contextlib.suppress(OSError, SettingsError):
            if self.sockets != self.run:
                for folder in (self.sockets / "postgres", self.sockets):
                    folder.rmdir()

    def secret(self, name: str) -> Path:
        """Return the file of a generated password, made when it is first asked for."""
        path = self.secrets / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24) + "\n")
        return path

    @property
    def lock_file(self) -> Path:
        """The lock that a supervisor holds from its first moment to its last."""
        return self.run / "lock"

    @property
    def valkey_lock_file(self) -> Path:
        """The lock that a Valkey holds while it uses the append-only file, and its children that write it."""
        return self.run / "valkey.lock"

    @property
    def supervisor_file(self) -> Path:
        """The record of the supervisor's process."""
        return self.run / "supervisor.json"

    def lock(self, file: Path | None = None) -> int | None:
        """Return a file descriptor that holds this home until it and its copies are closed; None when another process has it.

        Args:
            file: another of the locks than that of the whole home.
        """
        descriptor = os.open(file or self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def request_workers(self, count: int) -> None:
        """Ask the supervisor of this home to have at least `count` workers."""
        write_private(self.run / "wish", str(count))

    def take_requested_workers(self) -> int | None:
        """Return how many workers were asked for since the last call; None when none were, or the file holds no number."""
        request = self.run / "wish"
        try:
            wanted = request.read_text()
            request.unlink()
            return min(_MOST_WORKERS, int(wanted))
        except (OSError, ValueError):
            return None

    def read_stack(self) -> dict[str, Any]:
        """Return what `stack.json` says; empty when there is none, or it says nothing that can be believed."""
        try:
            stack = json.loads(self.stack_file.read_text())
        except (OSError, ValueError, RecursionError):
            return {}
        return stack if isinstance(stack, dict) and _is_sound(stack) else {}

    def write_stack(self, stack: dict[str, Any]) -> None:
        """Replace `stack.json`; no reader sees half of it."""
        write_private(self.stack_file, json.dumps(stack, indent=2) + "\n")


def _is_sound(stack: dict[str, Any]) -> bool:
    processes = stack.get("processes", [])
    kept = {"name": str, "pid": int | None, "restarts": int, "left": bool}
    return (
        isinstance(stack.get("settings", {}), dict)
        and isinstance(stack.get("workers", 0), int)
        and isinstance(processes, list)
        and all(isinstance(each, dict) and all(isinstance(each.get(name), kind) for name, kind in kept.items()) for each in processes)
    )
