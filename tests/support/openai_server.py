"""A chat server on loopback: a real HTTP server that is busy, broken or slow, or answers nonsense, as its script says.

with serving(always(Answer(429, headers={"retry-after": "1"}))) as server: ...
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from workers.inference.remote import dialect

Request = dict[str, Any]


@dataclass
class Answer:
    """One response of the server: a status, a body, headers, a wait before them and one between the halves of the body, in seconds.

    `until` is waited for as well, for 20 seconds at most.
    """

    status: int = 200
    body: str | bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    drip: float = 0.0
    until: threading.Event | None = None


Script = Callable[[int, Request], Answer]


@dataclass
class Vllm:
    """What a vLLM server with adapters does: it answers 404 to a name until an adapter was loaded from a folder that it sees.

    Attributes:
        base: the name of the served model, which always answers.
        max_lora_rank: above it an adapter is refused.
        updates: `VLLM_ALLOW_RUNTIME_LORA_UPDATING`; without it there is no request to load one.
        resolves: a folder in which a resolver finds adapters, if their base is `base`.
        loaded: names of adapters.
    """

    base: str
    max_lora_rank: int = 16
    updates: bool = True
    resolves: Path | None = None
    loaded: set[str] = field(default_factory=set)
    loads: list[str] = field(default_factory=list)

    def load(self, asked: Request) -> Answer:
        """Load an adapter."""
        if not self.updates:
            return Answer(404, body='{"detail": "Not Found"}')
        name, folder = asked["lora_name"], Path(asked["lora_path"])
        self.loads.append(str(folder))
        if name in self.loaded:
            return _error(400, f"The lora adapter '{name}' has already been loaded.")
        if not (folder / "adapter_config.json").is_file():
            return _error(404, f"Loading lora {name} failed: No adapter found for {folder}")
        config = json.loads((folder / "adapter_config.json").read_text())
        if config["r"] > self.max_lora_rank:
            return _error(
                400, f"Call to add_lora method failed: LoRA rank {config['r']} is greater than max_lora_rank {self.max_lora_rank}."
            )
        if config.get("use_dora"):
            return _error(400, "Call to add_lora method failed: vLLM does not yet support DoRA.")
        self.loaded.add(name)
        return Answer(body=f"Success: LoRA adapter '{name}' added successfully.")

    def knows(self, name: str) -> bool:
        """Whether it answers to a name, if a resolver helps."""
        config = self.resolves / name / "adapter_config.json" if self.resolves else None
        if config is not None and config.is_file() and json.loads(config.read_text())["base_model_name_or_path"] == self.base:
            self.loaded.add(name)
        return name == self.base or name in self.loaded


def _error(status: int, message: str) -> Answer:
    return Answer(status, body=json.dumps({"error": {"message": message, "type": "BadRequestError", "code": status}}))


@dataclass
class Server:
    """`script` decides what the nth request gets; without a body it echoes the user's message.

    Attributes:
        prompts: how often the last turn of each request came, by its text.
        answered: the same for those that got a whole 200.
        moments: when each request came.
        connections: how many were opened.
        lives: what it says when it is asked for its models.
        vllm: it behaves as a vLLM with these rules; None for a server without adapters that are loaded at run time.
    """

    script: Script
    url: str = ""
    lives: bool = True
    vllm: Vllm | None = None
    requests: list[Request] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)
    prompts: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    open_now: int = 0
    open_most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, request: Request, path: str, authorization: str | None) -> Answer:
        """Note a request and decide what it gets."""
        with self.lock:
            self.requests.append(request | {"path": path})
            self.authorizations.append(authorization)
            self.moments.append(time.monotonic())
            self.prompts[asked(request)] += 1
            answer = self.script(len(self.requests), request)
            self.open_now += 1
            self.open_most = max(self.open_most, self.open_now)
        return answer


@contextmanager
def serving(script: Script, vllm: Vllm | None = None) -> Iterator[Server]:
    """A server while the block runs."""
    server = Server(script, vllm=vllm)
    dialect.forget_dialects()  # a port may be that of a server of before

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            with server.lock:
                server.connections += 1

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path.endswith("/load_lora_adapter"):
                return self._say(server.vllm.load(request) if server.vllm else Answer(404, body='{"detail": "Not Found"}'))
            if server.vllm and not server.vllm.knows(request["model"]):
                return self._say(_error(404, f"The model `{request['model']}` does not exist."))
            answer = server.take(request, self.path, self.headers["authorization"])
            time.sleep(answer.wait)
            if answer.until is not None:
                answer.until.wait(20)
            with server.lock:
                server.open_now -= 1
            said = answer.body if answer.body is not None else echo(request)
            body = said if isinstance(said, bytes) else said.encode()
            try:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                half = len(body) // 2 if answer.drip else 0
                self.wfile.write(body[:half])
                self.wfile.flush()
                time.sleep(answer.drip)
                self.wfile.write(body[half:])
                with server.lock:
                    server.answered[asked(request)] += answer.status == 200
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def do_GET(self) -> None:
            names = sorted({server.vllm.base} | server.vllm.loaded) if server.vllm else []
            self._say(Answer(200 if server.lives else 502, body=json.dumps({"data": [{"id": name} for name in names]})))

        def _say(self, answer: Answer) -> None:
            body = str(answer.body).encode()
            self.send_response(answer.status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    http = _Listening(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # of hundreds that connect at once, more than the usual 5 wait where the machine is busy


def always(answer: Answer) -> Script:
    """The same for everybody."""
    return lambda _, __: answer


def asked(request: Request) -> str:
    """The last turn."""
    return str(request["messages"][-1]["content"])


def tweet(request: Request) -> str:
    """The tweet of a teacher's prompt."""
    return asked(request).partition("<tweet>")[2].partition("</tweet>")[0]


def echo(request: Request) -> str:
    """The user's message as the answer, and with a number as each further one."""
    return completion([f" {asked(request)} {n}".rstrip("0 ") + "\n" for n in range(request.get("n", 1))])


def completion(texts: list[str]) -> str:
    """The body of a chat completion: 7 tokens in, 2 out a text."""
    choices = [{"message": {"role": "assistant", "content": text}} for text in texts]
    return json.dumps({"choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 2 * len(choices)}})


def taught(request: Request, *texts: str) -> str:
    """What a good teacher answers: `texts` in turn, as JSON where that was asked for; without any, the tweet as a sentence."""
    said = texts or (tweet(request).capitalize().rstrip(".") + ".",)
    several = [said[n % len(said)] for n in range(request.get("n", 1))]
    return completion([json.dumps({"text": text}) for text in several] if "response_format" in request else several)


def teaching(_: int, request: Request) -> Answer:
    """The script of a good teacher."""
    return Answer(body=taught(request))
