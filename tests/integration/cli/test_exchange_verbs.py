"""import, dataset list|show|diff|export, why: pairs in from other tools, out to them again, and where each came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from producers.cli import main
from tests.integration.in_process import working
from tests.integration.verbs import complaint

PLACES = ("Oslo", "Bergen", "Paris", "London", "Berlin", "Madrid", "Rome", "Vienna", "Prague", "Lisbon", "Dublin", "Athens")
TRICKY = ' "so"\r\nlate,\u2028\U0001f68c\u200d\ufeff\n'
FORMS = ("messages", "prompt-completion", "alpaca", "sharegpt", "csv")

Asks = Callable[..., Any]


@pytest.fixture
def answer(clean_database: Engine, capsys: pytest.CaptureFixture[str]) -> Asks:
    """What a verb prints with --json, while a worker works."""

    def asked(*arguments: object) -> Any:
        capsys.readouterr()
        with working(clean_database):
            code = main([*map(str, arguments), "--json"])
        streams = capsys.readouterr()
        assert code == 0, streams.err
        return json.loads(streams.out)

    return asked


@pytest.fixture
def page(clean_database: Engine, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a verb prints for people."""

    def asked(*arguments: object) -> str:
        capsys.readouterr()
        assert main([*map(str, arguments)]) == 0
        return capsys.readouterr().out

    return asked


@pytest.fixture
def recipe(clean_database: Engine, tmp_path: Path, answer: Asks) -> Path:
    """Ingested tweets, pairs about them, rows of another tool, and a recipe that mixes all with noise."""
    ingest(tmp_path, answer)
    said = [f"The bus to {place} was {number + 2} minutes late again." for number, place in enumerate(PLACES)]
    pairs = [{"tweet_id": str(number), "clean": text_, "summary": text_} for number, text_ in enumerate(said)]
    written(tmp_path / "pairs.jsonl", pairs)
    written(
        tmp_path / "taught.jsonl",
        [{"prompt": f"gr8 food in {place} 2day!!", "completion": f"Food in {place} is great."} for place in PLACES],
    )
    path = tmp_path / "mixed.yaml"
    path.write_text(
        "dataset: mixed\npairs: pairs.jsonl\nnoise: {copies: 2}\nimports: {file: taught.jsonl, form: prompt-completion, licence: CC0}\n"
        "test_size: 4\nnear_duplicate: 1.0\n"
    )
    return path


def ingest(folder: Path, answer: Asks) -> None:
    tweets = [
        {"id": str(n), "text": f"omg the bus to {place} was {n + 2} min late AGAIN #fail", "author": "ann"}
        for n, place in enumerate(PLACES)
    ]
    answer("ingest", written(folder / "tweets.jsonl", tweets))


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class TestImport:
    def test_makes_a_dataset_of_a_file_and_keeps_what_cannot_be_used(self, tmp_path: Path, answer: Asks) -> None:
        rows = [{"tweet": f"gr8 food in {place}!!", "short": f"Food in {place} is great."} for place in PLACES]
        file = written(tmp_path / "rows.jsonl", [*rows, {"tweet": "so late"}, rows[0]])

        mapped = ("--form", "prompt-completion", "--map", "prompt=tweet,completion=short")
        built = answer("import", file, *mapped, "--dataset", "food", "--test-size", 4)

        assert {name: built["counts"][name] for name in ("imports", "imports_used", "train", "test", "rejected")} == {
            "imports": 13,
            "imports_used": 12,
            "train": 8,
            "test": 4,
            "rejected": 1,
        }
        assert built["rows"] == {"read": 14, "inserted": 13, "duplicates": 0, "rejected": 1}
        rejected = answer("rejected")
        assert [(row["origin"].rpartition("/")[2], row["row"], row["field"]) for row in rejected] == [
            ("rows.jsonl", "13", "short"),
            ("food", "rows.jsonl line 14", None),
        ]
        both = [(row["origin"], row["row"]) for row in rejected]
        for typed, rows_found in (("rows.jsonl", both), (str(file), both), ("food", both[1:]), ("other.jsonl", [])):
            assert [(row["origin"], row["row"]) for row in answer("rejected", "--origin", typed)] == rows_found
        shown = answer("dataset", "show", "food", "--examples", 9)
        assert {(row["split"], row["origin"]): row["examples"] for row in shown["counts"]} == {
            ("train", "import"): 8,
            ("test", "import"): 4,
        }
        assert {row["target"] for row in shown["examples"]} == {row["short"] for row in rows}

    def test_the_same_file_read_in_the_same_way_is_one_job(self, tmp_path: Path, answer: Asks) -> None:
        file = written(tmp_path / "rows.jsonl", [{"prompt": "so late", "completion": "It is late.", "other": "It was late."}])

        def job(*more: str) -> str:
            return str(answer("import", file, "--form", "prompt-completion", "--dataset", "late", "--no-wait", *more)["job"])

        assert job() == job()
        assert job("--map", "completion=other") != job()

    @pytest.mark.parametrize(
        ("options", "code", "told"),
        [
            (["--form", "xml", "--dataset", "d"], 2, "'xml' is not one of"),
            (["--form", "csv", "--dataset", "a b"], 2, "--dataset"),
            (["--form", "csv", "--dataset", "d", "--stage", "long"], 2, "--stage"),
            (["--form", "csv", "--dataset", "d", "--map", "tweet"], 2, "write prompt=COLUMN,completion=COLUMN"),
            (["--form", "csv", "--dataset", "d"], 1, "its first line names no column prompt"),
            (["--form", "alpaca", "--dataset", "d", "--map", "prompt=a"], 1, "a map is for the forms"),
            (["--form", "alpaca", "--dataset", "d"], 1, "none of 2 lines can be used as rows of alpaca. line 1, output: it is missing"),
        ],
    )
    def test_a_mistake_is_told_before_anything_is_queued(
        self, clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, told: str
    ) -> None:
        file = written(tmp_path / "rows.jsonl", [{"instruction": "a"}, {"instruction": "b"}])
        assert told in complaint(capsys, code, "import", file, *options)
        assert complaint(capsys, 1, "import", tmp_path / "none", "--form", "csv", "--dataset", "d").count("no such file") == 1
        with clean_database.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM job")).scalar_one() == 0


class TestRoundTrip:
    @pytest.mark.parametrize("form", FORMS)
    def test_what_was_exported_and_imported_is_exported_alike(self, recipe: Path, tmp_path: Path, answer: Asks, form: str) -> None:
        """Into a dataset, out of it, in again, out again: to the byte, tricky texts too."""
        tricky = written(tmp_path / "tricky.jsonl", [{"prompt": TRICKY, "completion": TRICKY[::-1]}])
        answer("synthesize", "-r", recipe, "test_size=0", f"imports.file={tricky}")

        once = answer("dataset", "export", "mixed", "--form", form, "--out", tmp_path / "once")["files"]
        answer("import", once[0]["file"], "--form", form, "--dataset", "mixed")
        again = answer("dataset", "export", "mixed", "--form", form, "--out", tmp_path / "again")["files"]

        assert [(each["split"], each["rows"], each["sha256"]) for each in again] == [
            (each["split"], each["rows"], each["sha256"]) for each in once
        ]
        assert once[0]["rows"] > 30
        folders = [{file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("once", "again")]
        assert folders[0] == folders[1]

    def test_two_runs_of_one_recipe_give_the_same_fingerprint_and_the_same_bytes(
        self, clean_database: Engine, recipe: Path, tmp_path: Path, answer: Asks
    ) -> None:
        def run(name: str) -> tuple[str, dict[str, bytes]]:
            fingerprint = answer("synthesize", "-r", recipe)["fingerprint"]
            answer("dataset", "export", "mixed", "--form", "messages", "--out", tmp_path / name)
            return fingerprint, {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}

        first = run("first")
        with clean_database.begin() as connection:
            connection.execute(text("TRUNCATE job, dataset, tweet, curated CASCADE"))
        ingest(tmp_path, answer)

        assert run("second") == first
        assert set(first[1]) == {"mixed-train.jsonl", "mixed-test.jsonl", "dataset_info.json"}


class TestExport:
    def test_the_answer_tells_files_rows_and_hashes_and_the_index_names_them(self, recipe: Path, tmp_path: Path, answer: Asks) -> None:
        answer("synthesize", "-r", recipe)
        out = tmp_path / "out"
        out.mkdir()
        (out / "dataset_info.json").write_text('{"of_mine": {"file_name": "mine.json"}}')

        result = answer("dataset", "export", "mixed", "--form", "sharegpt", "--out", out, "--split", "train")

        (file,) = result["files"]
        lines = Path(file["file"]).read_bytes()
        assert (file["rows"], file["sha256"]) == (lines.count(b"\n"), hashlib.sha256(lines).hexdigest())
        index = json.loads((out / "dataset_info.json").read_text())
        assert list(index) == ["of_mine", "mixed-train"]
        assert index["mixed-train"] == {
            "file_name": "mixed-train.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "conversations", "system": "system"},
        }
        row = json.loads(lines.splitlines()[0])
        assert [turn["from"] for turn in row["conversations"]] == ["human", "gpt"]
        assert row["system"] == "Summarize the tweet."

    def test_mistakes_are_told(self, recipe: Path, tmp_path: Path, answer: Asks, capsys: pytest.CaptureFixture[str]) -> None:
        answer("synthesize", "-r", recipe, "test_size=0")

        def told(code: int, *more: object) -> str:
            return complaint(capsys, code, "dataset", "export", *more, "--form", "csv", "--out", tmp_path / "out")

        assert "dataset none: there is none. `tweetmill datasets` lists them" in told(1, "none")
        assert "there are train and test" in told(2, "mixed", "--split", "dev")
        assert "it has no examples of the split test" in told(1, "mixed", "--split", "test")
        (tmp_path / "out" / "dataset_info.json").write_text("[]")
        assert "this is no dataset_info.json" in told(1, "mixed")


class TestDiff:
    def test_tells_recipes_counts_and_examples_apart(self, recipe: Path, tmp_path: Path, answer: Asks, page: Callable[..., str]) -> None:
        rows = [{"prompt": f"gr8 food in {place}!!", "completion": f"Food in {place} is great."} for place in PLACES]
        changed = [{**rows[0], "completion": "Food is great."}, *rows[2:], {"prompt": "so late", "completion": "It is late."}]
        for name, content in (("a", rows), ("b", changed)):
            form = ("--form", "prompt-completion", "--dataset", name)
            answer("import", written(tmp_path / f"{name}.jsonl", content), *form, "--licence", name)

        seen = answer("dataset", "diff", "a", "b")

        assert not seen["same"]
        assert [row["key"] for row in seen["recipe"]] == ["imports.file", "imports.licence"]
        assert seen["recipe"][1] == {"key": "imports.licence", "a": "a", "b": "b"}
        assert seen["counts"] == [{"split": "train", "origin": "import", "a": 12, "b": 12}]
        assert [seen[kind]["count"] for kind in ("only_a", "only_b", "changed", "moved")] == [1, 1, 1, 0]
        assert seen["only_a"]["examples"][0]["prompt"] == rows[1]["prompt"]
        assert seen["only_b"]["examples"][0]["prompt"] == "so late"
        (other,) = seen["changed"]["examples"]
        assert (other["prompt"], other["a"], other["b"]) == (rows[0]["prompt"], rows[0]["completion"], "Food is great.")
        shown = page("dataset", "diff", "a", "b")
        for part in ("only in a: 1", "only in b: 1", "another target: 1", "recipe imports.licence"):
            assert part in shown

    def test_tells_what_moved_to_the_other_side_and_what_is_the_same(self, recipe: Path, answer: Asks, page: Callable[..., str]) -> None:
        answer("synthesize", "-r", recipe, "noise=null")
        answer("synthesize", "-r", recipe, "noise=null", "dataset=other", "seed=5")
        answer("synthesize", "-r", recipe, "noise=null", "dataset=twin")

        seen = answer("dataset", "diff", "mixed", "other", "--examples", 100)
        assert (seen["only_a"]["count"], seen["only_b"]["count"], seen["changed"]["count"]) == (0, 0, 0)
        moved = seen["moved"]["examples"]
        assert len(moved) == seen["moved"]["count"] > 0
        assert {(row["a"], row["b"]) for row in moved} == {("train", "test"), ("test", "train")}
        assert answer("dataset", "diff", "mixed", "twin")["same"]
        assert "The same examples in the same splits." in page("dataset", "diff", "mixed", "twin")

    def test_a_dataset_that_is_not_there_is_told(self, recipe: Path, answer: Asks, capsys: pytest.CaptureFixture[str]) -> None:
        answer("synthesize", "-r", recipe)
        assert "dataset none: there is none" in complaint(capsys, 1, "dataset", "diff", "mixed", "none")


class TestNames:
    def test_the_group_and_the_short_ways_are_the_same(self, recipe: Path, answer: Asks) -> None:
        answer("synthesize", "-r", recipe)
        assert answer("dataset", "list") == answer("datasets")
        assert answer("dataset", "show", "mixed", "-n", 1) == answer("dataset", "mixed", "-n", 1) == answer("dataset", "-n", 1, "mixed")


class TestWhy:
    @pytest.fixture
    def keys(self, recipe: Path, answer: Asks) -> dict[str, str]:
        """An example of each origin."""
        answer("synthesize", "-r", recipe)
        shown = answer("dataset", "show", "mixed", "-n", 1)["examples"]
        return {row["origin"]: row["key"] for row in shown if row["split"] == "train"}

    def test_an_import_is_told_by_file_and_line_with_its_licence(
        self, keys: dict[str, str], answer: Asks, page: Callable[..., str]
    ) -> None:
        result = answer("why", keys["import"][:12])
        assert result["example"] == keys["import"]
        assert result["source"] | {"place": "", "file_sha256": ""} == {
            "kind": "import",
            "file": "taught.jsonl",
            "place": "",
            "form": "prompt-completion",
            "human": False,
            "file_sha256": "",
        }
        assert result["licence"] == "CC0"
        assert [each["name"] for each in result["datasets"]] == ["mixed"]
        assert f"{result['source']['place']} of taught.jsonl" in page("why", keys["import"])

    def test_noise_is_told_by_its_text_operations_and_seed(self, keys: dict[str, str], answer: Asks, page: Callable[..., str]) -> None:
        result = answer("why", keys["noise"])
        assert result["source"]["kind"].startswith("noise of a ")
        assert len(result["source"]["text_sha256"]) == 64
        assert result["seed"] == 0
        assert result["operations"] == result["lineage"]["operations"] != []
        pair = answer("why", result["source"]["pair"])
        assert (pair["origin"], pair["source"]["tweet"]) == ("human", result["source"]["tweet"])
        shown = page("why", keys["noise"])
        assert "operations" in shown
        assert "none noted" in shown, "nobody stated a licence"

    def test_a_pair_is_told_by_its_tweet_and_who_wrote_that(self, keys: dict[str, str], answer: Asks, page: Callable[..., str]) -> None:
        result = answer("why", keys["human"])
        assert result["source"] == {
            "kind": "curated pair",
            "tweet": result["lineage"]["tweet_id"],
            "tweet_source": "tweets",
            "tweet_author": "ann",
        }
        assert result["operations"] is None
        assert "of tweets by ann" in page("why", keys["human"])

    def test_an_example_of_several_datasets_is_one(self, keys: dict[str, str], recipe: Path, answer: Asks) -> None:
        answer("synthesize", "-r", recipe, "dataset=other", "noise=null")
        assert [each["name"] for each in answer("why", keys["human"])["datasets"]] == ["other", "mixed"]

    def test_a_beginning_that_is_none_or_of_several_is_told(
        self, clean_database: Engine, keys: dict[str, str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with clean_database.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO example (dataset, key, stage, prompt_text, target_text, origin, split, cluster) SELECT id, "
                    "repeat('beef', 15) || unnest(ARRAY['0000', '1111']), 'summary', 'a', 'b', 'human', 'train', 1 FROM dataset"
                )
            )
        assert "beef: 2 examples or more begin so" in complaint(capsys, 1, "why", "beef")
        assert "example 0000000000: there is none" in complaint(capsys, 1, "why", "0000000000")
        assert "4 to 64 hexadecimal digits" in complaint(capsys, 1, "why", "bee")
        assert "4 to 64 hexadecimal digits" in complaint(capsys, 1, "why", "%' OR 1")
