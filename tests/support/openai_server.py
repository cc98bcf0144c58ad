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
from typing import Any

from workers.inference.remote import dialect

Request = dict[str, Any]


@dataclass
class Answer:
    """One response of the server: a status, a body, headers, a wait before them and one between the halves of the body, in seconds."""

    status: int = 200
    body: str | bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    drip: float = 0.0


Script = Callable[[int, Request], Answer]


@dataclass
class Server:
    """`script` decides what the nth request gets; without a body it echoes the user's message.

    Attributes:
        prompts: how often the last turn of each request came, by its text.
        answered: the same for those that got a whole 200.
        moments: when each request came.
        lives: what it says when it is asked for its models.
    """

    script: Script
    url: str = ""
    lives: bool = True
    requests: list[Request] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)
    prompts: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
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
def serving(script: Script) -> Iterator[Server]:
    """A server while the block runs."""
    server = Server(script)
    dialect.forget_dialects()  # a port may be that of a server of before

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answer = server.take(request, self.path, self.headers["authorization"])
            time.sleep(answer.wait)
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
            self.send_response(200 if server.lives else 502)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


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
