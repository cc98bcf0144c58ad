"""A real Valkey that is started as a test wants it: with wrong options, with users, behind TCP."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import AuthenticationError, RedisError

from deploy.local.servers import valkey_binary

ROOT = Path(__file__).resolve().parents[2]
SAFE = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def valkey(folder: Path, options: Mapping[str, object] | None = None, *, port: int | None = None) -> Iterator[int]:
    """Run one in `folder` until the block ends; yields its port on 127.0.0.1. `options` win over the safe ones."""
    port = port or free_port()
    own = {"port": port, "bind": "127.0.0.1", "dir": folder, "daemonize": "no", **SAFE, **(options or {})}
    command = [str(valkey_binary()), *(part for name, value in own.items() for part in (f"--{name}", str(value)))]
    with (folder / "valkey.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 20
        while not _listens(port):
            assert time.monotonic() < deadline, (folder / "valkey.log").read_text()
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    try:
        return bool(Redis(port=port, socket_timeout=2).ping())
    except AuthenticationError:
        return True
    except RedisError:
        return False


def make_secrets(folder: Path) -> dict[str, str]:
    """Run what `make secrets` runs, for a copy of what it needs; return the passwords of Redis's users.

    The file of users is `secrets/redis_users.acl` in `folder`.
    """
    for part in ("deploy/docker/make-secrets.sh", "deploy/redis/users.acl.in"):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / part, folder / part)
    subprocess.run(["sh", str(folder / "deploy" / "docker" / "make-secrets.sh")], check=True, capture_output=True)
    files = {"admin": "redis_password", **{user: f"redis_{user}_password" for user in ("worker", "producer", "flower")}}
    return {user: (folder / "secrets" / file).read_text() for user, file in files.items()}
