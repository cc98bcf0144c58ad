"""What each part of the engine's loop is worth: the loop as it is against the loop without one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any
from unittest.mock import patch

from benchmarks.inference import subject_of
from benchmarks.measure import Comparison, Way, compare
from schemas.chat import Prompt
from schemas.payloads import Stage
from workers.inference.engine import Sampling
from workers.inference.guard import MAX_NEW_TOKENS, guarded
from workers.settings import get_settings

TWEETS = 128
_WARMING = 4  # tweets that each way writes before the first round
_LOOP, _READING = "workers.inference.local.greedy", "workers.inference.local.reading"
_WITHOUT: dict[str, dict[str, Callable[..., Any]]] = {
    "without the prefix computed once, and so with caches that grow by copies": {f"{_READING}.common_prefix": lambda _: 0},
    "with caches that grow by copies": {f"{_READING}.in_place": lambda *_: False},
    "with each finished row closing up all rows behind it": {f"{_LOOP}.closing_ranks": lambda keep: list(keep)},
    "with prompts in the order of the tweets": {f"{_LOOP}.batches": lambda lengths, size, _: _in_order(len(lengths), size)},
}
"""What takes the place of functions of the loop."""
_GUARDED: dict[str, dict[str, Callable[..., Any]]] = {
    "under guard": {},
    "under guard, with prompts read again for the second try": {f"{_READING}.KeptPrompts.add": lambda *_: None},
    "under guard, with what they share read by each of them": {
        f"{_READING}.KeptPrompts.add": lambda *_: None,
        f"{_READING}.common_prefix": lambda _: 0,
    },
}


def run(*, quick: bool) -> Comparison:
    """Write 128 tweets greedily, each part of the loop taken away in turn, in batches of other sizes, and under guard.

    Raises:
        CannotRun: there is no model, or there are no tweets.
    """
    subject = subject_of(get_settings().home, quick=quick)
    prompts = subject.prompts[:TWEETS]
    from workers.inference.local.engine import TransformersEngine

    engine = TransformersEngine(str(subject.model))
    write = partial(_written, engine, prompts)
    ways = [Way("the loop as it is", write), *(Way(name, partial(_changed, changes, write)) for name, changes in _WITHOUT.items())]
    others = {rows: TransformersEngine(str(subject.model), batch_size=rows) for rows in (32, 128)}
    ways += [Way(f"with batches of {rows} rows", partial(_written, other, prompts)) for rows, other in others.items()]
    under_guard = partial(_guarded, engine, subject.texts[:TWEETS])
    ways += [Way(name, partial(_changed, changes, under_guard)) for name, changes in _GUARDED.items()]
    guarded(engine, subject.texts[:_WARMING])
    comparison = compare(ways[0], ways[1:], unit="tweets", warm=True)
    comparison.notes.append(f"model {subject.model.name}, weights in {engine.precision}")
    comparison.notes.append(f"matrix products take {_share_of_products(engine, prompts):.0%} of the loop's time")
    return comparison


def _written(engine: Any, prompts: Sequence[Prompt]) -> int:
    return len(engine.generate(prompts, Sampling(MAX_NEW_TOKENS[Stage.SUMMARY])))


def _guarded(engine: Any, texts: Sequence[str]) -> int:
    return len(guarded(engine, texts))


def _changed(changes: dict[str, Callable[..., Any]], write: Callable[[], int]) -> int:
    with ExitStack() as stack:
        for name, change in changes.items():
            stack.enter_context(patch(name, change))
        return write()


def _in_order(count: int, size: int) -> Iterator[list[int]]:
    for start in range(0, count, size):
        yield list(range(start, min(start + size, count)))


def _share_of_products(engine: Any, prompts: Sequence[Prompt]) -> float:
    """The part of the time in which matrices are multiplied: what no loop around the model makes shorter."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        _written(engine, prompts)
    events = profiled.key_averages()
    products = sum(event.self_cpu_time_total for event in events if event.key in {"aten::mm", "aten::addmm", "aten::bmm"})
    return float(products / sum(event.self_cpu_time_total for event in events))
