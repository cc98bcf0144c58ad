"""Run what a storm disturbs: real servers behind lines that fail, real workers, and a producer, in a folder of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from sqlalchemy import Engine, create_engine, text

from deploy.local.home import Home
from deploy.local.servers import Postgres, Valkey
from schemas.migrations import migrate
from tests.nemesis.history import History
from tests.nemesis.keeper import Keeper
from tests.nemesis.processes import Census, Found
from tests.support.proxy import Proxy
from tests.support.worker_process import wait_for
from workers.broker import redis_client
from workers.database import connect
from workers.settings import get_settings

LEASE = 4.0  # seconds; WorkerProcess gives it to its workers
# As the lease to its default. It is how long a message waits whose worker was killed between taking and acknowledging it.
SCALE = {"TWEETMILL_LEASE": str(LEASE), "TWEETMILL_HEARTBEAT": "0.5", "TWEETMILL_VISIBILITY_TIMEOUT": "40"}
_DISK_MIB = 256
# Whoever watches must neither hang with Postgres nor be refused by it.
_WATCHING = {"options": "-c statement_timeout=5000 -c default_transaction_read_only=off", "connect_timeout": 3}


class Cluster:
    """Two servers, a line to each, and the keeper of the workers."""

    redis_line: Proxy
    postgres_line: Proxy
    engine: Engine

    def __init__(self, folder: Path, seed: int, history: History, work: Sequence[str]) -> None:
        self.folder = folder
        self.home = Home(folder / "home")
        self.history = history
        self.name = f"{folder.name}-{os.getpid()}"
        self.model = folder / "tiny"
        self.census = Census(self.name)
        self.valkey, self.postgres = Valkey(self.home), Postgres(self.home)
        self.keeper = Keeper(self.name, folder, history, self.environment, [str(history.path), str(seed), str(self.model), *work])
        self.small_disk = False
        self._lines = contextlib.ExitStack()

    @property
    def runs(self) -> Path:
        """Where trainings keep their files."""
        return self.home.path / "runs"

    def start(self) -> None:
        """Servers up, tables made, workers ready."""
        self.home.prepare()
        self.small_disk = self._mount_runs()
        self.valkey.start()
        self._start_postgres()
        here = {"TWEETMILL_HOME": self.home.path, "DATABASE_URL": self.postgres.url, "CELERY_BROKER_URL": self.valkey.url}
        os.environ.update({name: str(value) for name, value in here.items()} | SCALE)
        get_settings.cache_clear()
        self.engine = create_engine(self.postgres.url, pool_pre_ping=True, connect_args=_WATCHING)
        migrate(connect(self.postgres.url))
        self.redis_line = self._lines.enter_context(Proxy(self.valkey.socket))
        self.postgres_line = self._lines.enter_context(Proxy(self.postgres.sockets / ".s.PGSQL.5432"))
        self.keeper.start()
        seats = self.keeper.seats
        if not wait_for(lambda: all(seat.ready for seat in seats), 90):
            logs = "\n".join(seat.worker.log[-2000:] for seat in seats if seat.worker)
            raise RuntimeError(f"the workers do not come up:\n{logs}")

    def _mount_runs(self) -> bool:
        """Put the runs on a small disk that can be filled; False where this process may not mount."""
        self.runs.mkdir(exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MIB}m", "tmpfs", str(self.runs)]
        return shutil.which("mount") is not None and subprocess.run(mount, capture_output=True, check=False).returncode == 0

    def _start_postgres(self) -> None:
        """Start it with the one setting that needs a restart: the checker asks which commit came first."""
        self.postgres.start()
        self.set_for_all("SET track_commit_timestamp = on")
        self.postgres.stop()
        self.postgres.start()

    def environment(self) -> dict[str, str]:
        """How workers and producers reach the servers: through the lines."""
        redis, postgres = urlsplit(self.valkey.url), urlsplit(self.postgres.url)
        user = redis.netloc.rpartition("@")[0]
        login = postgres.netloc.rpartition("@")[0]
        database = f"{postgres.path}?sslmode=disable&gssencmode=disable"
        return {
            "CELERY_BROKER_URL": f"redis://{user + '@' if user else ''}127.0.0.1:{self.redis_line.port}/0",
            "DATABASE_URL": f"postgresql://{login}@127.0.0.1:{self.postgres_line.port}{database}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            **SCALE,
        }

    # Past the lines: what the storm itself asks, and what people ask of the ledger.

    def redis(self) -> Any:
        """A client."""
        return redis_client(self.valkey.url)

    def sql(self, statement: str, **values: Any) -> list[Any]:
        """The rows that a statement returns, committed."""
        with self.engine.begin() as connection:
            done = connection.execute(text(statement), values)
            return list(done.all()) if done.returns_rows else []

    def set_for_all(self, setting: str) -> None:
        """`ALTER SYSTEM`, and let Postgres read it."""
        with connect(self.postgres.url).connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"ALTER SYSTEM {setting}"))
            connection.execute(text("SELECT pg_reload_conf()"))

    def found(self, role: str) -> list[Found]:
        """The living processes of a role, oldest first."""
        return sorted((one for one in self.census.take() if one.role == role), key=lambda one: one.started)

    # The end

    def close(self) -> None:
        """End everything that was started, whatever state it is in."""
        self.keeper.stop()
        for pid in {child.pid for child in psutil.Process().children(recursive=True)} | {one.pid for one in self.census.take()}:
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).kill()
        self._lines.close()
        for server in (self.valkey, self.postgres):
            process = server.process()
            if process is not None:
                with contextlib.suppress(psutil.Error):
                    process.resume()
            server.stop()
        if self.small_disk:
            self._unmount_runs()

    def _unmount_runs(self) -> None:
        """Keep the runs' files for whoever reads the history."""
        (self.runs / "filler").unlink(missing_ok=True)
        with contextlib.suppress(OSError, shutil.Error):
            shutil.copytree(self.runs, self.folder / "runs", dirs_exist_ok=True)
        subprocess.run(["umount", "-l", str(self.runs)], check=False, capture_output=True)
