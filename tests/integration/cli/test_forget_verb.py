"""`tweetmill forget`: what it says, asks, removes from the tables and from the folders of runs, and leaves alone."""

from __future__ import annotations

import io
import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, text

from schemas.training import TrainingSpec
from tests.integration.verbs import answer, complaint, printed
from tests.support.everywhere import AUTHOR, HOLDS_TEXT, MARKER, SAYS, TWEET, add_job, add_tweet, plant, where
from workers.catalog import model_card
from workers.settings import get_settings
from workers.training import examples, run_files


@pytest.fixture
def planted(clean_database: Engine) -> Iterator[dict[str, Any]]:
    """The tweet stands everywhere."""
    with clean_database.begin() as connection:
        there = plant(connection)
    runs = get_settings().runs_folder
    shutil.rmtree(runs, ignore_errors=True)
    yield there
    shutil.rmtree(runs, ignore_errors=True)


def standing(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return where(connection)


def tweets(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM tweet")).scalar_one())


class TestWhatItSays:
    def test_what_went_and_what_may_remember(self, clean_database, planted, capsys):
        said = printed(capsys, "forget", TWEET, "--yes")
        assert said.startswith("Forgotten: 1 tweet, with 1 summary, 1 place in a selection, 4 examples, 1 review, 2 dropped examples, ")
        assert "Dataset summaries loses 4 examples; its fingerprint stays. tuned was trained on it: the weights may remember." in said
        assert MARKER not in said
        assert standing(clean_database) == set()

    def test_as_json(self, planted, capsys):
        told = answer(capsys, "forget", "--author", AUTHOR, "--yes", "--json")
        assert {name: told[name] for name in ("tweets", "summaries", "examples", "curated", "copies")} == {
            "tweets": 1, "summaries": 1, "examples": 4, "curated": 2, "copies": 0,
        }  # fmt: skip
        assert told["losses"] == [{"dataset": "summaries", "examples": 4, "models": ["tuned"], "trainings": []}]
        assert told["run_folders"] == {"folders": 0, "in_use": 0}

    def test_that_files_of_ones_own_are_not_touched(self, planted, capsys):
        assert "export" in complaint(capsys, 0, "forget", TWEET, "--yes")

    def test_that_the_same_words_of_others_stay(self, clean_database, planted, capsys):
        with clean_database.begin() as connection:
            add_tweet(connection, "copy", SAYS, "somebody else")
        assert "1 other tweet says the same to the letter" in printed(capsys, "forget", TWEET, "--yes")

    def test_the_dataset_and_the_model_say_it_from_then_on(self, planted, capsys):
        printed(capsys, "forget", TWEET, "--yes")
        assert answer(capsys, "dataset", "show", "summaries", "--json")["taken_back"] == 4
        assert "4 examples, which the fingerprint still counts" in " ".join(printed(capsys, "dataset", "show", "summaries").split())
        assert answer(capsys, "model", "tuned", "--json")["taken_back"] == 3
        assert "3 examples of its dataset were taken back since it was trained" in " ".join(printed(capsys, "model", "tuned").split())

    def test_so_does_the_card_beside_the_weights(self, clean_database, planted, capsys, tmp_path):
        with clean_database.begin() as connection:
            connection.execute(text("UPDATE model SET adapter_uri = :folder"), {"folder": str(tmp_path)})
        model_card.refresh(model=planted["model"])
        assert "taken back" not in (tmp_path / model_card.CARD).read_text()
        printed(capsys, "forget", TWEET, "--yes")
        assert "3 examples of its dataset were taken back since it was trained" in (tmp_path / model_card.CARD).read_text()


class TestWhatItAsks:
    def test_a_dry_run_says_what_would_go_and_removes_nothing(self, clean_database, planted, capsys):
        assert printed(capsys, "forget", TWEET, "--dry-run").startswith("Would be forgotten: 1 tweet, with 1 summary")
        assert standing(clean_database) == HOLDS_TEXT

    def test_who_says_no_keeps_it(self, clean_database, planted, capsys, monkeypatch):
        monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
        assert "It can't be undone" in complaint(capsys, 1, "forget", TWEET)
        assert standing(clean_database) == HOLDS_TEXT

    def test_who_names_nothing_is_told_how(self, clean_database, capsys):
        assert "by their ids" in complaint(capsys, 2, "forget")

    def test_ids_from_standard_input_cannot_be_asked_about(self, clean_database, capsys):
        assert "--yes" in complaint(capsys, 2, "forget", "--file", "-")


class TestFilesOfIds:
    def test_an_id_a_line(self, clean_database, planted, capsys, tmp_path):
        (tmp_path / "ids").write_text(f"\n  {TWEET}  \nnever\n")
        assert answer(capsys, "forget", "--file", tmp_path / "ids", "--yes", "--json")["tweets"] == 1
        assert standing(clean_database) == set()

    def test_twelve_thousand_of_them(self, clean_database, capsys, tmp_path):
        with clean_database.begin() as connection:
            many = "INSERT INTO tweet (id, source, text, text_hash) SELECT 't' || n, 's', 'x' || n, md5('x' || n) FROM "
            connection.execute(text(f"{many} generate_series(1, 12000) AS n"))
        (tmp_path / "ids").write_text("".join(f"t{number}\n" for number in range(1, 12_001)))
        assert answer(capsys, "forget", "--file", tmp_path / "ids", "--dry-run", "--json")["tweets"] == 12_000
        assert answer(capsys, "forget", "--file", tmp_path / "ids", "--yes", "--json")["tweets"] == 12_000
        assert tweets(clean_database) == 0

    def test_a_file_that_is_not_there_or_no_list_of_ids_is_named_with_its_line(self, clean_database, capsys, tmp_path):
        assert "no such file" in complaint(capsys, 2, "forget", "--file", tmp_path / "none", "--yes")
        (tmp_path / "ids").write_bytes(b"1\n\xff\xfe\n")
        assert "line 2" in complaint(capsys, 1, "forget", "--file", tmp_path / "ids", "--yes")


class TestThatItComesBackOnlyIfAllowed:
    def test_ingest_leaves_it_out_until_then(self, clean_database, planted, capsys, tmp_path):
        dump = tmp_path / "again.jsonl"
        dump.write_text(json.dumps({"id": TWEET, "text": SAYS}) + "\n" + json.dumps({"id": "n", "text": "The ferry."}) + "\n")
        printed(capsys, "forget", TWEET, "--yes")
        assert "1 forgotten ones left out" in printed(capsys, "ingest", dump)
        assert answer(capsys, "forget", TWEET, "never", "--allow-again", "--json") == {"allowed": 1}
        assert answer(capsys, "ingest", dump, "--json")["inserted"] == 1

    def test_a_file_of_nothing_else_says_why_nothing_is_gained(self, planted, capsys, tmp_path):
        dump = tmp_path / "again.jsonl"
        dump.write_text(json.dumps({"id": TWEET, "text": SAYS}) + "\n")
        printed(capsys, "forget", TWEET, "--yes")
        assert "1 forgotten: `tweetmill forget ID --allow-again`" in complaint(capsys, 1, "ingest", dump)


def written(engine: Engine, dataset: int, state: str, attempt: int = 1) -> Path:
    """The folder of a training in that state whose ranks were killed: texts, token ids, and a checkpoint."""
    with engine.begin() as connection:
        job: uuid.UUID = add_job(connection, "training.train", state, attempt=attempt, payload={"dataset": "summaries"})
    runs = get_settings().runs_folder / str(job)
    folder = runs / "attempt-1"
    folder.mkdir(parents=True)
    spec = TrainingSpec(name="m", base="b", dataset="summaries")
    run_files.begin(runs, spec, examples.write(spec, folder))
    for more in (folder / "eval.jsonl", folder / "node-1" / "train.jsonl", runs / "tokens" / "abc" / "ids.bin"):
        more.parent.mkdir(parents=True, exist_ok=True)
        more.write_text(MARKER)
    (runs / "checkpoints").mkdir()
    return runs


def files_with_it(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and MARKER.encode() in path.read_bytes())


class TestFoldersOfRuns:
    @pytest.mark.parametrize("state", ["queued", "failed", "quarantined", "cancelled"])
    def test_what_a_training_left_that_does_not_run_is_removed(self, clean_database, planted, capsys, state):
        runs = written(clean_database, planted["dataset"], state)
        assert files_with_it(runs) == [
            "attempt-1/eval.jsonl",
            "attempt-1/node-1/train.jsonl",
            "attempt-1/train.jsonl",
            "tokens/abc/ids.bin",
        ]
        assert answer(capsys, "forget", TWEET, "--yes", "--json")["run_folders"] == {"folders": 1, "in_use": 0}
        assert files_with_it(runs) == []
        assert (runs / "checkpoints").is_dir()

    def test_a_training_that_runs_keeps_its_files_until_it_ends(self, clean_database, planted, capsys):
        runs = written(clean_database, planted["dataset"], "running")
        told = complaint(capsys, 0, "forget", TWEET, "--yes")
        assert "1 running training keeps its files until it ends" in told
        assert "attempt-1/train.jsonl" in files_with_it(runs)
        with clean_database.begin() as connection:
            connection.execute(text("UPDATE job SET state = 'failed' WHERE kind = 'training.train'"))
        assert run_files.clean() == run_files.Cleaned(folders=1)
        assert files_with_it(runs) == []

    def test_what_the_next_attempt_writes_meanwhile_is_not_touched(self, clean_database, planted, capsys):
        runs = written(clean_database, planted["dataset"], "queued")
        (runs / "attempt-2").mkdir()
        (runs / "attempt-2" / "train.jsonl").write_text("what is left")
        printed(capsys, "forget", TWEET, "--yes")
        assert (runs / "attempt-2" / "train.jsonl").exists()

    def test_a_training_on_another_dataset_keeps_what_it_has(self, clean_database, planted, capsys):
        with clean_database.begin() as connection:
            connection.execute(text("INSERT INTO dataset (name, fingerprint) VALUES ('others', 'beef')"))
        runs = written(clean_database, planted["dataset"], "queued")
        run_files.begin(runs, TrainingSpec(name="m", base="b", dataset="others"), SimpleNamespace(dataset=2, taken_back=0))
        printed(capsys, "forget", TWEET, "--yes")
        assert (runs / "tokens" / "abc" / "ids.bin").exists()

    def test_a_folder_of_a_job_that_is_not_in_this_database_is_left_alone(self, clean_database, planted, capsys):
        folder = get_settings().runs_folder / str(uuid.uuid4()) / "attempt-1"
        folder.mkdir(parents=True)
        (folder / "train.jsonl").write_text(MARKER)
        printed(capsys, "forget", TWEET, "--yes")
        assert (folder / "train.jsonl").exists()

    def test_a_worker_cleans_its_own_when_it_sees_that_something_was_taken_back(self, clean_database, planted):
        """Where the folder of runs is not on the machine of whoever forgets."""
        from workers.catalog.removal.forgetting import forget_all

        runs, cleaner = written(clean_database, planted["dataset"], "failed"), run_files.Cleaner()
        cleaner()
        assert files_with_it(runs) != []
        forget_all([TWEET])
        cleaner()
        assert files_with_it(runs) == []

    def test_it_renews_cards_once_and_not_as_long_as_a_training_keeps_its_files(self, clean_database, planted, tmp_path):
        from workers.catalog.removal.forgetting import forget_all

        with clean_database.begin() as connection:
            connection.execute(text("UPDATE model SET adapter_uri = :folder"), {"folder": str(tmp_path)})
        runs, cleaner = written(clean_database, planted["dataset"], "running"), run_files.Cleaner()
        forget_all([TWEET])
        cleaner()
        card = tmp_path / model_card.CARD
        assert "taken back" in card.read_text()
        card.unlink()
        cleaner()
        assert not card.exists(), "nothing more was forgotten"
        with clean_database.begin() as connection:
            connection.execute(text("UPDATE job SET state = 'failed' WHERE kind = 'training.train'"))
        cleaner()
        assert files_with_it(runs) == [], "it still looks after the files"

    def test_the_next_attempt_does_not_take_up_the_token_ids(self, clean_database, planted):
        from workers.catalog.removal.forgetting import forget_all

        runs = written(clean_database, planted["dataset"], "running")
        forget_all([TWEET])
        with clean_database.begin() as connection:
            connection.execute(text("INSERT INTO example SELECT 1, 'k', 'summary', 'a ferry', 'Late.', 'human', NULL, '{}', 'train', 1"))
        spec = TrainingSpec(name="m", base="b", dataset="summaries")
        (runs / "attempt-2").mkdir()
        assert run_files.begin(runs, spec, examples.write(spec, runs / "attempt-2")) == 3
        assert not (runs / "tokens").exists()
