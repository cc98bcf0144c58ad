"""What an evaluation sets side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from schemas.payloads import Stage
from tests.support.tiny_model import build_tiny_model
from workers.errors import UserError
from workers.evaluation.prompting import ExamplePool, PromptSystems
from workers.evaluation.systems import SYSTEMS, HeldBackRow, write
from workers.inference import engines
from workers.inference.engine import Engine, Sampling
from workers.inference.writer import Part, Writer

ROWS = [
    HeldBackRow("1", "the bus was late again #fail", ("The bus was late again.",)),
    HeldBackRow("2", "soup!! @ noon", ("There is soup at noon.",)),
]
TWEETS = [row.tweet for row in ROWS]
PAIRS = [(f"so tired of the {number} bus", f"I am tired of the {number} bus.") for number in range(40)]
NONE = ExamplePool()


class Heard:
    """Keeps what an evaluation shows."""

    def __init__(self) -> None:
        self.systems: list[str] = []
        self.done = 0

    def begin(self, system: str) -> None:
        self.systems.append(system)

    def rows(self, newly: int) -> None:
        self.done += newly


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    yield Writer(str(build_tiny_model(tmp_path_factory.mktemp("base"))), (Part(None, Stage.SUMMARY),))
    engines._warm.clear()


def systems(writer: Writer, pool: ExamplePool, heard: Heard, *, guard_prompts: bool = True) -> tuple[str, ...]:
    written = write(writer, ROWS, PromptSystems(writer, pool), heard, guard_prompts=guard_prompts)
    assert all(len(outputs) == len(ROWS) for outputs in written.outputs.values())
    return tuple(written.outputs)


def test_every_system_answers_every_row_and_each_pass_over_the_rows_is_counted(writer: Writer) -> None:
    heard = Heard()
    assert systems(writer, ExamplePool.of(PAIRS, 4, 2), heard) == SYSTEMS
    assert heard.systems == ["tuned", *(name for name in SYSTEMS if "shot" in name), "baselines"]
    assert heard.done == len(ROWS) * (1 + 6)


def test_without_examples_to_show_the_base_is_not_scored_as_if_it_had_seen_some(writer: Writer) -> None:
    assert systems(writer, NONE, Heard()) == tuple(name for name in SYSTEMS if "few_shot" not in name)


def test_prompts_can_be_left_unguarded(writer: Writer) -> None:
    pool = ExamplePool.of(PAIRS, 4, 1)
    assert systems(writer, pool, Heard(), guard_prompts=False) == ("tuned", "unguarded", "zero_shot", "few_shot", "rules", "lead", "as_is")


def test_few_shot_shows_the_first_set_and_the_best_set_is_chosen_on_rows_that_no_set_shows() -> None:
    pool = ExamplePool.of(PAIRS, 4, 3)
    assert [len(each) for each in pool.sets] == [4, 4, 4]
    assert pool.sets[0] == tuple(PAIRS[:4])
    assert pool.choice == tuple(PAIRS[12:36])
    assert not set(pool.choice) & {pair for each in pool.sets for pair in each}


@pytest.mark.parametrize(("pairs", "sets", "choice"), [(0, 0, 0), (3, 1, 0), (15, 1, 0), (16, 2, 8), (20, 3, 8)])
def test_with_few_pairs_there_are_fewer_sets_and_below_two_none_is_chosen(pairs: int, sets: int, choice: int) -> None:
    pool = ExamplePool.of(PAIRS[:pairs], 4, 8)
    assert (len(pool.sets), len(pool.choice)) == (sets, choice)


def test_what_has_no_examples_is_refused_by_name(writer: Writer) -> None:
    with pytest.raises(UserError, match="few_shot_best_guarded: the dataset's training split has too few examples"):
        PromptSystems(writer, ExamplePool.of(PAIRS[:4], 4, 2)).write("few_shot_best_guarded", TWEETS)


def test_a_guarded_prompt_asks_for_first_answers_once_and_its_seconds_hold_them(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    engine = writer.engine
    generate: Engine = engine.generate  # type: ignore[assignment]

    def counted(prompts: Sequence[object], sampling: Sampling, *others: object) -> object:
        asked.append(sampling.num_beams)
        return generate(prompts, sampling, *others)  # type: ignore[operator]

    monkeypatch.setattr(engine, "generate", counted)
    prompts = PromptSystems(writer, NONE)
    plain = prompts.write("zero_shot", TWEETS)
    guarded = prompts.write("zero_shot_guarded", TWEETS)
    assert [beams for beams in asked if beams == 1] == [1]
    assert guarded.seconds > plain.seconds
    assert [answer.greedy for answer in guarded.answers] == [answer.greedy for answer in plain.answers]
