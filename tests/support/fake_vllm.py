"""A program that behaves as `vllm serve` does, without a model: it starts slowly, asks for its key, loads adapters, dies or hangs as told.

`installed` writes it as an executable. What each start does is the next line of `plan.jsonl` in the program's folder, and the last line for
all further ones: `{"slow": 0.3, "dies_at": 5, "code": 9, "says": "…", "hangs_at": 5, "stops_at": 5}`, where the numbers count chat
requests of that start, and 0 is before it serves. What was done stands in `done.jsonl` there. Like vLLM it has a child, which alone would
compute.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socketserver
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

PLAN, DONE = "plan.jsonl", "done.jsonl"


def installed(folder: Path, *plan: dict[str, Any]) -> Path:
    """Write the program into a folder with what its starts do; return its path, for `TWEETMILL_VLLM_PROGRAM`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PLAN).write_text("\n".join(json.dumps(one) for one in plan or ({},)))
    program = folder / "vllm"
    # A line `#!` can't name an interpreter whose path has a space, so a shell becomes it.
    itself = folder / "vllm.py"
    itself.write_text(Path(__file__).read_text())
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(itself))} "$@"\n')
    program.chmod(0o755)
    return program


def done(folder: Path, what: str = "") -> list[dict[str, Any]]:
    """What was done so far, of one kind: `start`, `load` or `chat`."""
    try:
        lines = [json.loads(line) for line in (folder / DONE).read_text().splitlines()]
    except FileNotFoundError:
        return []
    return [line for line in lines if not what or line["what"] == what]


class _Fake:
    def __init__(self, folder: Path, arguments: list[str]) -> None:
        self.folder = folder
        self.base = arguments[1]
        self.options = dict(zip(arguments, [*arguments[1:], ""], strict=True))
        self.key = os.environ["VLLM_API_KEY"]
        self.adapters: set[str] = set()
        self.chats = 0
        self.lock = threading.Lock()
        started = len(done(folder, "start"))
        plan = (folder / PLAN).read_text().splitlines()
        self.plan: dict[str, Any] = json.loads(plan[min(started, len(plan) - 1)])
        self.child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        about = {"base": self.base, "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"), "environment": sorted(os.environ)}
        self.note("start", pid=os.getpid(), child=self.child.pid, arguments=arguments, **about)

    def note(self, what: str, **fields: Any) -> None:
        with (self.folder / DONE).open("a") as file:
            file.write(json.dumps({"what": what, **fields}) + "\n")

    def misbehave(self) -> None:
        """Do what the plan has for this number of requests."""
        if self.plan.get("dies_at") == self.chats:
            print(self.plan.get("says", "Engine core initialization failed"), flush=True)  # noqa: T201
            os._exit(self.plan.get("code", 9))
        if self.plan.get("stops_at") == self.chats:
            os.kill(os.getpid(), signal.SIGSTOP)

    def chat(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer with the opening of the last turn."""
        with self.lock:
            self.chats += 1
            self.misbehave()
            hangs = "hangs_at" in self.plan and self.chats >= self.plan["hangs_at"]
        if hangs:
            time.sleep(600)
        time.sleep(self.plan.get("answer", 0.0))
        model = asked["model"]
        if model != self.options["--served-model-name"] and model not in self.adapters:
            return 404, {"error": {"message": f"The model `{model}` does not exist.", "type": "NotFoundError", "code": 404}}
        text = " ".join(asked["messages"][-1]["content"].split()[:6])
        self.note("chat", model=model, base=self.base, pid=os.getpid(), text=asked["messages"][-1]["content"])
        choices = [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}] * asked.get("n", 1)
        return 200, {"choices": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 6}}

    def load(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Load an adapter, as `VLLM_ALLOW_RUNTIME_LORA_UPDATING` allows."""
        name, folder = asked["lora_name"], Path(asked["lora_path"])
        if os.environ.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING") != "1" or "--enable-lora" not in self.options:
            return 404, {"detail": "Not Found"}
        if not (folder / "adapter_config.json").is_file():
            return 404, {"error": {"message": f"No adapter found for {folder}", "code": 404}}
        self.note("load", name=name, folder=str(folder))
        self.adapters.add(name)
        return 200, {}


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 256


def serve(fake: _Fake) -> None:
    """Load for as long as the plan says, then serve."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/health":
                return self.say(200, {})
            return self.say(200, {"data": [{"id": name} for name in (fake.options["--served-model-name"], *sorted(fake.adapters))]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.headers["authorization"] != f"Bearer {fake.key}":
                return self.say(401, {"error": "Unauthorized"})
            return self.say(*(fake.load(asked) if self.path.endswith("/load_lora_adapter") else fake.chat(asked)))

        def say(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "socket"

        def log_message(self, *_: object) -> None:
            pass

    time.sleep(fake.plan.get("slow", 0.0))
    fake.misbehave()
    with _Server(fake.options["--uds"], Handler) as server:
        print("Application startup complete.", flush=True)  # noqa: T201
        server.serve_forever()


if __name__ == "__main__":
    serve(_Fake(Path(sys.argv[0]).parent, sys.argv[1:]))
