"""What a writer asks of an engine: one model, a chain of two, and as many tweets a call as fit into seconds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from schemas.payloads import Stage
from tests.support.scripted_engine import ScriptedEngine
from workers.inference import writer as module
from workers.inference.writer import FEWEST_ROWS, MOST_ROWS, Part, Writer
from workers.text.instructions import TUNED_SYSTEM

CLEANER, SUMMARIZER = Path("cleaner"), Path("summarizer")
TWEET = "omg the bus is late AGAIN smh #fail"
CLEAN = "The bus is late again."


def two_adapters(says: dict[tuple[Path | None, str], tuple[str, ...]]) -> ScriptedEngine:
    """An engine that answers by the adapter and the last turn, and to what it does not know with nothing."""
    return ScriptedEngine(defaultdict(tuple, says), key=lambda adapter, text: (adapter, text))


def chain(engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> Writer:
    monkeypatch.setattr(module, "engine_for", lambda base, all_cores: engine)
    return Writer("base", (Part(CLEANER, Stage.CLEAN), Part(SUMMARIZER, Stage.SUMMARY)))


def test_the_second_model_reads_what_the_first_wrote_and_tokens_are_those_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = two_adapters({(CLEANER, "omg the bus is late AGAIN smh"): (CLEAN,), (SUMMARIZER, CLEAN): ("The bus is late again.",)})
    (row,) = chain(engine, monkeypatch).write([TWEET])
    assert engine.asked == [
        (CLEANER, TUNED_SYSTEM[Stage.CLEAN], "omg the bus is late AGAIN smh", 1),
        (SUMMARIZER, TUNED_SYSTEM[Stage.SUMMARY], CLEAN, 1),
    ]
    assert (row.text, row.flags, row.tries, row.tokens_in, row.tokens_out) == ("The bus is late again.", (), 1, 20, 10)


def test_the_guard_checks_the_last_answer_against_the_tweet_and_not_against_the_clean_text(monkeypatch: pytest.MonkeyPatch) -> None:
    invented = "The school bus is late again."
    engine = two_adapters({(CLEANER, "omg the bus is late AGAIN smh"): (invented,), (SUMMARIZER, invented): (invented, CLEAN)})
    (row,) = chain(engine, monkeypatch).write([TWEET])
    assert (row.text, row.tries, row.greedy) == (CLEAN, 2, invented)
    assert engine.asked[-1][0] == SUMMARIZER, "the summary alone is written again"
    assert engine.asked[-1][3] == 4
    (first,) = chain(engine, monkeypatch).write([TWEET], guard=False)
    assert (first.text, "new_word" in first.flags) == (invented, True)


@pytest.mark.parametrize("poor", [(), ("In 1999 Anna and Bob paid 80 dollars to Chicago and Denver.",)], ids=["no answer", "made up"])
def test_a_poor_clean_text_is_not_handed_on(monkeypatch: pytest.MonkeyPatch, poor: tuple[str, ...]) -> None:
    engine = two_adapters({(CLEANER, "omg the bus is late AGAIN smh"): poor})
    chain(engine, monkeypatch).draft([TWEET])
    adapter, _, read, _ = engine.asked[-1]
    assert adapter == SUMMARIZER
    assert "bus is late" in read
    assert "1999" not in read


@pytest.mark.parametrize("guard", [True, False])
def test_each_tweet_is_told_as_done_once_however_often_it_is_written(monkeypatch: pytest.MonkeyPatch, guard: bool) -> None:
    engine = two_adapters({(CLEANER, "omg the bus is late AGAIN smh"): (CLEAN,), (SUMMARIZER, CLEAN): ("The school bus is late.",)})
    steps: list[int] = []
    chain(engine, monkeypatch).write([TWEET, "my train left at 5pm"], guard=guard, on_progress=steps.append)
    assert sum(steps) == 2


def test_a_server_is_started_with_both_models_of_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    class Server(ScriptedEngine):
        def __init__(self) -> None:
            super().__init__(defaultdict(lambda: (CLEAN,)))
            self.started: list[tuple[Path, ...]] = []

        def concurrently(
            self, work: Any, items: Iterable[Any], on_progress: Callable[[int], None] | None = None, adapters: Sequence[Path] = ()
        ) -> Iterator[list[tuple[int, Any]]]:
            self.started.append(tuple(adapters))
            yield [(place, work(self, item)) for place, item in enumerate(items)]

    engine = Server()
    writer = chain(engine, monkeypatch)
    writer.warm_up(TWEET)
    drafts = writer.draft([TWEET])
    writer.finish([TWEET], drafts)
    writer.write([TWEET])
    list(writer.stream([TWEET]))
    assert set(engine.started) == {(CLEANER, SUMMARIZER)}, "no server makes way for another between the two"
    assert len(engine.started) > 4


def test_a_tweet_without_words_asks_neither_model(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = two_adapters({})
    (row,) = chain(engine, monkeypatch).write(["@somebody :) http://t.co/x"])
    assert (engine.asked, row.flags) == ([], ("wordless",))


def test_a_stream_hands_back_every_row_once_in_calls_of_a_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    calls: list[int] = []

    def on_call(count: int) -> None:
        nonlocal now
        now += count / 128
        calls.append(count)

    engine = ScriptedEngine(defaultdict(tuple), on_call=on_call)
    monkeypatch.setattr(module, "engine_for", lambda base, all_cores: engine)
    monkeypatch.setattr(module.clock, "now", lambda: now)
    tweets = [f"the bus number {number} is late again" for number in range(1200)]
    places: list[int] = []
    for part, results in Writer("base", (Part(None, Stage.SUMMARY),)).stream(tweets, guard=False):
        assert len(part) == len(results)
        now += 100.0  # whoever stores the rows takes their time: that is not the engine's
        places += part
    assert places == list(range(1200))
    assert calls[:3] == [FEWEST_ROWS, 4 * FEWEST_ROWS, 512], "four seconds at 128 rows a second"


def test_tweets_of_one_length_are_written_together_and_come_back_to_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    tweets = [f"the bus is late{' again' * (place % 7)}" for place in range(3 * FEWEST_ROWS)]
    engine = ScriptedEngine({tweet: (f"{len(tweet)}",) for tweet in tweets})
    monkeypatch.setattr(module, "engine_for", lambda base, all_cores: engine)
    monkeypatch.setattr(module, "MOST_ROWS", FEWEST_ROWS)
    written: dict[int, str] = {}
    for part, results in Writer("base", (Part(None, Stage.SUMMARY),)).stream(tweets, guard=False):
        written |= {place: result.text for place, result in zip(part, results, strict=True)}
    lengths = [len(text) for _, _, text, _ in engine.asked]
    assert [count for count, _ in engine.calls] == [FEWEST_ROWS] * 3
    assert lengths == sorted(lengths)
    assert written == {place: str(len(tweet)) for place, tweet in enumerate(tweets)}


def test_tweets_that_are_written_again_wait_for_enough_of_them_while_the_others_are_handed_back(monkeypatch: pytest.MonkeyPatch) -> None:
    tweets = [f"the bus number {number} is late again" for number in range(3 * FEWEST_ROWS)]
    made_up = "In 1999 Anna and Bob paid 80 dollars to Chicago and Denver."
    poor = set(range(0, len(tweets), 8))  # eight of each call
    good = [f"The bus number {number} is late again." for number in range(len(tweets))]
    says = {tweet: (made_up, good[place]) if place in poor else (good[place],) for place, tweet in enumerate(tweets)}
    calls: list[int] = []
    engine = ScriptedEngine(says, on_call=calls.append)
    monkeypatch.setattr(module, "engine_for", lambda base, all_cores: engine)
    monkeypatch.setattr(module, "MOST_ROWS", FEWEST_ROWS)
    monkeypatch.setattr(module, "SECOND_TRIES", 12)
    done: list[int] = []
    told: list[int] = []
    written: dict[int, str] = {}
    for part, results in Writer("base", (Part(None, Stage.SUMMARY),)).stream(tweets, on_progress=told.append):
        done.append(len(part))
        written |= {place: result.text for place, result in zip(part, results, strict=True)}
    assert calls == [FEWEST_ROWS, FEWEST_ROWS, 12, FEWEST_ROWS, 12], "second tries of several calls go together, as many as fill a batch"
    assert done == [FEWEST_ROWS - 8, FEWEST_ROWS - 8, 12, FEWEST_ROWS - 8, 12]
    assert sum(told) == len(tweets)
    assert written == dict(enumerate(good)), "each once, and none of them made up"


@pytest.mark.parametrize(("rows", "seconds", "following"), [(64, 60.0, FEWEST_ROWS), (3000, 0.0, MOST_ROWS), (400, 4.0, 400)])
def test_a_call_grows_and_shrinks_with_the_engine(rows: int, seconds: float, following: int) -> None:
    assert module._paced(rows, seconds) == following


@pytest.mark.parametrize(
    ("rows", "left", "call"),
    [
        (108, 500, FEWEST_ROWS),
        (130, 500, 2 * FEWEST_ROWS),
        (FEWEST_ROWS, FEWEST_ROWS + 16, FEWEST_ROWS + 16),
        (FEWEST_ROWS, FEWEST_ROWS + 17, FEWEST_ROWS),
        (400, 100, 100),
    ],
)
def test_a_call_is_of_whole_batches_and_takes_a_small_rest_along(rows: int, left: int, call: int) -> None:
    assert module._whole(rows, left) == call
