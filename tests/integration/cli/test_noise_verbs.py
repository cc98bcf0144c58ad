"""noise fit, apply and gauge: a profile of what was ingested, sentences messed up with it, and the words that give it away."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from producers.cli import main
from tests.integration.in_process import working
from tests.integration.verbs import answer, complaint, printed

PLACES = ("Oslo", "Bergen", "Paris", "London", "Berlin", "Madrid", "Rome", "Vienna", "Prague", "Lisbon")
RUN = "import sys; from producers.cli import main; sys.exit(main())"
MESSY = "@anna{n} omg the bus 2 {place} is sooo late agian smh #fail http://t.co/x{n}"
CAREFUL = "The library in {place} opens at {n}, and the museum does not."


def tweet(number: int) -> dict[str, str]:
    form = MESSY if number % 3 == 0 else CAREFUL
    return {"id": str(number), "text": form.format(place=PLACES[number % 10], n=number)}


def clean(number: int) -> str:
    form = "The bus to {place} is late again {n}." if number % 3 == 0 else CAREFUL
    return form.format(place=PLACES[number % 10], n=number)


@pytest.fixture
def folder(clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Three hundred ingested tweets, and pairs for the first eighty."""
    (tmp_path / "tweets.jsonl").write_text("".join(json.dumps(tweet(n)) + "\n" for n in range(300)))
    (tmp_path / "pairs.jsonl").write_text(
        "".join(json.dumps({"tweet_id": str(n), "clean": clean(n), "summary": clean(n)}) + "\n" for n in range(80))
    )
    (tmp_path / "other.jsonl").write_text("".join(json.dumps({"id": f"o{n}", "text": f"Short {n}"}) + "\n" for n in range(60)))
    answer(capsys, "ingest", tmp_path / "tweets.jsonl", "--json")
    answer(capsys, "ingest", tmp_path / "other.jsonl", "--source", "other", "--json")
    return tmp_path


@pytest.fixture
def profile(clean_database: Engine, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    with working(clean_database):
        answer(capsys, "noise", "fit", "--profile", folder / "mine.json", "--json")
    return folder / "mine.json"


class TestFit:
    def test_the_answer_is_the_profile_of_what_was_ingested_and_holds_no_word_of_it(self, profile: Path) -> None:
        learnt = json.loads(profile.read_text())

        assert learnt["tweets"] == 360
        assert learnt["operations"]["handles first"]["share"] == pytest.approx(100 / 360, abs=0.001)
        assert {"one": "handles first", "other": "hashtags last", "correlation": 1.0} in learnt["together"]
        assert not re.search("@anna|Oslo|library", profile.read_text())

    def test_a_source_can_be_fitted_alone_and_a_person_gets_a_table(
        self, clean_database: Engine, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with working(clean_database):
            page = printed(capsys, "noise", "fit", "--source", "other")

        assert page.startswith("60 tweets")
        assert re.search(r"no final mark\s+100\.0\s+1\.000\s+0\.000", page)

    def test_the_same_tweets_are_one_job_and_more_of_them_another(
        self, clean_database: Engine, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def job() -> str:
            return str(answer(capsys, "noise", "fit", "--no-wait", "--json")["job"])

        first = job()
        assert job() == first
        (folder / "more.jsonl").write_text('{"id": "more", "text": "one more"}\n')
        answer(capsys, "ingest", folder / "more.jsonl", "--json")
        assert job() != first

    def test_too_few_tweets_fail_with_what_to_do(self, clean_database: Engine, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with working(clean_database):
            assert "0 tweets tell too little" in complaint(capsys, 1, "noise", "fit", "--source", "nowhere")
        assert "there is no such folder" in complaint(capsys, 2, "noise", "fit", "--profile", folder / "no" / "mine.json")


class TestApply:
    def test_each_sentence_comes_back_messed_up_with_what_was_done_and_the_seed_decides(
        self, profile: Path, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sentences = [clean(n) for n in range(90)]
        (folder / "sentences.txt").write_text("\n".join(sentences) + "\n")

        def noised(*more: object) -> list[dict[str, Any]]:
            lines = printed(capsys, "noise", "apply", folder / "sentences.txt", "--profile", profile, *more)
            return [json.loads(line) for line in lines.splitlines()]

        rows = noised("--seed", 1)
        assert [row["clean"] for row in rows] == sentences
        assert rows == noised("--seed", 1, "--json") != noised("--seed", 2)
        assert any(row["text"] != row["clean"] for row in rows)
        for row in rows:
            assert (row["operations"] == []) == (row["text"] == row["clean"])
            assert all(set(done) == {"kind", "at"} for done in row["operations"])
        assert len(noised("--copies", 3)) == 270

    def test_reads_standard_input_and_needs_no_server(self, profile: Path) -> None:
        ended = subprocess.run(
            [sys.executable, "-c", RUN, "noise", "apply", "-", "--profile", str(profile), "--seed", "4"],
            input='The bus is late.\n\n{"this": "is JSON"}\nThe bus is here.\n',
            env={"PATH": "", "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

        assert ended.returncode == 0, ended.stderr
        assert [json.loads(line)["clean"] for line in ended.stdout.splitlines()] == ["The bus is late.", "The bus is here."]
        assert "1 line could not be used, the first line 3: this is JSON" in " ".join(ended.stderr.split())

    def test_a_mistake_is_told_with_the_file_and_what_to_do(self, profile: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "no such file" in complaint(capsys, 2, "noise", "apply", folder / "none.txt", "--profile", profile)
        assert "no such file" in complaint(capsys, 2, "noise", "apply", folder / "pairs.jsonl", "--profile", folder / "none.json")
        message = complaint(capsys, 1, "noise", "apply", folder / "pairs.jsonl", "--profile", folder / "tweets.jsonl")
        assert "is no noise profile" in message
        assert "tweetmill noise fit" in message


class TestGauge:
    def test_ranks_the_three_noises_and_names_what_gives_them_away(
        self, clean_database: Engine, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with working(clean_database):
            found = answer(capsys, "noise", "gauge", "--pairs", folder / "pairs.jsonl", "--plot", folder / "noise.svg", "--json")
            again = printed(capsys, "noise", "gauge")

        for noise in ("none", "fixed", "fitted"):
            auc = found[noise]["auc"]
            assert 0 <= auc["low"] <= auc["value"] <= auc["high"] <= 1
            assert auc["n"] == 80
            assert all({"measure", "real", "synthetic", "drop", "says"} == set(telltale) for telltale in found[noise]["telltales"])
        assert found["none"]["telltales"]
        assert found["about"]["fitted_to"] == 280, "the pairs' own tweets are not learnt from"
        assert (folder / "noise.svg").read_text().count("<svg") == 1
        assert "What gives fixed away" in again

    def test_too_few_pairs_fail_with_how_many_are_needed(
        self, clean_database: Engine, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        few = folder / "few.jsonl"
        few.write_text("".join((folder / "pairs.jsonl").read_text().splitlines(keepends=True)[:10]))

        with working(clean_database):
            assert "10 pairs have their tweets ingested, too few to compare" in complaint(capsys, 1, "noise", "gauge", "--pairs", few)

    def test_without_any_pairs_those_of_the_demo_stand_in(
        self, clean_database: Engine, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        capsys.readouterr()
        assert main(["noise", "gauge", "--no-wait", "--json"]) == 0

        assert "comparing with those of the demo" in capsys.readouterr().err
        with clean_database.connect() as connection:
            asked = connection.execute(text("SELECT payload->>'pairs' FROM job WHERE kind = 'synthesis.noise_gauge'")).scalar_one()
        assert asked.startswith("pairs.jsonl:")


class TestDatasets:
    RECIPE = "dataset: late\npairs: pairs.jsonl\nnoise: {copies: 1, limit: 30}\ntest_size: 12\n"

    def lineage(self, engine: Engine) -> list[dict[str, Any]]:
        with engine.connect() as connection:
            return list(connection.execute(text("SELECT lineage FROM example WHERE origin = 'noise' ORDER BY key")).scalars())

    @pytest.mark.parametrize("noise", ["fitted", "fixed"])
    def test_lineage_tells_source_operations_seed_and_profile(
        self, clean_database: Engine, folder: Path, capsys: pytest.CaptureFixture[str], noise: str
    ) -> None:
        (folder / "late.yaml").write_text(self.RECIPE)
        with working(clean_database):
            built = answer(capsys, "synthesize", "-r", folder / "late.yaml", f"noise.profile={noise}", "--json")

        assert (built["noise"]["profile"], built["noise"]["tweets"]) == (noise, 360)
        rows = self.lineage(clean_database)
        assert rows
        for row in rows:
            assert {"source", "kind", "seed", "copy", "operations", "profile", "tweet_id"} <= row.keys()
            assert row["profile"] == {"name": noise, "fingerprint": built["noise"]["fingerprint"]}
        assert any(row["operations"] for row in rows)

    def test_a_source_of_few_tweets_gets_the_fixed_noise_and_is_told(
        self, clean_database: Engine, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (folder / "late.yaml").write_text(self.RECIPE)
        with working(clean_database):
            page = printed(capsys, "synthesize", "-r", folder / "late.yaml", "noise.source=nowhere")

        assert "Its noise: fixed, learnt from 0 tweets." in " ".join(page.split())
