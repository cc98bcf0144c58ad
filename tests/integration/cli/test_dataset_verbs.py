"""synthesize, datasets, dataset, train, models, model, evaluate: from a recipe to the sentence that says what a model is worth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from producers.cli import main
from tests.integration.in_process import working
from tests.integration.verbs import answer, complaint, printed
from tests.support.tiny_model import build_tiny_adapter, build_tiny_model
from workers.inference import engines
from workers.metrics.scores import METRICS

PLACES = ("Oslo", "Bergen", "Paris", "London", "Berlin", "Madrid", "Rome", "Vienna", "Prague", "Lisbon", "Dublin", "Athens")
THINGS = ("train", "bus", "ferry", "plane", "tram")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture
def recipe(clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Sixty ingested tweets, their curated pairs, and the recipe of a dataset made of them."""
    numbered = list(enumerate((thing, place) for place in PLACES for thing in THINGS))
    with (tmp_path / "tweets.jsonl").open("w") as file:
        for number, (thing, place) in numbered:
            file.write(
                json.dumps({"id": str(number), "text": f"omg the {thing} to {place} was {number + 2} minutes late AGAIN smh #fail"}) + "\n"
            )
    with (tmp_path / "pairs.jsonl").open("w") as file:
        for number, (thing, place) in numbered:
            said = f"The {thing} to {place} was {number + 2} minutes late again."
            file.write(json.dumps({"tweet_id": str(number), "clean": said, "summary": said}) + "\n")
        file.write("this line is broken\n")
    answer(capsys, "ingest", tmp_path / "tweets.jsonl", "--json")
    path = tmp_path / "late.yaml"
    path.write_text("dataset: late\npairs: pairs.jsonl\nnoise: {copies: 1, limit: 20}\ntest_size: 12\nnear_duplicate: 1.0\n")
    return path


@pytest.fixture
def dataset(clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The dataset of the recipe; what `synthesize` answered."""
    with working(clean_database):
        return answer(capsys, "synthesize", "-r", recipe, "--json")


@pytest.fixture
def model(clean_database: Engine, dataset: dict[str, Any], base: Path, tmp_path: Path) -> Iterator[str]:
    """A model that was trained on the dataset for a hundred steps."""
    with clean_database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO model (name, base, method, stage, adapter_uri, adapter_sha256, dataset, job, details) "
                "SELECT 'tiny', :base, 'lora', 'summary', :adapter, 'abc', dataset.id, :job, '{\"final_loss\": 0.5}' FROM dataset"
            ),
            {"base": str(base), "adapter": str(build_tiny_adapter(base, tmp_path / "adapter")), "job": dataset["job"]},
        )
        connection.execute(
            text("INSERT INTO metric (job, step, name, value) SELECT :job, n, 'loss', 3.0 / n FROM generate_series(1, 100) n"),
            {"job": dataset["job"]},
        )
    yield "tiny"
    engines._warm.clear()


class TestSynthesize:
    def test_builds_the_dataset_and_counts_it(self, dataset: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
        assert dataset["dataset"] == "late"

        shown = answer(capsys, "dataset", "late", "--json")
        counts = {(row["split"], row["origin"]): row["examples"] for row in shown["counts"]}
        assert counts["test", "human"] == 12
        assert counts["train", "human"] == 48
        assert 0 < counts["train", "noise"] <= 20
        assert shown["fingerprint"] == dataset["fingerprint"]
        listed = answer(capsys, "datasets", "--json")
        assert [(row["name"], row["test"], row["examples"]) for row in listed] == [("late", 12, sum(counts.values()))]

    def test_lines_that_cannot_be_used_are_told_and_kept(self, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
        capsys.readouterr()
        assert main(["synthesize", "-r", str(recipe), "--no-wait"]) == 0

        assert "1 line of" in capsys.readouterr().err
        assert [row["row"] for row in answer(capsys, "rejected", "--origin", "pairs.jsonl", "--json")] == ["61"]

    def test_the_same_recipe_on_the_same_tweets_is_one_job_and_a_changed_one_another(
        self, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def job(*overrides: str) -> str:
            return str(answer(capsys, "synthesize", "-r", recipe, *overrides, "--no-wait", "--json")["job"])

        first = job()
        assert job() == first
        assert job("noise.copies=2") != first
        (tmp_path / "more.jsonl").write_text('{"id": "more", "text": "one more tweet"}\n')
        answer(capsys, "ingest", tmp_path / "more.jsonl", "--json")
        assert job() != first

    def test_a_name_built_again_keeps_what_bore_it_before(
        self, clean_database: Engine, dataset: dict[str, Any], recipe: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def built(*overrides: str) -> str:
            with working(clean_database):
                return str(answer(capsys, "synthesize", "-r", recipe, *overrides, "--json")["fingerprint"])

        def listed() -> dict[str, tuple[str, int]]:
            return {row["name"]: (row["fingerprint"], row["examples"]) for row in answer(capsys, "datasets", "--json")}

        first = listed()["late"]
        other = built("test_size=20")
        both = listed()
        assert both[f"late@{first[0][:12]}"] == first, "a model may have learnt from it"
        assert both["late"][0] == other != first[0]

        assert built() == first[0]
        assert listed() == {"late": first, f"late@{other[:12]}": both["late"]}

    def test_examples_are_shown_to_people_as_they_are(self, dataset: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
        page = printed(capsys, "dataset", "late", "--examples", 1)

        assert "recipe test_size" in page
        assert "minutes late" in page

    def test_a_failed_job_says_why_and_ends_with_1(self, clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with working(clean_database):
            message = complaint(capsys, 1, "synthesize", "-r", recipe, "noise=null", "filters.shortest=9", "filters.human=drop")

        assert "nothing to learn from was left" in message
        assert "`tweetmill dataset dropped late` shows what filters kept out" in message
        assert "tweetmill retry" in message

    def test_all_that_the_files_show_to_be_impossible_is_told_at_once_and_before_a_job(
        self, clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sizes = ("test_size=200", "expect.min_train=500", "expect.min_test=100")
        teacher = ("teacher.model=m", "teacher.source=nowhere", "ratios.teacher=1")
        message = complaint(capsys, 1, "synthesize", "-r", recipe, *sizes, *teacher)

        for part in (
            "test_size asks for 200 pairs to be held back, but only 60 are usable",
            "make it `auto`, which holds back 30",
            "min_train asks for 500 training examples",
            "min_test asks for 100 test examples, of 60 usable pairs 30 at most",
            "teacher.source: no tweet of a source nowhere is ingested. There are tweets",
            "ratios name teacher",
        ):
            assert part in message
        assert self.jobs(clean_database) == 0

    def test_pairs_without_their_tweets_are_told_before_the_job(
        self, clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with clean_database.begin() as connection:
            connection.execute(text("DELETE FROM tweet WHERE id::int >= 40"))
        with working(clean_database):
            built = answer(capsys, "synthesize", "-r", recipe, "test_size=auto", "--json")
            assert (built["counts"]["pairs"], built["counts"]["test"]) == (40, 20)
        assert answer(capsys, "synthesize", "-r", recipe, "--preview", 1, "--json")["notes"] == [
            "the tweets of 20 of 60 pairs are not ingested: `tweetmill ingest FILE` brings the tweets of these tweet_ids in"
        ]
        with clean_database.begin() as connection:
            connection.execute(text("TRUNCATE tweet CASCADE"))
        before = self.jobs(clean_database)
        message = complaint(capsys, 1, "synthesize", "-r", recipe)
        assert "pairs: the tweets of 60 of 60 pairs are not ingested: `tweetmill ingest FILE`" in message
        assert self.jobs(clean_database) == before

    @pytest.mark.parametrize(("number", "test"), [(30, 15), (60, 30)])
    def test_the_recipe_to_copy_works_with_a_few_pairs(
        self, clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str], number: int, test: int
    ) -> None:
        pairs = recipe.parent / "few.jsonl"
        pairs.write_text("\n".join((recipe.parent / "pairs.jsonl").read_text().splitlines()[:number]))
        mix = Path(__file__).parents[3] / "recipes" / "synthesis-mix.yaml"
        # The pairs of this file are alike: by the recipe's own similarity they would be one cluster.
        with working(clean_database):
            built = answer(capsys, "synthesize", "-r", mix, f"pairs={pairs}", "dataset=few", "near_duplicate=1.0", "--json")

        counts = built["counts"]
        assert (counts["test"], counts["train"], counts["noise"]) == (test, 3 * (number - test), 2 * (number - test))
        assert built.get("flagged") is None

    @staticmethod
    def jobs(engine: Engine) -> int:
        with engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM job")).scalar_one())

    @pytest.mark.parametrize(
        ("overrides", "code", "told"),
        [
            (["noise.copis=2"], 2, "did you mean noise.copies"),
            (["test_size=-1"], 2, "test_size: Input should be greater than or equal to 0"),
            (["test_size=most"], 2, "test_size: write auto, or a whole number from 0 on"),
            (["expect.min_train=1.5"], 2, "expect.min_train: write auto, or a whole number from 0 on"),
            (["pairs=nothing.jsonl"], 1, "nothing.jsonl: no such file"),
            (["pairs=tweets.jsonl"], 1, "none of 60 lines can be used as pairs. line 1, tweet_id: Field required"),
        ],
    )
    def test_a_mistake_is_told_with_key_or_file_and_reason(
        self, recipe: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], code: int, told: str
    ) -> None:
        assert told in complaint(capsys, code, "synthesize", "-r", recipe, *overrides)


class TestTrain:
    @pytest.fixture
    def training(self, tmp_path: Path, base: Path) -> Path:
        path = tmp_path / "train.yaml"
        path.write_text(f"name: mine\nbase: {base}\ndataset: late\n")
        return path

    def test_queues_what_the_recipe_and_the_overrides_say(
        self, clean_database: Engine, dataset: dict[str, Any], training: Path, base: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        result = answer(capsys, "train", "-r", training, "learning_rate=2e-4", "world_size=2", "--no-wait", "--json")

        with clean_database.connect() as connection:
            payload = connection.execute(text("SELECT payload FROM job WHERE id = :job"), {"job": result["job"]}).scalar_one()
        assert (payload["name"], payload["base"], payload["learning_rate"], payload["world_size"]) == ("mine", str(base), 2e-4, 2)

    def test_the_same_recipe_on_the_same_examples_is_one_job(
        self, clean_database: Engine, dataset: dict[str, Any], training: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def job() -> str:
            return str(answer(capsys, "train", "-r", training, "--no-wait", "--json")["job"])

        first = job()
        assert job() == first
        with clean_database.begin() as connection:
            connection.execute(text("UPDATE dataset SET fingerprint = 'changed'"))
        assert job() != first

    @pytest.mark.parametrize(
        ("overrides", "code", "told"),
        [
            (["learning_rat=1"], 2, "did you mean learning_rate"),
            (["zero_stage=4"], 2, "zero_stage: Input should be 0, 1, 2 or 3"),
            (["dataset=none"], 1, "dataset none: there is none. `tweetmill datasets` lists them"),
            (["base=/nowhere/model"], 1, "base /nowhere/model: no folder with a config.json"),
        ],
    )
    def test_a_mistake_is_told_before_anything_is_queued(
        self, clean_database: Engine, training: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], code: int, told: str
    ) -> None:
        assert told in complaint(capsys, code, "train", "-r", training, *overrides)
        assert answer(capsys, "jobs", "--json") == []


class TestModels:
    def test_are_listed_and_shown_with_their_loss(self, model: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert [(row["name"], row["dataset"]) for row in answer(capsys, "models", "--json")] == [("tiny", "late")]

        shown = answer(capsys, "model", "latest", "--json")
        assert [point["step"] for point in shown["loss"]] == list(range(1, 101))
        assert shown["details"]["final_loss"] == 0.5

    def test_a_person_sees_the_curve_fall(self, model: str, capsys: pytest.CaptureFixture[str]) -> None:
        page = printed(capsys, "model", "tiny")

        bars = [line.partition("┤")[2] for line in page.splitlines() if "┤" in line]
        assert len(bars) == 8
        assert len(bars[0]) < len(bars[-1]) == 60
        assert "Not evaluated yet" in page

    def test_the_curve_can_be_saved_as_an_image(self, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        printed(capsys, "model", "tiny", "--plot", tmp_path / "loss.png")

        assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
        assert "Format 'nope' is not supported" in complaint(capsys, 2, "model", "tiny", "--plot", tmp_path / "loss.nope")

    def test_a_model_that_is_not_there_is_told_with_where_to_look(self, clean_database: Engine, capsys: pytest.CaptureFixture[str]) -> None:
        assert "`tweetmill models` lists them" in complaint(capsys, 1, "model", "mine")
        assert answer(capsys, "models", "--json") == []


class TestEvaluate:
    def test_the_answer_is_the_jobs_result_and_nothing_else(
        self, clean_database: Engine, model: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with working(clean_database):
            result = answer(capsys, "evaluate", model, "--limit", 4, "--json")

        with clean_database.connect() as connection:
            stored = connection.execute(text("SELECT result FROM job WHERE kind = 'evaluation.evaluate'")).scalar_one()
        assert result == stored
        assert {"tuned", "zero_shot", "few_shot", "rules", "lead", "as_is", "guard", "margins", "slices", "worst"} <= result.keys()
        assert {"few_shot_best", "few_shot_best_guarded", "zero_shot_guarded"} <= result["margins"].keys()
        assert result["few_shot_best_of"].startswith("4 sets, by SARI on ")
        assert result["tuned"]["sari"]["n"] == 4

    def test_references_of_ones_own_are_scored_and_a_person_gets_a_table_and_a_verdict(
        self, clean_database: Engine, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "200")  # room for every metric
        references = tmp_path / "references.jsonl"
        long = "so the bus was late again and then the train was late too " * 2
        lines = [
            {"id": "1", "text": "omg the bus is late", "summary": "The bus is late."},
            {"id": "2", "text": long, "summary": "All was late."},
        ]
        references.write_text("".join(json.dumps(line) + "\n" for line in lines) + "broken\n")

        with working(clean_database):
            page = printed(capsys, "evaluate", model, "--references", references, "--no-guard-prompts")

        every, long_ones = page.split("Tweets of more than 20 words")
        for table, n in ((every, "2"), (long_ones, "1")):
            rows = {line.split()[0]: line.split() for line in table.splitlines() if "±" in line and "interval" not in line}
            assert rows.keys() == {"tuned", "unguarded", "zero_shot", "few_shot", "few_shot_best", "rules", "lead", "as_is"}
            assert all(row[-1] == n and len(row) == len(["system", *2 * METRICS, "n"]) for row in rows.values()), page
        assert "The tuned model " in page
        assert "wanted: All was late." in page
        assert "last evaluation, SARI of 2 rows" in printed(capsys, "model", model)

    def test_a_file_without_references_is_told(self, model: str, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
        message = complaint(capsys, 1, "evaluate", model, "--references", recipe.parent / "pairs.jsonl")

        assert "none of 61 lines can be used as references. line 1, id: Field required" in message
