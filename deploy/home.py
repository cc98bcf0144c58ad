"""The folder that holds the one-machine stack: what lies where, and who may have it at a time."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.errors import SettingsError
from workers.settings import STACK_FILE

# The kernel's limit on the path of a Unix socket, the longest of ours taken off.
_LONGEST_SOCKET_FOLDER = 103 - len("/postgres/.s.PGSQL.5432")


@dataclass(frozen=True)
class Home:
    """The state folder of one stack (`TWEETMILL_HOME`)."""

    path: Path

    def prepare(self) -> None:
        """Create the folders; secrets, data and logs are for their owner alone."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.run.mkdir(exist_ok=True)
        for private in (self.secrets, self.valkey, self.logs):
            private.mkdir(exist_ok=True)
            private.chmod(0o700)

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.path / "logs"

    @property
    def run(self) -> Path:
        """Who runs (a file a process), the lock, and the sockets where their path is short enough."""
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
        """Where the sockets lie: in `run`, unless the kernel would refuse so long a path.

        Raises:
            SettingsError: when somebody else owns the short folder that would be used instead.
        """
        if len(os.fsencode(self.run)) <= _LONGEST_SOCKET_FOLDER:
            return self.run
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        short = Path(tempfile.gettempdir()) / f"tweetmill-{os.geteuid()}-{digest}"
        short.mkdir(mode=0o711, exist_ok=True)
        if short.is_symlink() or short.stat().st_uid != os.geteuid():
            raise SettingsError(f"{short} belongs to somebody else: set TWEETMILL_HOME to a shorter path than {self.path}")
        return short

    def secret(self, name: str) -> Path:
        """The file of a generated password, made when it is first asked for."""
        path = self.secrets / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24) + "\n")
        return path

    def lock(self) -> int | None:
        """A file descriptor that holds this home until it and its copies are closed; None when another process has it."""
        descriptor = os.open(self.run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def wish_for_workers(self, count: int) -> None:
        """Ask the supervisor of this home to have so many workers at least."""
        write_private(self.run / "wish", str(count))

    def take_wish(self) -> int | None:
        """How many workers somebody wishes for; None when nobody has since it was last asked."""
        wish = self.run / "wish"
        try:
            count = int(wish.read_text())
        except FileNotFoundError:
            return None
        wish.unlink(missing_ok=True)
        return count

    def read_stack(self) -> dict[str, Any]:
        """What `stack.json` says; empty when there is none."""
        try:
            return dict(json.loads(self.stack_file.read_text()))
        except (FileNotFoundError, ValueError):
            return {}

    def write_stack(self, stack: dict[str, Any]) -> None:
        """Replace `stack.json` at once, so that no reader sees half of it."""
        write_private(self.stack_file, json.dumps(stack, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, in one step."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    aside.replace(path)
