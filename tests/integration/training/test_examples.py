"""The files of a training: what is held back to evaluate on is drawn by the seed, in whole groups of alike examples, and not trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from schemas.training import TrainingSpec
from workers.errors import UserError
from workers.training import examples

_EXAMPLE = """
INSERT INTO example (dataset, key, stage, prompt_text, target_text, origin, split, cluster)
VALUES (:dataset, :key, 'summary', :prompt, 'It was late.', :origin, :split, :cluster)
"""


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    """A dataset: thirty groups of three alike examples, a group of forty, an equal tweet in another group, and a test split."""
    rows = [(f"bus {group} of copy {copy} was late", group, "train") for group in range(30) for copy in range(3)]
    rows += [(f"a long thread, part {part}", 30, "train") for part in range(40)]
    rows += [(f"BUS {group} of copy 0 was late!!", 31 + group, "train") for group in range(30)]
    rows += [(f"held back {number}", 61 + number, "test") for number in range(10)]
    with clean_database.begin() as connection:
        new = text("INSERT INTO dataset (name, fingerprint) VALUES ('small', 'f00d') RETURNING id")
        dataset = connection.execute(new).scalar_one()
        for number, (prompt, group, split) in enumerate(rows):
            origin = "human" if number % 3 == 0 else "noise"
            told = {"key": f"k{number:03}", "prompt": prompt, "cluster": group, "split": split, "origin": origin}
            connection.execute(text(_EXAMPLE), {"dataset": dataset, **told})
    return clean_database


def spec(**changes: Any) -> TrainingSpec:
    told = {"name": "x", "base": "b", "dataset": "small", "eval_steps": 5 if changes.get("eval_rows") else 0}
    return TrainingSpec(**{**told, **changes})


def tweets(file: Path) -> list[str]:
    return [json.loads(line)["prompt"][-1]["content"] for line in file.read_text().splitlines()]


def group_of(tweet: str) -> str:
    return tweet.lower().split(" of ")[0]


def test_groups_are_held_back_whole_and_their_like_is_not_trained_on(engine: Engine, tmp_path: Path) -> None:
    written = examples.write(spec(eval_rows=12), tmp_path)

    held, trained = tweets(tmp_path / "eval.jsonl"), tweets(tmp_path / "train.jsonl")
    assert written.held_back == len(held) == 12
    assert written.lines == len(trained)
    assert {group_of(tweet) for tweet in held if tweet[0] == "b"}.isdisjoint(group_of(tweet) for tweet in trained if tweet[0] == "b")
    plain = {tweet.lower().strip("!") for tweet in held}
    assert plain.isdisjoint(tweet.lower().strip("!") for tweet in trained)
    assert not any("held back" in tweet for tweet in held + trained), "the test split stays the test split"
    assert not any("thread" in tweet for tweet in held), "a group that is larger than what is asked for is trained on"
    assert all(json.loads(line)["tweet"] for line in (tmp_path / "eval.jsonl").read_text().splitlines())


def test_the_seed_draws_them(engine: Engine, tmp_path: Path) -> None:
    drawn = []
    for number, seed in enumerate((1, 1, 2)):
        (folder := tmp_path / str(number)).mkdir()
        examples.write(spec(eval_rows=12, seed=seed), folder)
        drawn.append(tweets(folder / "eval.jsonl"))

    assert drawn[0] == drawn[1] != drawn[2]


def test_without_eval_rows_all_is_trained_on_and_own_pairs_repeat(engine: Engine, tmp_path: Path) -> None:
    written = examples.write(spec(human_repeats=2), tmp_path)

    assert written.held_back == 0
    assert written.lines == 160 + 54
    assert not (tmp_path / "eval.jsonl").exists()


def add_clean_texts(engine: Engine, groups: range) -> None:
    """A clean text for the first copy of some groups, one of a person and one of somebody else."""
    with engine.begin() as connection:
        dataset = connection.execute(text("SELECT id FROM dataset")).scalar_one()
        for number in groups:
            for origin in ("human", "noise"):
                told = {"key": f"c{number:03}-{origin}", "prompt": f"bus {number} of copy 0 was late", "cluster": number, "origin": origin}
                row = _EXAMPLE.replace("'summary'", "'clean'").replace("'It was late.'", ":target")
                connection.execute(text(row), {"dataset": dataset, "split": "train", "target": f"Bus {number}, says {origin}.", **told})


def test_a_summary_may_be_learnt_from_the_clean_text_that_a_person_wrote_of_the_tweet(engine: Engine, tmp_path: Path) -> None:
    add_clean_texts(engine, range(8))
    written = examples.write(spec(learn_from="clean"), tmp_path)

    assert tweets(tmp_path / "train.jsonl") == [f"Bus {number}, says human." for number in range(8)]
    assert (written.lines, written.without_clean) == (8, 152), "what has no clean text is left out and counted"
    assert [json.loads(line)["completion"] for line in (tmp_path / "train.jsonl").read_text().splitlines()] == ["It was late."] * 8


def test_without_any_clean_text_there_is_nothing_to_learn_from(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="learn_from: clean needs clean texts, and dataset small has none"):
        examples.write(spec(learn_from="clean"), tmp_path)


def test_clean_texts_are_learnt_by_summaries_alone() -> None:
    with pytest.raises(ValueError, match="learn_from: clean is for summaries"):
        spec(learn_from="clean", stage="clean")


def test_fewer_pairs_are_among_more_and_the_seed_draws_them(engine: Engine, tmp_path: Path) -> None:
    drawn = {}
    for pairs, seed in ((5, 0), (20, 0), (20, 1)):
        (folder := tmp_path / f"{pairs}-{seed}").mkdir()
        assert examples.write(spec(pairs=pairs, pairs_seed=seed, origins=("human",)), folder).lines == pairs
        drawn[pairs, seed] = set(tweets(folder / "train.jsonl"))

    assert drawn[5, 0] < drawn[20, 0]
    assert drawn[20, 0] != drawn[20, 1]


def test_what_was_made_of_a_pair_goes_with_it(engine: Engine, tmp_path: Path) -> None:
    """Noise knows by the tweet's id which pair it was made of."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO tweet (id, text, source, text_hash) VALUES ('7', 'bus 0', 'test', 'h')"))
        connection.execute(text("UPDATE example SET tweet = '7' WHERE key IN ('k000', 'k001')"))
    with_it = without = 0
    for seed in range(8):
        (folder := tmp_path / str(seed)).mkdir()
        lines = examples.write(spec(pairs=27, pairs_seed=seed), folder).lines
        has_pair = "bus 0 of copy 0 was late" in tweets(folder / "train.jsonl")
        assert lines == 27 + has_pair, "the one that was noised comes with its noise"
        with_it, without = with_it + has_pair, without + (not has_pair)
    assert with_it
    assert without


def test_an_origin_alone_may_be_learnt_from(engine: Engine, tmp_path: Path) -> None:
    assert examples.write(spec(origins=("noise",)), tmp_path).lines == 160 - 54


def test_more_pairs_than_there_are_are_refused(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pairs=55: dataset small has 54 curated pairs of the stage summary to learn from"):
        examples.write(spec(pairs=55), tmp_path)


def test_more_than_half_is_refused(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="eval_rows=81 of 160 training examples: hold back half of them at most"):
        examples.write(spec(eval_rows=81), tmp_path)
