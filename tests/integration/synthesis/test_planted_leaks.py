"""synthesize: what was planted to leak stands on one side, as Postgres sees it; expectations that are not met; two stages at once."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Engine, text

from tests.integration.in_process import working
from tests.integration.verbs import answer, complaint
from tests.support.leaks import alike

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
WORDS = [first + second for first in ("ba", "co", "du", "fe", "gi", "lo", "ma", "ne", "pi", "ro", "su", "ta") for second in "bdfgklmnprst"]
ORIGINALS = 30

# Independent of all that the product knows of clusters: which texts are equal but for marks, and who answers or goes on soon.
_EQUAL = r"""
WITH texts AS (
    SELECT split, regexp_replace(lower(regexp_replace(part, '\mRT\M|@\w+|https?://\S+', ' ', 'g')), '[^a-z0-9]+', '', 'g') AS bare
    FROM example CROSS JOIN LATERAL (VALUES (prompt_text), (target_text)) AS parts(part))
SELECT count(*) FROM texts AS learnt JOIN texts AS tested USING (bare) WHERE learnt.split = 'train' AND tested.split = 'test'
"""
_THREADS = """
SELECT count(*) FROM example AS learnt JOIN tweet AS one ON one.id = learnt.tweet,
    example AS tested JOIN tweet AS other ON other.id = tested.tweet
WHERE learnt.split = 'train' AND tested.split = 'test' AND (
    one.conversation = other.conversation OR one.conversation = other.id OR other.conversation = one.id
    OR (one.author = other.author AND abs(extract(epoch FROM one.created_at - other.created_at)) <= 3600))
"""
_SOURCES = """
SELECT count(*) FROM example AS learnt
JOIN example AS tested ON learnt.lineage->>'source' = encode(sha256(tested.target_text::bytea), 'hex')
WHERE learnt.split = 'train' AND tested.split = 'test'
"""


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words)).capitalize() + "."


@pytest.fixture
def recipe(clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Thirty tweets with pairs, and of each of them something that would give it away on the other side."""
    rng = random.Random(5)
    tweets: list[dict[str, Any]] = []
    pairs: list[dict[str, str]] = []

    def add(key: str, tweet: str, clean: str, **more: Any) -> None:
        tweets.append({"id": key, "text": tweet, **more})
        pairs.append({"tweet_id": key, "clean": clean, "summary": sentence(rng, 7)})

    for number in range(1, ORIGINALS + 1):
        add(f"{number}", f"omg {sentence(rng, 13)}", sentence(rng, 12), author=f"a{number}", created_at=f"{NOON + timedelta(days=number)}")
    for number in range(1, 6):
        original = tweets[number - 1]["text"]
        add(f"{number}00", f"so true: {original} #fact", sentence(rng, 12))  # as a quote repeats it
        add(f"{number + 5}00", tweets[number + 4]["text"].rsplit(" ", 1)[0] + " indeed", sentence(rng, 12))
        add(f"{number + 10}00", sentence(rng, 9), pairs[number + 9]["clean"].upper())  # two pairs from one clean source
        soon = NOON + timedelta(days=number + 15, minutes=45)
        add(f"{number + 15}00", sentence(rng, 9), sentence(rng, 12), author=f"a{number + 15}", created_at=f"{soon}")
        # An answer of the older API, and one to that answer, which nobody paired: only through it they are one conversation.
        between = f"{number + 20}50"
        tweets.append({"id_str": between, "full_text": "who knows", "in_reply_to_status_id_str": f"{number + 20}"})
        tweets.append({"id_str": f"{number + 20}00", "full_text": sentence(rng, 9), "in_reply_to_status_id_str": between})
        pairs.append({"tweet_id": f"{number + 20}00", "clean": sentence(rng, 12), "summary": sentence(rng, 7)})
        v2 = {"edit_history_tweet_ids": [f"{number + 25}00"], "conversation_id": f"{number + 25}"}
        add(f"{number + 25}00", sentence(rng, 9), sentence(rng, 12), **v2)
    imports = [{"instruction": f"RT @you: {tweet['text']}", "input": "", "output": sentence(rng, 6)} for tweet in tweets[:ORIGINALS]]
    imports += [{"instruction": sentence(rng, 9), "input": "", "output": pair["summary"]} for pair in pairs]
    sentences = [pair["summary"].upper() for pair in pairs] + [sentence(rng, 8) for _ in range(30)]
    for name, rows in (("tweets", tweets), ("pairs", pairs), ("imports", imports)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "sentences.txt").write_text("\n".join(sentences))
    answer(capsys, "ingest", tmp_path / "tweets.jsonl", "--json")
    path = tmp_path / "leaky.yaml"
    sources = {"pairs": "pairs.jsonl", "sentences": "sentences.txt", "imports": {"file": "imports.jsonl", "form": "alpaca"}}
    path.write_text(yaml.safe_dump({"dataset": "leaky", **sources, "noise": {"copies": 2}, "test_size": 20}))
    return path


def built(engine: Engine, capsys: pytest.CaptureFixture[str], recipe: Path, *overrides: str) -> dict[str, Any]:
    with working(engine):
        return dict(answer(capsys, "synthesize", "-r", recipe, *overrides, "--json"))


@pytest.mark.parametrize("seed", [0, 1])
def test_no_planted_leak_straddles(clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str], seed: int) -> None:
    result = built(clean_database, capsys, recipe, f"seed={seed}", "stage=both", "imports.stage=summary")

    assert result["counts"]["test"] == 40
    assert min(result["counts"]["sentences_withheld"], result["counts"]["imports_withheld"]) > 0
    with clean_database.connect() as connection:
        for query in (_EQUAL, _THREADS, _SOURCES):
            assert connection.execute(text(query)).scalar_one() == 0
        rows = connection.execute(text("SELECT split, prompt_text, target_text FROM example")).all()
        sides = dict(connection.execute(text("SELECT tweet, min(split) FROM example WHERE origin = 'human' GROUP BY tweet")).all())
    learnt, tested = ([part for row in rows if row.split == side for part in row[1:]] for side in ("train", "test"))
    assert not alike(learnt, tested, 0.7)
    # Through the answer between them, which is no example.
    assert all(sides[f"{number}"] == sides[f"{number}00"] for number in range(1, ORIGINALS + 1))
    assert set(sides.values()) == {"train", "test"}


def test_without_threads_the_same_data_do_straddle(clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built(clean_database, capsys, recipe, "thread_minutes=0")

    with clean_database.connect() as connection:
        assert connection.execute(text(_THREADS)).scalar_one() > 0


def test_training_and_evaluation_pick_their_own_stage_of_both(
    clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built(clean_database, capsys, recipe, "stage=both", "imports=null")

    listed = answer(capsys, "datasets", "--json")
    assert [row["stage"] for row in listed] == ["both"]
    with clean_database.connect() as connection:
        stages = connection.execute(text("SELECT stage, count(*) FROM example WHERE split = 'test' GROUP BY stage ORDER BY 1")).all()
    assert [tuple(row) for row in stages] == [("clean", 20), ("summary", 20)]


def test_a_dataset_that_is_not_what_the_recipe_expects_fails_at_once_and_keeps_what_was_refused(
    clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expects = ("expect.min_train=500", "expect.min_human_share=0.99", "filters.faithful=true")
    with working(clean_database):
        said = complaint(capsys, 1, "synthesize", "-r", recipe, *expects)

    assert "dataset leaky is not what the recipe expects, and was not stored" in said
    assert "min_train asks for 500" in said
    assert "min_human_share asks for 99 %" in said
    with clean_database.connect() as connection:
        job = connection.execute(text("SELECT state, attempt, failures, error->>'class' AS error FROM job")).one()
        kept = connection.execute(text("SELECT (SELECT count(*) FROM dropped), (SELECT count(*) FROM rejected_row)")).one()
        assert connection.execute(text("SELECT count(*) FROM dataset")).scalar_one() == 0
    assert (job.state, job.attempt, job.error) == ("failed", 1, "UserError")
    assert min(kept) > 0


def test_what_filters_drop_is_kept_with_the_dataset_and_not_in_it(
    clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = built(clean_database, capsys, recipe, "filters.faithful=true")

    with clean_database.connect() as connection:
        dropped = connection.execute(text("SELECT count(*), count(DISTINCT key) FROM dropped")).one()
        both = connection.execute(text("SELECT count(*) FROM dropped JOIN example USING (key)")).scalar_one()
        stored = connection.execute(text("SELECT count(*) FROM example")).scalar_one()
    assert dropped[0] == dropped[1] > 0
    assert sum(result["dropped"].values()) >= dropped[0]
    assert both == 0
    assert stored == result["counts"]["train"] + result["counts"]["test"]
