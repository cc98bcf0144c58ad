"""`tweetmill chain` and `tweetmill compare`, with tiny models and a worker beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text

from tests.integration.in_process import working
from tests.integration.verbs import answer, complaint, printed
from tests.support.openai_server import Answer, always, completion, serving
from tests.support.tiny_encoders import build_embedder, build_pair_classifier
from tests.support.tiny_model import build_tiny_adapter, build_tiny_model
from workers.catalog import chains
from workers.database import session
from workers.inference import engines

SHARED = 3  # tweets in the test splits of both datasets


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [build_tiny_adapter(base, folder / str(seed), seed) for seed in range(2)]


def add_dataset(connection: Connection, name: str, tweets: range) -> int:
    dataset = connection.execute(
        text("INSERT INTO dataset (name, fingerprint) VALUES (:name, :name) RETURNING id"), {"name": name}
    ).scalar_one()
    rows = [
        {"dataset": dataset, "key": f"{name}-{number}", "prompt": f"omg bus {number} was late #fail", "target": f"Bus {number} was late."}
        for number in tweets
    ]
    connection.execute(
        text(
            "INSERT INTO example (dataset, key, stage, prompt_text, target_text, origin, split, cluster) "
            "VALUES (:dataset, :key, 'summary', :prompt, :target, 'human', 'test', 0)"
        ),
        rows,
    )
    return int(dataset)


def add_model(connection: Connection, name: str, base: Path, adapter: Path, stage: str, dataset: int) -> None:
    fingerprint = connection.execute(text("SELECT fingerprint FROM dataset WHERE id = :id"), {"id": dataset}).scalar_one()
    values = {"name": name, "base": str(base), "adapter": str(adapter), "stage": stage, "dataset": dataset}
    connection.execute(
        text(
            "INSERT INTO model (name, base, method, stage, adapter_uri, dataset, details) "
            "VALUES (:name, :base, 'lora', :stage, :adapter, :dataset, cast(:details AS jsonb))"
        ),
        values | {"details": json.dumps({"dataset_fingerprint": fingerprint})},
    )


@pytest.fixture
def models(clean_database: Engine, base: Path, adapters: list[Path]) -> Iterator[Engine]:
    """A cleaner and a summariser of one dataset, and one of another dataset that shares three held-back tweets with it."""
    with clean_database.begin() as connection:
        mine, other = add_dataset(connection, "mine", range(2, 8)), add_dataset(connection, "other", range(8 - SHARED, 14))
        add_model(connection, "cleaner", base, adapters[0], "clean", mine)
        add_model(connection, "short", base, adapters[1], "summary", mine)
        add_model(connection, "elsewhere", base, adapters[0], "summary", other)
    yield clean_database
    engines._warm.clear()


def test_a_chain_is_a_model_that_is_evaluated_compared_summarised_with_and_listed(
    models: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = answer(capsys, "chain", "cleaner", "short", "--name", "two", "--json")
    assert (made["model"], made["new"], made["parts"]) == ("two", True, ["cleaner", "short"])
    assert answer(capsys, "chain", "cleaner", "short", "--json") | {"new": True} == made, "it is made once"

    tweets = tmp_path / "bus.jsonl"
    tweets.write_text("".join(json.dumps({"id": str(n), "text": f"The library is open on Monday {n}, I hope!"}) + "\n" for n in range(3)))
    plot = tmp_path / "compare.png"
    with working(models):
        compared = answer(capsys, "compare", "short", "two", "lead", "--plot", plot, "--usd-per-hour", "3.6", "--json")
        shown = printed(capsys, "compare", "short", "two", "lead")
        evaluated = answer(capsys, "evaluate", "two", "--limit", 2, "--json")
        answer(capsys, "summarize", tweets, "--model", "two", "--wait", "--json")

    assert list(compared["systems"]) == ["short", "two", "lead"]
    assert set(compared["systems"]["two"]["sari"]) == {"value", "low", "high", "n"}
    assert compared["systems"]["two"]["sari"]["n"] == 6
    assert [(pair["a"], pair["b"]) for pair in compared["pairs"] if pair["metric"] == "sari"] == [
        ("short", "two"),
        ("short", "lead"),
        ("two", "lead"),
    ]
    cost = {name: system["cost"] for name, system in compared["systems"].items()}
    assert cost["two"]["tokens_in"] > cost["short"]["tokens_in"] > cost["lead"]["tokens_in"] == 0
    assert cost["short"]["usd"] == pytest.approx(cost["short"]["seconds"] / 1000)
    assert len(compared["verdict"]) == 3
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert f"SARI short {compared['systems']['short']['sari']['value']:.1f}, two" in printed(capsys, "jobs")
    assert "omg bus 2 was late #fail" in shown, "the terminal of who asks shows the rows"
    assert evaluated["tuned"]["sari"]["n"] == 2
    with models.connect() as connection:
        stored = [json.dumps(row.result) for row in connection.execute(text("SELECT result FROM job WHERE kind = 'evaluation.compare'"))]
        assert stored
        assert not any("omg bus" in result or "was late" in result for result in stored)
        by = connection.execute(text("SELECT count(*) FROM summary JOIN model ON model.id = summary.model WHERE model.name = 'two'"))
        assert by.scalar_one() == 3

    listed = {row["name"]: row["method"] for row in answer(capsys, "models", "--json")}
    assert listed["two"] == "chain"
    assert answer(capsys, "model", "two", "--json")["parts"] == ["cleaner", "short"]
    assert "cleaner, then short" in printed(capsys, "model", "two")


def test_models_of_two_datasets_are_scored_on_what_both_hold_back(models: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    with working(models):
        compared = answer(capsys, "compare", "short", "elsewhere", "--json")
        assert compared["systems"]["short"]["sari"]["n"] == SHARED
        with models.begin() as connection:
            connection.execute(text("DELETE FROM example WHERE key LIKE 'other-%' AND split = 'test' AND prompt_text LIKE '%bus _ was%'"))
        message = complaint(capsys, 1, "compare", "elsewhere", "short")
    assert "they learnt from 2 datasets, which hold back no tweet in common" in message
    assert "--references FILE.jsonl" in message


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["chain", "short", "cleaner"], 1, "model short is of the stage summary: the first model of a chain is one of the stage clean"),
        (["chain", "cleaner", "short", "--name", "elsewhere"], 1, "there is another model of this name"),
        (["chain", "cleaner", "short", "--name", "two words"], 1, "choose another"),
        (["chain", "cleaner", "nobody"], 1, "model nobody: there is none"),
        (["compare", "short"], 2, "name two systems or more"),
        (["compare", "short", "short"], 2, "the same model"),
        (["compare", "lead", "rules"], 2, "name at least one model"),
        (["compare", "short", "nobody"], 1, "model nobody: there is none"),
        (["compare", "short", "lead", "--no-wait", "--plot", "x.png"], 2, "leave --no-wait out"),
    ],
)
def test_what_makes_no_chain_or_comparison_is_refused_before_a_job_is_queued(
    models: Engine, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, told: str
) -> None:
    assert told in complaint(capsys, code, *arguments)
    with models.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM job")).scalar_one() == 0


def test_prompts_of_the_base_are_baselines_and_are_refused_without_examples_to_show(
    models: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    with working(models):
        found = answer(capsys, "compare", "short", "zero_shot", "zero_shot_guarded", "--limit", 3, "--json")
        message = complaint(capsys, 1, "compare", "short", "few_shot_guarded")
    assert list(found["systems"]) == ["short", "zero_shot", "zero_shot_guarded"]
    assert found["systems"]["zero_shot_guarded"]["cost"]["tokens_out"] > 0
    assert "few_shot_guarded: the dataset's training split has too few examples" in message


def test_models_of_two_bases_or_of_two_stages_do_not_go_together(models: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    with models.begin() as connection:
        connection.execute(text("UPDATE model SET base = '/another' WHERE name = 'cleaner'"))
    assert "a chain's models share one base" in complaint(capsys, 1, "chain", "cleaner", "short")
    with working(models):
        assert "they write different things" in complaint(capsys, 1, "compare", "cleaner", "short")


def test_a_chain_whose_part_is_gone_says_so_and_is_found_by_its_parts(models: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    made = answer(capsys, "chain", "cleaner", "short", "--json")
    assert made["model"] == "cleaner-then-short"
    with session() as opened:
        ids = {row["name"]: row["id"] for row in answer(capsys, "models", "--json")}
        assert [chain.name for chain in chains.holding(opened, ids["short"])] == ["cleaner-then-short"]
        assert chains.holding(opened, ids["elsewhere"]) == []
    with models.begin() as connection:
        connection.execute(text("DELETE FROM model WHERE name = 'cleaner'"))
    with working(models):
        assert "chain cleaner-then-short: its part" in complaint(capsys, 1, "evaluate", "cleaner-then-short")


def test_every_reference_of_a_tweet_counts_and_a_bad_list_costs_its_line(
    models: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [{"id": f"r{number}", "text": "omg the bus was late", "summary": ["Soup.", "omg the bus was late"]} for number in range(3)]
    references = tmp_path / "references.jsonl"
    references.write_text("".join(json.dumps(line) + "\n" for line in [*lines, lines[0] | {"id": "bad", "summary": ["Soup.", ""]}]))

    with working(models):
        compared = answer(capsys, "compare", "short", "as_is", "--no-guard", "--references", references, "--json")
        shown = printed(capsys, "compare", "short", "as_is", "--no-guard", "--references", references)

    found = compared["systems"]["as_is"]
    assert found["rougeL"] == found["chrf"] == {"value": 100.0, "low": 100.0, "high": 100.0, "n": 3}
    assert found["coverage"]["value"] == found["compression"]["value"] == 1.0
    assert "wanted: Soup. | omg the bus was late" in shown
    assert "density" in shown, "a pipe has room for every metric"
    (refused,) = answer(capsys, "rejected", "--origin", references, "--json")
    assert (refused["row"], refused["field"]) == ("4", "summary")


def test_optional_scorers_score_each_system_and_a_judge_is_measured_by_place_and_references(
    models: Engine, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embedder, nli = build_embedder(tmp_path / "embedder"), build_pair_classifier(tmp_path / "nli")
    options = ["--similarity", embedder, "--supported-by", nli, "--no-guard"]
    with working(models), serving(always(Answer(body=completion(["A"])))) as server:
        compared = answer(capsys, "compare", "short", "lead", *options, "--judge", "big", "--judge-url", server.url, "--json")
        shown = printed(capsys, "compare", "short", "lead", *options, "--judge", "big", "--judge-url", server.url)
        local = answer(
            capsys, "compare", "short", "lead", "rules", "--limit", 2, "--no-guard", "--judge", base, "--judge-margin", 5, "--json"
        )
        evaluated = answer(capsys, "evaluate", "short", "--limit", 2, "--supported-by", nli, "--json")
        table = printed(capsys, "evaluate", "short", "--limit", 2, "--supported-by", nli)
        # It is asked something made up first: a judge that can't answer ends the job before anything is written.
        tried, asked = server.requests[:2], [request["messages"] for request in server.requests[2:]]

    for system in ("short", "lead"):
        assert compared["systems"][system]["similarity"]["n"] == 6
        assert 0 <= compared["systems"][system]["supported"]["value"] <= 1
    assert compared["scorers"]["similarity"]["model"] == "embedder"
    assert compared["scorers"]["supported"]["classifies"] == "pairs"
    assert {pair["metric"] for pair in compared["pairs"]} >= {"sari", "similarity", "supported"}

    judged = compared["judge"]["pairs"][0]
    assert (judged["a"], judged["b"], judged["n"], judged["tie"], judged["first"]) == ("short", "lead", 6, 6, 0)
    assert judged["by_place"]["value"] == 1.0, "it always names the first place"
    assert judged["to_first"] == judged["by_place"]["n"] == judged["differing"]
    assert all("harbour" in request["messages"][-1]["content"] for request in tried)
    assert compared["judge"]["cost"]["prompts"] == len(asked) == 2 * judged["by_place"]["n"]
    assert all("omg bus" not in turns[0]["content"] and "<tweet>omg bus" in turns[-1]["content"] for turns in asked)
    assert (local["judge"]["model"], compared["judge"]["model"]) == (base.name, "big")
    assert [(pair["a"], pair["b"]) for pair in local["judge"]["pairs"]] == [("short", "lead"), ("short", "rules")]
    assert local["judge"]["pairs"][0]["margin"] == 5
    assert all(sum(pair[count] for count in ("first", "second", "tie", "unreadable")) == 2 for pair in local["judge"]["pairs"])

    assert "similarity by embedder, supported by nli" in " ".join(shown.split())
    assert "100% (61 to 100) of 6 rows it named the same place in both orders, 6 times the first" in " ".join(shown.split())
    assert set(evaluated["scorers"]) == {"supported"}
    assert evaluated["lead"]["supported"]["n"] == 2
    assert "supported %" in table
    with models.connect() as connection:
        rows = connection.execute(text("SELECT result::text, progress::text FROM job")).all()
        assert len(rows) == 3, "asking again is the same job"
        assert not any("omg bus" in said or "was late" in said for row in rows for said in row if said)
        stored = connection.execute(text("SELECT count(*) FROM evaluation WHERE metric = 'supported' AND subset = 'all'")).scalar_one()
        assert stored == sum("supported" in figures for system, figures in evaluated.items() if system != "scorers")


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--judge-url", "http://host/v1"], 2, "it goes with --judge"),
        (["--judge", "big", "--judge-url", "http://me:hunter2@host/v1"], 2, "no secret has a place in it"),
        (["--similarity", "/nowhere"], 1, "there is no folder /nowhere where the worker runs"),
        (["--supported-by", "BASE"], 1, "LlamaForCausalLM, which is no classifier"),
    ],
)
def test_a_scorer_that_cannot_be_used_ends_the_comparison_with_what_to_do(
    models: Engine, base: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, told: str
) -> None:
    with working(models):
        message = complaint(capsys, code, "compare", "short", "lead", *(str(base) if each == "BASE" else each for each in options))
    assert told in message
    assert "hunter2" not in message
    with models.connect() as connection:
        shown = connection.execute(text("SELECT progress FROM job")).scalars().all()
    assert not any("system" in progress for progress in shown), "nothing was written before that"
