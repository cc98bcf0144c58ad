"""Answers by a server that this worker's supervisor runs: it is waited for, and what was under way when it died is asked again."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from schemas.chat import Prompt
from workers.base_models.files import check
from workers.base_models.loading import fetch_base
from workers.catalog.models import locate_base
from workers.catalog.removal import merged_models
from workers.errors import UserError
from workers.inference.engine import Engine, EngineError, Generation, Sampling, each_prompt
from workers.inference.remote.client import Backoff
from workers.inference.remote.engine import OpenAIEngine
from workers.inference.served import merging
from workers.inference.served.lease import Lease, ServerGone
from workers.inference.served.process import Address
from workers.inference.served.program import BASE_NAME, Program, Served
from workers.settings import Settings

logger = logging.getLogger(__name__)

TIMEOUT = 120.0
"""Seconds for one request, of which some hundred may be under way."""

BACKOFF = Backoff(tries=4, hangs=1)

T = TypeVar("T")
R = TypeVar("R")


class ServedEngine:
    """The server of this worker with one base model, and its adapters.

    Args:
        program: that serves.
        home: of the worker.
        base: folder of the base model.
        merged: folder for models that are merged into their base.
        concurrency: requests that are open at once, at most.
        timeout: seconds for one request.
        backoff: between tries.

    Raises:
        UserError: the base can't be used.
    """

    def __init__(
        self,
        program: Program,
        home: Path,
        base: Path,
        merged: Path,
        concurrency: int = 8,
        timeout: float = TIMEOUT,
        backoff: Backoff = BACKOFF,
    ) -> None:
        check(base)
        self._program, self._home, self._base, self._merged = program, home, base.resolve(), merged
        self._concurrency, self._timeout, self._backoff = concurrency, timeout, backoff
        self._asking: tuple[Address, OpenAIEngine] | None = None
        self._said = ""
        self._choosing = threading.Lock()

    @classmethod
    def of(cls, program: Program, settings: Settings, base: str, concurrency: int) -> ServedEngine:
        """Return what asks the servers of a worker with these settings; `base` is a folder or a hub id.

        Raises:
            UserError: the base can't be used.
        """
        merged = settings.models_folder / merged_models.FOLDER
        return cls(program, settings.home, fetch_base(locate_base(base)), merged, settings.requests_at_once(concurrency))

    def close(self) -> None:
        """Close the connections; the server goes on until it idles for long."""
        with self._choosing:
            if self._asking is not None:
                self._asking[1].close()
            self._asking = None

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        adapter: Path | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """See `Engine.generate`.

        Raises:
            EngineError: the server died again and again.
            Busy: its GPU is held.
            Unavailable: it never served.
            UserError: it can't serve this model.
        """
        return each_prompt(self, prompts, sampling, adapter, on_progress)

    def concurrently(
        self,
        work: Callable[[Engine, T], R],
        items: Iterable[T],
        on_progress: Callable[[int], None] | None = None,
        adapters: Sequence[Path] = (),
    ) -> Iterator[list[tuple[int, R]]]:
        """See `ConcurrentEngine.concurrently`; it raises what `generate` does. All items are kept until they are done."""
        report = on_progress or (lambda _: None)
        left = dict(enumerate(items))
        if not left:
            return
        served, is_merged = self._model_of(adapters, lambda: report(0))
        with closing(Lease(self._home, served)) as lease:

            def tick(done: int) -> None:
                report(done)
                lease.check()

            while left:
                engine, number = self._engine(lease.server(lambda waiting: self._wait(waiting, report)))
                places = list(left)
                asked = (left[place] for place in places)
                try:
                    for done in engine.concurrently(lambda on, item: work(_Asked(on, is_merged), item), asked, tick):
                        for at, _ in done:
                            del left[places[at]]
                        yield [(places[at], result) for at, result in done]
                except ServerGone:
                    logger.warning("engine: the server is gone; %d of the prompts under way are asked again", len(left))
                except EngineError as error:
                    if isinstance(error, UserError):
                        raise
                    lease.suspect(number, str(error))

    def _wait(self, waiting: str, report: Callable[[int], None]) -> None:
        if waiting and waiting.partition(",")[0] != self._said:
            self._said = waiting.partition(",")[0]
            logger.info("engine: %s", waiting)
        report(0)

    def _engine(self, address: Address) -> tuple[OpenAIEngine, int]:
        """Return what asks this server; what asked the one before is closed, with what hangs in it."""
        with self._choosing:
            if self._asking is None or self._asking[0] != address:
                if self._asking is not None:
                    self._asking[1].close()
                engine = OpenAIEngine(
                    address.url,
                    address.key,
                    BASE_NAME,
                    self._concurrency,
                    timeout=self._timeout,
                    backoff=self._backoff,
                    socket=None if address.socket is None else Path(address.socket),
                )
                self._asking = (address, engine)
            return self._asking[1], address.number

    def _model_of(self, adapters: Sequence[Path], on_wait: Callable[[], None]) -> tuple[Served, bool]:
        """Return with what the server must be started for these tuned models, and whether that is one of them, merged.

        Raises:
            UserError: they need more than one server.
        """
        wanted = list(dict.fromkeys(adapters))
        unservable = [tuned for tuned in wanted if not merging.is_served_as_adapter(tuned, self._program.rank)]
        if self._program.merges and len(wanted) == 1:
            unservable = wanted
        if not unservable:
            return self._served(self._base), False
        if len(wanted) > 1:
            raise UserError(
                f"the models {', '.join(sorted(tuned.name for tuned in wanted))} need a server each, since {unservable[0].name} is no"
                f" adapter that {self._program.name} loads: use TWEETMILL_ENGINE=transformers for this chain"
            )
        folder = merging.merged(self._base, unservable[0], self._merged, on_wait)
        return self._served(folder), True

    def _served(self, folder: Path) -> Served:
        """Return a base with the tokens that its server allows for, which no model may exceed."""
        config = json.loads((folder / "config.json").read_bytes())
        own = config.get("max_position_embeddings")
        return Served(str(folder), min(self._program.longest, own) if isinstance(own, int) and own > 0 else self._program.longest)


@dataclass(frozen=True)
class _Asked:
    """The engine of the server as one piece of work asks it: a model that is merged into its base is the server's base."""

    engine: Engine
    is_merged: bool

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        adapter: Path | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """See `Engine.generate`."""
        return self.engine.generate(prompts, sampling, None if self.is_merged else adapter, on_progress)
