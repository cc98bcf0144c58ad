"""A real `tweetmill serve` in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.worker_process import wait_for

TOKEN = "a-token-that-nobody-guesses"


class EndpointProcess:
    """An endpoint that serves, with the environment of this process and what is added to it."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = folder / f"serve-{self.port}.log"
        own = {"OMP_NUM_THREADS": "1", "TWEETMILL_THREADS": "1", "HF_HUB_OFFLINE": "1", "TWEETMILL_SERVE_TOKEN": TOKEN}
        program = "import sys; from producers.cli import main; sys.exit(main())"
        wanted = {**os.environ, **own, **environment}
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, "serve", *arguments, "--port", str(self.port)],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={name: value for name, value in wanted.items() if value},
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def client(self, token: str | None = TOKEN) -> httpx.Client:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        with self.client() as client:
            lines = client.get("/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"tweetmill_serve_{name} "))

    def end(self, seconds: float = 30) -> int:
        """Ask it to stop; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)


@contextmanager
def serving(folder: Path, *arguments: str, **environment: str) -> Iterator[EndpointProcess]:
    """Yield an endpoint that is ready."""
    endpoint = EndpointProcess(folder, *arguments, **environment)
    try:
        wait_for(lambda: endpoint.process.poll() is not None or endpoint.is_ready(), seconds=180)
        assert endpoint.process.poll() is None, endpoint.log
        assert endpoint.is_ready(), endpoint.log
        yield endpoint
    finally:
        endpoint.process.kill()
        endpoint.process.wait(timeout=10)
