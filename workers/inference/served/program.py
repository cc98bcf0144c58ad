"""Describes a program that serves models with the OpenAI chat API, and how patient its supervisor is with it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

BASE_NAME = "base"
"""Under which every server has the model that it was started with."""


@dataclass(frozen=True)
class Program:
    """A program that serves one base model at a time, on one device.

    Attributes:
        name: as `TWEETMILL_ENGINE` has it.
        command: with `{model}` for the base's folder, `{length}` for the tokens of a prompt and its answer, and where it listens:
            `{socket}` for a Unix socket, or else `{port}` on loopback.
        key_variable: of the environment, for the key that the server must ask for.
        environment: what is set for it, unless the operator set it.
        fixed: what is set for it in any case.
        health: the path of the URL that answers 200 once it serves.
        refusals: what its log says of a base that it never serves, as a pattern, to the reason. Others may pass.
        rank: of the adapters that it loads at run time, at most; what it does not load is merged into its base. 0: it loads none.
        merges: an adapter that is asked for alone is merged, too, since it would cost much at every token. Several are loaded.
        longest: tokens of a prompt and its answer, at most: a model's whole context would take memory that many short prompts need.
        on_gpu: it has a server on each GPU; otherwise one on the CPU.
    """

    name: str
    command: tuple[str, ...]
    key_variable: str
    environment: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    health: str = "/health"
    refusals: Mapping[str, str] = field(default_factory=dict)
    rank: int = 0
    merges: bool = False
    longest: int = 4096
    on_gpu: bool = True

    @property
    def on_socket(self) -> bool:
        """Whether it listens on a Unix socket, which other users of the machine can't reach."""
        return any("{socket}" in word for word in self.command)

    def started(self, served: Served, socket: Path, port: int) -> list[str]:
        """Return the command that serves a model."""
        places = {"model": served.folder, "length": str(served.length), "socket": str(socket), "port": str(port)}
        return [re.sub(r"\{(model|length|socket|port)\}", lambda match: places[match[1]], word) for word in self.command]

    def refusal(self, log: str) -> str | None:
        """Return why a base is never served, if its log says so."""
        return next((reason for pattern, reason in self.refusals.items() if re.search(pattern, log, re.MULTILINE)), None)


@dataclass(frozen=True)
class Served:
    """A base that a server is started with: its folder, and the tokens that a prompt and its answer may have together."""

    folder: str
    length: int


@dataclass(frozen=True)
class Patience:
    """How long a supervisor waits, in seconds, and how often it tries.

    Attributes:
        start: until a server serves.
        hang: for which it may leave its health unanswered.
        look: between two looks at it.
        first: before it is started again; twice as long each further time in a row, up to `longest`.
        longest: see `first`.
        deaths: in a row, after which it is given up.
        healthy: after which a death is no longer in a row with those before.
        stop: between SIGTERM and SIGKILL.
        report: between two lines about a start.
        idle: without a request, after which it leaves its GPU.
    """

    start: float = 900.0
    hang: float = 30.0
    look: float = 1.0
    first: float = 1.0
    longest: float = 30.0
    deaths: int = 3
    healthy: float = 60.0
    stop: float = 20.0
    report: float = 15.0
    idle: float = 300.0

    def rest(self, deaths: int) -> float:
        """Return the wait before the next start after so many deaths in a row."""
        return min(self.longest, self.first * 2.0 ** max(0, deaths - 1))


@dataclass(frozen=True)
class Task:
    """What a supervisor is told when it starts.

    Attributes:
        program: that it runs.
        patience: with it.
        devices: GPUs, a server each, as the driver names them; none: one server on the CPU.
        sockets: folder of its sockets, for their owner alone.
        logs: folder of the servers' logs.
        locks: folder of the GPUs' locks.
        environment: of the servers, to which the program adds.
    """

    program: Program
    patience: Patience
    devices: tuple[str, ...]
    sockets: str
    logs: str
    locks: str
    environment: Mapping[str, str]

    def encoded(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def decoded(cls, text: str) -> Task:
        """Return what `encoded` wrote."""
        read = json.loads(text)
        told = read.pop("program")
        program = Program(**told | {"command": tuple(told["command"])})
        return cls(program, Patience(**read.pop("patience")), tuple(read.pop("devices")), **read)
