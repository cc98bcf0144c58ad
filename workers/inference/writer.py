"""Lets a model write, or a chain of two on one base: the one place through which evaluations, comparisons and shards ask an engine.

In a chain the first model cleans the tweet and the second summarises what the first wrote. The guard checks the last answer alone, against
the tweet itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlmodel import Session

from schemas.payloads import Stage
from schemas.tables.models import Model
from workers import clock
from workers.catalog import additions, chains
from workers.catalog.additions import ServedAt
from workers.inference.engine import ConcurrentEngine, Engine, OneServer, Sampling
from workers.inference.engines import engine_elsewhere, engine_for
from workers.inference.guard import FALLBACK_FROM, Guarded, check, doubtful, fallback, guarded, unguarded
from workers.text.prompts import tuned

FEWEST_ROWS = 64
"""Tweets that are given to an engine together at first, and at least: what a local engine decodes together on a CPU."""

SECOND_TRIES = 30
"""Tweets that wait until they are written again together: what a local engine decodes with four beams each at once on a CPU."""

MOST_ROWS = 4096
SECONDS_A_CALL = 4.0
"""What one call for first answers is meant to take. A worker that is killed loses that call, and the tweets that wait for a second try."""

_GROWTH = 4  # times as many rows in the next call, at most: the first calls of an engine are its slowest

Written = tuple[Sequence[int], Sequence[Guarded]]
"""Places of tweets, and what was written for each."""


@dataclass(frozen=True)
class Part:
    """A model that writes: its adapter on the base, None for the base alone, and what it was taught to write."""

    adapter: Path | None
    stage: Stage


@dataclass(frozen=True)
class Drafts:
    """First answers to some tweets.

    Attributes:
        read: what the last model read for each tweet: the tweet, or in a chain what the first model wrote.
        answers: greedy, with the tokens of all models.
    """

    read: Sequence[str]
    answers: Sequence[Guarded]

    def at(self, places: Sequence[int]) -> Drafts:
        """Return those at some places."""
        return Drafts([self.read[place] for place in places], [self.answers[place] for place in places])

    def __add__(self, other: Drafts) -> Drafts:
        """Return these and others behind them."""
        return Drafts([*self.read, *other.read], [*self.answers, *other.answers])


@dataclass(frozen=True)
class Writer:
    """One model or a chain, on one base.

    Attributes:
        base: folder or hub id of the base model; for a server, its name there.
        parts: one model, or the cleaner and the summariser of a chain.
        all_cores: use all cores of the machine, for work that is one job and not a shard among others.
        server: where a server has the model; None: the engine of this worker answers.
    """

    base: str
    parts: tuple[Part, ...]
    all_cores: bool = False
    server: ServedAt | None = None

    @classmethod
    def of(cls, session: Session, model: Model, *, all_cores: bool = False) -> Writer:
        """Return the writer for a model of the catalog.

        Raises:
            UserError: it is a chain, and a part of it is gone.
        """
        parts = tuple(Part(part.adapter, Stage(part.stage)) for part in chains.parts(session, model))
        return cls(model.base, parts, all_cores, additions.served_at(model))

    @property
    def stage(self) -> Stage:
        """What comes out: a summary, or a clean text."""
        return self.parts[-1].stage

    @property
    def engine(self) -> Engine:
        """The engine for the base, which is built when it is first asked for."""
        if self.server is not None:
            return engine_elsewhere(self.base, self.server.url, self.server.key_variable)
        return engine_for(self.base, all_cores=self.all_cores)

    @property
    def _adapters(self) -> tuple[Path, ...]:
        return tuple(part.adapter for part in self.parts if part.adapter is not None)

    def _at_once(self) -> Engine:
        """Return the engine for calls with one part after the other: a server is started with all of them."""
        engine = self.engine
        return OneServer(engine, self._adapters) if isinstance(engine, ConcurrentEngine) and len(self._adapters) > 1 else engine

    def warm_up(self, tweet: str) -> None:
        """Load what is loaded at the first call, such as the adapter, so that it does not count as the time of a tweet."""
        engine = self._at_once()
        for part in self.parts:
            engine.generate([tuned(tweet, part.stage)], Sampling(max_new_tokens=2), part.adapter)

    def draft(self, tweets: Sequence[str], on_progress: Callable[[int], None] | None = None) -> Drafts:
        """Return the first answer to every tweet, unguarded.

        Raises:
            EngineError: nothing can be generated.
        """
        return self._draft(self._at_once(), tweets, on_progress)

    def finish(self, tweets: Sequence[str], drafts: Drafts, on_progress: Callable[[int], None] | None = None) -> list[Guarded]:
        """Return the answers under guard, of which the first ones are known.

        Raises:
            EngineError: nothing can be generated.
        """
        return self._finish(self._at_once(), tweets, drafts, on_progress)

    def write(self, tweets: Sequence[str], *, guard: bool = True, on_progress: Callable[[int], None] | None = None) -> list[Guarded]:
        """Write one text for every tweet, in order; `on_progress` is called now and then, and may raise to stop.

        Raises:
            EngineError: nothing can be generated.
        """
        return self._write(self._at_once(), tweets, guard, on_progress)

    def stream(self, tweets: Sequence[str], *, guard: bool = True, on_progress: Callable[[int], None] | None = None) -> Iterator[Written]:
        """Write for many tweets, and yield what is written every few seconds, as it comes.

        A local engine gets as many tweets a call as it does in `SECONDS_A_CALL`; those that are to be written again wait until there
        are enough of them. A server always has as many requests as it may have at once: nobody waits for the slowest of a batch.

        Raises:
            EngineError: nothing can be generated.
        """
        if not tweets:
            return
        engine = self.engine
        if isinstance(engine, ConcurrentEngine):
            for done in engine.concurrently(
                lambda asked, tweet: self._write(asked, [tweet], guard, None)[0], tweets, on_progress, self._adapters
            ):
                yield [place for place, _ in done], [result for _, result in done]
            return
        # Tweets of one length together: a row of a batch is padded to the longest, whichever call it comes in.
        order = sorted(range(len(tweets)), key=lambda place: len(tweets[place]))
        for places, results in self._in_calls(engine, [tweets[place] for place in order], guard, on_progress):
            yield [order[place] for place in places], results

    def _in_calls(self, engine: Engine, tweets: Sequence[str], guard: bool, on_progress: Callable[[int], None] | None) -> Iterator[Written]:
        start, rows = 0, FEWEST_ROWS
        waiting, drafted = list[int](), Drafts((), ())
        while start < len(tweets):
            part = tweets[start : start + _whole(rows, len(tweets) - start)]
            began = clock.now()
            drafts = self._draft(engine, part, _ticking(on_progress) if guard else on_progress)
            rows = _paced(rows, clock.now() - began)
            again = doubtful(part, drafts.answers, self.stage) if guard else []
            sure = sorted(set(range(len(part))) - set(again))
            if guard and on_progress:
                on_progress(len(sure))
            if sure:
                yield [start + place for place in sure], drafts.at(sure).answers
            waiting += [start + place for place in again]
            drafted += drafts.at(again)
            start += len(part)
            # Whole batches: a few rows more would be one of their own, which takes almost as long.
            full = len(waiting) if start == len(tweets) else len(waiting) // SECOND_TRIES * SECOND_TRIES
            if full:
                texts = [tweets[place] for place in waiting[:full]]
                yield waiting[:full], self._finish(engine, texts, drafted.at(range(full)), on_progress)
                drafted = drafted.at(range(full, len(waiting)))
                waiting = waiting[full:]

    def _write(self, engine: Engine, tweets: Sequence[str], guard: bool, on_progress: Callable[[int], None] | None) -> list[Guarded]:
        if not guard:
            return list(self._draft(engine, tweets, on_progress).answers)
        drafts = self._draft(engine, tweets, _ticking(on_progress))
        return self._finish(engine, tweets, drafts, on_progress)

    def _draft(self, engine: Engine, tweets: Sequence[str], on_progress: Callable[[int], None] | None) -> Drafts:
        read, spent = tweets, [(0, 0)] * len(tweets)
        *before, last = self.parts
        for part in before:
            answers = unguarded(engine, tweets, part.adapter, part.stage, _ticking(on_progress), read=read)
            read = [_handed_on(tweet, answer, part.stage) for tweet, answer in zip(tweets, answers, strict=True)]
            spent = [(had[0] + got.tokens_in, had[1] + got.tokens_out) for had, got in zip(spent, answers, strict=True)]
        answers = unguarded(engine, tweets, last.adapter, last.stage, on_progress, read=read)
        counted = [
            replace(answer, tokens_in=answer.tokens_in + spent_in, tokens_out=answer.tokens_out + spent_out)
            for answer, (spent_in, spent_out) in zip(answers, spent, strict=True)
        ]
        return Drafts(read, counted)

    def _finish(self, engine: Engine, tweets: Sequence[str], drafts: Drafts, on_progress: Callable[[int], None] | None) -> list[Guarded]:
        last = self.parts[-1]
        return guarded(engine, tweets, last.adapter, last.stage, on_progress, first=drafts.answers, read=drafts.read)


def _ticking(on_progress: Callable[[int], None] | None) -> Callable[[int], None] | None:
    """Return what calls `on_progress` for a pass after which no tweet is finished yet."""
    return None if on_progress is None else lambda _: on_progress(0)


def _handed_on(tweet: str, answer: Guarded, stage: Stage) -> str:
    """Return what the next model reads: the answer, or its stand-in where the guard would not have stored it."""
    if not answer.text or check(tweet, answer.text, stage).cost >= FALLBACK_FROM:
        return fallback(tweet, stage)
    return answer.text


def _paced(rows: int, seconds: float) -> int:
    """Return how many rows the next call gets, where `rows` took `seconds`."""
    fitting = int(rows * SECONDS_A_CALL / max(seconds, 1e-6))
    return max(FEWEST_ROWS, min(fitting, rows * _GROWTH, MOST_ROWS))


def _whole(rows: int, left: int) -> int:
    """Return how many of the rows that are left a call gets: whole batches, and at the end what is too little for one of its own."""
    whole = rows // FEWEST_ROWS * FEWEST_ROWS
    return left if left <= whole + FEWEST_ROWS // 4 else whole
