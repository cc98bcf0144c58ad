"""Filters, expectations and previews through the command line: nothing is dropped unseen, and nothing is built that is not wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.integration.in_process import working
from tests.integration.verbs import answer, complaint, printed
from tests.support.openai_server import serving, teaching
from workers import database
from workers.catalog import datasets
from workers.review import claims, queue

CITIES = (
    *("Oslo", "Bergen", "Paris", "London", "Berlin", "Madrid", "Rome", "Vienna", "Prague", "Lisbon", "Dublin", "Athens"),
    *("Lima", "Cairo", "Delhi", "Quito", "Tokyo", "Perth", "Sofia", "Minsk"),
)
BAD = {
    "new_number": ("omg the ferry to Malmo was 7 minutes late", "The ferry to Malmo was 8 minutes late."),
    "new_name": ("omg the ferry to Malmo broke down again smh", "The ferry to Turku broke down again."),
    "new_word": ("they closed the whole harbour today ugh", "They bombed the harbour today."),
    "negation": ("i like the new harbour a lot tbh", "I do not like the new harbour."),
    "link": ("the harbour map is online now", "The harbour map is online now http://maps.example/x"),
    "promise": ("what a day at the harbour, the boats and the sun", "What a day. The boats. The sun."),
    "too_short": ("thirteen words are what this rather long tweet about the harbour needs ok", "Ok."),
    "too_long": ("boats rock", "Boats rock and rock and the boats rock."),
    "language": ("no puedo creer que mañana ya es lunes otra vez", "No puedo creer que mañana es lunes."),
}
FILTERS = {
    "promise": True,
    "faithful": True,
    "shortest": 0.15,
    "longest": 1.0,
    "language": "en",
    "near_duplicates": True,
    "scrub": ["handle"],
}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def recipe(clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Twenty good pairs, and an import of good rows, one bad row for each filter, and a near-duplicate."""
    tweets = [{"id": str(n), "text": f"omg the train to {city} was {n + 20} minutes late AGAIN smh"} for n, city in enumerate(CITIES)]
    pairs = [
        {
            "tweet_id": str(n),
            "clean": f"The train to {city} was {n + 20} minutes late again.",
            "summary": f"The {city} train was late again.",
        }
        for n, city in enumerate(CITIES)
    ]
    good = [
        (f"ugh @shipline the boat to {city} leaks in {n + 3} places", f"The boat to {city} leaks in {n + 3} places.")
        for n, city in enumerate(CITIES)
    ]
    rows = [*good, *BAD.values(), (good[0][0].upper(), good[0][1])]
    write_lines(tmp_path / "pairs.jsonl", pairs)
    write_lines(tmp_path / "boats.jsonl", [{"prompt": prompt, "completion": target} for prompt, target in rows])
    answer(capsys, "ingest", write_lines(tmp_path / "tweets.jsonl", tweets), "--json")
    path = tmp_path / "boats.yaml"
    spec = {
        "dataset": "boats",
        "pairs": "pairs.jsonl",
        "test_size": 5,
        "near_duplicate": 0.7,
        "filters": FILTERS,
        "imports": {"file": "boats.jsonl", "form": "prompt-completion"},
        "noise": {"copies": 2, "profile": "fixed"},
    }
    path.write_text(json.dumps(spec))
    return path


def tables(engine: Engine) -> tuple[int, ...]:
    """How many datasets, examples, drops and jobs there are."""
    counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in ("dataset", "example", "dropped", "job"))  # noqa: S608
    with engine.connect() as connection:
        return tuple(connection.execute(text(f"SELECT {counts}")).one())


def test_each_bad_row_is_dropped_for_its_reason_and_stops_nothing(
    clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with working(clean_database):
        built = answer(capsys, "synthesize", "-r", recipe, "--json")

    dropped = answer(capsys, "dataset", "dropped", "boats", "--limit", 100, "--json")
    by_text = {row["target"]: row["reasons"] for row in dropped["examples"] if row["origin"] == "import"}
    assert {reason: reason in by_text[target] for reason, (_, target) in BAD.items()} == dict.fromkeys(BAD, True)
    assert built["dropped"] == dropped["reasons"]
    assert dropped["reasons"]["near_duplicate"] == 1
    assert built["counts"]["dropped"] == dropped["total"]

    counts = {(row["split"], row["origin"]): row["examples"] for row in answer(capsys, "dataset", "boats", "--json")["counts"]}
    assert (counts["test", "human"], counts["train", "human"], counts["train", "import"]) == (5, 15, len(CITIES))
    shown = answer(capsys, "dataset", "boats", "-n", 50, "--json")["examples"]
    assert not any("shipline" in row["prompt"] for row in shown)
    why = answer(capsys, "why", next(row["key"] for row in shown if row["origin"] == "import"), "--json")
    assert why["lineage"]["scrubbed"] == {"handle": 1}


def test_the_result_line_tells_drops_by_reason(clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with working(clean_database):
        line = " ".join(printed(capsys, "synthesize", "-r", recipe).split())

    assert "Dropped: " in line
    assert "near_duplicate 1" in line
    assert "dropped_" not in line


def test_an_unmet_expectation_fails_the_job_stores_no_dataset_and_keeps_the_drops(
    clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with working(clean_database):
        message = complaint(
            capsys, 1, "synthesize", "-r", recipe, "expect.max_dropped_share=0.01", "expect.min_train=110", "expect.min_test=5"
        )

    assert "min_train asks for 110 training examples" in message
    assert "max_dropped_share allows 1 %" in message
    assert "min_test" not in message
    assert tables(clean_database)[:2] == (0, 0)
    assert answer(capsys, "dataset", "dropped", "boats", "--json")["reasons"]["language"] == 1
    assert "failed" in printed(capsys, "dataset", "dropped", "boats")


def test_what_a_person_wrote_is_kept_flagged_told_and_first_in_review(
    clean_database: Engine, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [
        {"tweet_id": "0", "clean": "The train to Oslo was 90 minutes late again.", "summary": "The Oslo train was 90 minutes late."},
        {"tweet_id": "1", "clean": "The train to Bergen was late. Again.", "summary": "The Bergen train was late. Again."},
    ]
    right = (tmp_path / "pairs.jsonl").read_text().splitlines()[2:]
    (tmp_path / "pairs.jsonl").write_text("\n".join([*map(json.dumps, wrong), *right]))
    page = " ".join(printed(capsys, "synthesize", "-r", recipe, "imports=null", "--preview", 1).split())
    assert "promise 1, new_number 1 of what people wrote" in page
    with working(clean_database):
        built = answer(capsys, "synthesize", "-r", recipe, "imports=null", "--json")
        line = printed(capsys, "synthesize", "-r", recipe, "imports=null")
        dropped = answer(
            capsys, "synthesize", "-r", recipe, "imports=null", "test_size=0", "filters.human=drop", "dataset=strict", "--json"
        )

    assert built["flagged"] == {"promise": 1, "new_number": 1}
    assert (built["counts"]["flagged"], built["counts"]["pairs"]) == (2, 20)
    assert "but flagged: 2 (promise 1, new_number 1)" in " ".join(line.split())
    shown = answer(capsys, "dataset", "boats", "--json")
    assert shown["flagged"] == {"examples": 2, "reasons": {"new_number": 1, "promise": 1}}
    assert sum(row["examples"] for row in shown["counts"] if row["origin"] == "human") == 20
    assert "but flagged: 2" in " ".join(printed(capsys, "dataset", "boats").split())
    assert "flagged" not in dropped
    kept_out = answer(capsys, "dataset", "dropped", "strict", "--json")
    assert (kept_out["origins"]["human"], dropped["counts"]["dropped"]) == (2, kept_out["total"])

    with database.session(clean_database) as session:
        dataset = datasets.resolve(session, "boats").id
        queue.open_review(session, dataset, lambda done, of: None)
        claimed = [claims.claim_row(session, dataset, "ann", claims.RowFilter()) for _ in range(3)]
    assert {row.lineage.get("tweet_id") for row in claimed[:2]} == {"0", "1"}
    assert claimed[0].reasons[0].startswith("filters: ")
    assert "flagged" not in claimed[2].lineage


def test_a_language_that_is_not_known_fails_before_anything(
    clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with working(clean_database):
        assert "filters.language: xx is not known" in complaint(capsys, 1, "synthesize", "-r", recipe, "filters.language=xx")


class TestPreview:
    def test_it_shows_rows_of_each_origin_and_what_the_run_will_give(
        self, clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = tables(clean_database)
        seen = answer(capsys, "synthesize", "-r", recipe, "--preview", 3, "--json")
        assert tables(clean_database) == before, "it stores nothing and asks for no job"
        origins = [row["origin"] for row in seen["examples"]]
        assert {origin: origins.count(origin) for origin in origins} == {"human": 3, "import": 3, "noise": 3}
        assert seen["sources"]["imports"] == {"there": 30, "looked_at": 30}

        with working(clean_database):
            built = answer(capsys, "synthesize", "-r", recipe, "--json")
        assert seen["dropped"] == built["dropped"]
        assert (sum(seen["counts"]["train"].values()), seen["counts"]["test"]) == (built["counts"]["train"], built["counts"]["test"])
        assert answer(capsys, "synthesize", "-r", recipe, "--preview", 3, "--json") == seen

    def test_people_see_tweets_targets_and_reasons(self, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
        page = printed(capsys, "synthesize", "-r", recipe, "--preview", 100, "expect.min_train=5000")

        assert "Bergen" in page
        assert "near_duplicate" in page
        assert "Not as expected: min_train" in page

    def test_of_a_long_source_a_part_is_looked_at_and_the_whole_is_reckoned(
        self, clean_database: Engine, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rows = [
            {"prompt": f"omg {n} boats sank near pier {n * 7} smh", "completion": f"{n} boats sank near pier {n * 7}."} for n in range(2000)
        ]
        write_lines(tmp_path / "boats.jsonl", rows)

        seen = answer(capsys, "synthesize", "-r", recipe, "--preview", 2, "near_duplicate=1", "--json")
        assert seen["sources"]["imports"] == {"there": 2000, "looked_at": 300}
        assert seen["about"] is True
        assert 1900 <= seen["counts"]["train"]["import"] <= 2000
        limited = answer(capsys, "synthesize", "-r", recipe, "--preview", 2, "near_duplicate=1", "imports.limit=500", "--json")
        assert 480 <= limited["counts"]["train"]["import"] <= 500

    def test_ratios_are_reckoned_in(self, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
        seen = answer(capsys, "synthesize", "-r", recipe, "--preview", 1, "ratios.human=1", "ratios.noise=2", "ratios.imports=1", "--json")
        train = seen["counts"]["train"]
        assert train["noise"] == 2 * train["human"] == 2 * train["import"]

    def test_a_teacher_is_asked_about_a_few_tweets_which_the_run_does_not_ask_again(
        self, clean_database: Engine, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        more = [{"id": f"x{n}", "text": f"the tram to the pier was {n} minutes late today"} for n in range(40)]
        answer(capsys, "ingest", write_lines(tmp_path / "more.jsonl", more), "--json")
        with serving(teaching) as server:
            source = ("teacher.model=tall", f"teacher.base_url={server.url}", "teacher.candidates=1", "teacher.usd_per_million_in=1000")
            seen = answer(capsys, "synthesize", "-r", recipe, *source, "--preview", 4, "--json")
            asked = dict(server.prompts)
            assert len(asked) == 4
            assert seen["teacher"]["of"] > 4
            assert seen["teacher"]["projected"]["usd"] > 0
            assert [row["origin"] for row in seen["examples"]].count("teacher") == 4
            again = answer(capsys, "synthesize", "-r", recipe, *source, "--preview", 4, "--json")
            assert again["teacher"]["cached"] == 4
            assert dict(server.prompts) == asked
            with working(clean_database):
                built = answer(capsys, "synthesize", "-r", recipe, *source, "--json")
        assert set(server.prompts.values()) == {1}, "nothing is paid twice"
        assert built["teacher"]["cached"] == 4
        assert seen["teacher"]["of"] == len(server.prompts)

    def test_a_teacher_that_is_not_there_hides_nothing_else(self, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        answer(capsys, "ingest", write_lines(tmp_path / "more.jsonl", [{"id": "x", "text": "the tram was late today again"}]), "--json")
        seen = answer(capsys, "synthesize", "-r", recipe, "teacher.model=tall", "--preview", 1, "--json")
        assert "OPENAI_BASE_URL" in seen["teacher"]["error"]
        assert len(seen["examples"]) == 3
