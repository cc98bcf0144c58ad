"""`tweetmill report` on a real ledger: empty, and with a curve, an evaluation and summaries."""

from __future__ import annotations

import json
import os
import stat
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from schemas.payloads import Stage
from tests.integration.verbs import answer, complaint, printed
from tests.support.reported import figure
from tests.support.reviews import Row, add_dataset
from tests.support.tiny_model import build_tiny_model
from workers import database
from workers.catalog import evaluations
from workers.text import prompts

SIZES = {25: 54.0, 50: 55.5, 100: 57.0, 200: 58.5}
PAIRS = 40


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "base")


def add_job(connection: Connection, kind: str, payload: dict[str, Any], result: dict[str, Any] | None, state: str = "done") -> uuid.UUID:
    job = uuid.uuid4()
    connection.execute(
        text(
            "INSERT INTO job (id, kind, queue, idempotency_key, payload, state, result, created_at, started_at, finished_at) VALUES "
            "(:id, :kind, 'x', :id, cast(:payload AS jsonb), :state, cast(:result AS jsonb), clock_timestamp(), now(), now())"
        ),
        {"id": job, "kind": kind, "payload": json.dumps(payload), "result": json.dumps(result) if result else None, "state": state},
    )
    return job


def add_model(connection: Connection, name: str, base: Path, dataset: int, job: uuid.UUID, spec: dict[str, Any]) -> int:
    details = {"spec": spec, "dataset_fingerprint": "mine", "seconds": 12.0, "steps": 30, "tokens": 1000, "examples": 200}
    return int(
        connection.execute(
            text(
                "INSERT INTO model (name, base, method, stage, dataset, job, details) "
                "VALUES (:name, :base, 'lora', 'summary', :dataset, :job, cast(:details AS jsonb)) RETURNING id"
            ),
            {"name": name, "base": str(base), "dataset": dataset, "job": job, "details": json.dumps(details)},
        ).scalar_one()
    )


def recipe(base: Path, **changed: Any) -> dict[str, Any]:
    common = {"name": "mine", "base": str(base), "dataset": "mine", "stage": "summary", "method": "lora", "learning_rate": 0.0005}
    return (
        common | {"origins": ["human"], "max_steps": 30, "num_train_epochs": 1.0, "pairs": None, "pairs_seed": 0, "curve": None} | changed
    )


def add_point(connection: Connection, base: Path, dataset: int, size: int, seed: int, value: float) -> None:
    spec = recipe(base, curve="growing", pairs=size, pairs_seed=seed)
    job = add_job(connection, "training.train", spec, {"seconds": 10.0 + size / 10, "steps": 30})
    name = f"growing-{size}-{seed}"
    model = add_model(connection, name, base, dataset, job, spec)
    systems = {name: {"sari": figure(value), "cost": {"seconds": 3.0}}, "lead": {"sari": figure(54.0)}, "rules": {"sari": figure(53.0)}}
    pairs = [{"a": name, "b": other, "metric": "sari", "difference": 1.0, "low": 0.5, "high": 1.5, "n": 300} for other in ("lead", "rules")]
    payload = {"model_ids": [model], "baselines": ["lead", "rules"], "limit": None, "references": None, "guard": True, "resamples": 2000}
    add_job(
        connection, "evaluation.compare", payload, {"order": list(systems), "systems": systems, "pairs": pairs, "worst": {}, "verdict": []}
    )


@pytest.fixture
def project(clean_database: Engine, base: Path) -> Engine:
    """A dataset of which one row is summarised, a model that was evaluated, and a curve with two models of each size."""
    rows = [
        Row(
            f"@tom the 42 bus was LATE again #fail {n}",
            f"The 42 bus was late again {n}.",
            "human",
            "test" if n % 4 == 0 else "train",
            n,
            tweet=f"t{n}",
        )
        for n in range(PAIRS)
    ]
    dataset = add_dataset(clean_database, rows, "mine", opened=False)
    with clean_database.begin() as connection:
        spec = recipe(base)
        model = add_model(connection, "demo", base, dataset, add_job(connection, "training.train", spec, {"seconds": 12.0}), spec)
        connection.execute(
            text(
                "INSERT INTO summary (tweet, model, prompt_version, cleaned, summary, attempt) VALUES "
                "('t0', :model, '1', 'c', '<b>The bus</b> was \u202elate.', 1)"
            ),
            {"model": model},
        )
        scored = {"sari": figure(60.0), "promise": figure(1.0, 0.0)}
        result: dict[str, Any] = {"tuned": scored, "lead": {"sari": figure(57.0)}, "rules": {"sari": figure(50.0)}, "model": "demo"}
        result |= {"margins": {"lead": {"sari": figure(3.0)}, "rules": {"sari": figure(10.0)}}, "references": "test split"}
        add_job(connection, "evaluation.evaluate", {"model_id": model, "references": None, "few_shot": 4, "resamples": 2000}, result)
        for size, value in SIZES.items():
            for seed, away in ((0, -0.2), (1, 0.2)):
                add_point(connection, base, dataset, size, seed, value + away)
    return clean_database


def test_an_empty_project_gets_a_page_that_says_what_comes_first(
    clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "report.html"
    assert "there is no such folder" in complaint(capsys, 2, "report", "-o", file)
    file = tmp_path / "report.html"
    assert printed(capsys, "report", "-o", file) == ""
    assert "Nothing is measured yet." in file.read_text()
    assert "tweetmill ingest tweets.jsonl" in file.read_text()
    assert answer(capsys, "report", "--json")["answer"]["sentence"] == "Nothing is measured yet."


def test_the_page_is_for_its_owner_alone_even_in_the_place_of_one_that_was_open(
    clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.html"
    file.write_text("what was there before")
    file.chmod(0o644)
    printed(capsys, "report", "-o", file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().startswith("<!DOCTYPE html>")
    assert list(tmp_path.iterdir()) == [file]


def test_a_pipe_gets_the_page_and_stays_a_pipe(clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o666)
    before = pipe.stat().st_mode
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    printed(capsys, "report", "-o", pipe)
    reader.join(10)
    assert got[0].startswith("<!DOCTYPE html>")
    assert pipe.stat().st_mode == before


def test_json_alone_writes_no_page(clean_database: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    answer(capsys, "report", "--json")
    assert list(tmp_path.iterdir()) == []
    file = tmp_path / "report.html"
    answer(capsys, "report", "--json", "-o", file)
    assert file.is_file()


def test_a_project_answers_by_its_curve_and_shows_what_is_stored(
    project: Engine, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.html"
    found = answer(capsys, "report", "--json", "-o", file)
    assert found["answer"]["curve"] == "growing"
    assert found["answer"]["verdict"] == found["curves"]["shown"][0]["series"]["lora, human"]["verdict"]
    (curve,) = found["curves"]["shown"]
    assert (curve["points"], curve["done"], curve["dataset"], curve["dataset_fingerprint"]) == (8, 8, "mine", "mine")
    assert [each["name"] for each in found["project"]["models"]["shown"]] == ["demo"], "points of curves are no models of their own"
    assert [each["model"] for each in found["evaluations"]["shown"]] == ["demo"]
    assert found["comparisons"] == {"shown": [], "there": 0}, "the scores of points stand in the curve"
    (row,) = found["examples"]["rows"]
    assert found["examples"]["held_back"]
    assert row["wanted"] == "The 42 bus was late again 0."
    html = file.read_text()
    assert "&lt;b&gt;The bus&lt;/b&gt; was \\u202elate." in html
    assert html.count("<svg") == 4, "a curve and an evaluation, each for a wide and a narrow window"

    sent = found["sent"]
    assert [message["content"] for message in sent["messages"]] == [message.content for message in prompts.tuned(sent["tweet"], "summary")]
    assert sent["messages"][1]["content"] in sent["prompt"]
    assert sent["completion"] in sent["answer"]
    assert sent["answer_tokens"] > 0


def test_without_the_base_model_s_folder_the_page_says_so(project: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with project.begin() as connection:
        connection.execute(text("UPDATE model SET base = '/nowhere/tiny'"))
    found = answer(capsys, "report", "--json", "-o", tmp_path / "report.html")
    assert found["sent"]["missing"] == "the base model's folder is not on this machine"
    assert "Not shown: the base model" in (tmp_path / "report.html").read_text()


def test_a_comparison_of_several_models_is_shown(project: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    systems = {"growing-25-0": {"sari": figure(54.0), "cost": {}}, "demo": {"sari": figure(60.0), "cost": {}}}
    rows = [Row(f"the tram number {n} is late", f"The tram number {n} is late.", split="test") for n in (1, 2)]
    add_dataset(project, rows, "trams", opened=False)
    worst = {name: [{"id": row.key, "sari": 3.0}] for name, row in zip(systems, rows, strict=True)}
    result = {"order": list(systems), "systems": systems, "pairs": [], "worst": worst, "verdict": ["demo is better."]}
    with project.begin() as connection:
        add_job(connection, "evaluation.compare", {"model_ids": [1], "baselines": ["lead"]}, result)
        add_job(connection, "evaluation.compare", {"model_ids": [2, 1], "baselines": []}, result)
    found = answer(capsys, "report", "--json", "-o", tmp_path / "report.html")
    assert found["comparisons"]["there"] == 2
    assert "Compared: growing-25-0, demo" in (tmp_path / "report.html").read_text()
    assert found["examples"]["worst_of"] == "growing-25-0", "the system that was named first, whichever Postgres returns first"
    assert [row["tweet"] for row in found["examples"]["worst"]] == ["the tram number 1 is late"]


def test_without_a_display_it_says_where_the_page_lies(
    clean_database: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    said = complaint(capsys, 0, "report", "-o", tmp_path / "report.html", "--open")
    assert "no browser with a display here" in said
    assert "report.html" in said


def test_a_curve_is_said_to_be_scored_as_its_points_are_whatever_its_models_were_compared_with_since(
    project: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"baselines": ["lead", "rules"], "limit": None, "references": None, "guard": True, "resamples": 2000}
    with project.begin() as connection:
        model = connection.execute(text("SELECT id FROM model WHERE name = 'growing-200-1'")).scalar_one()
        for odd in ({"references": "others", "limit": 7}, {"guard": False, "limit": 7}, {"baselines": ["zero_shot"], "resamples": 500}):
            add_job(connection, "evaluation.compare", asked | {"model_ids": [model]} | odd, {"systems": {}, "pairs": []})
        add_job(connection, "evaluation.compare", asked | {"model_ids": [model, 1]}, {"systems": {}, "order": []})
        few = add_job(connection, "evaluation.compare", asked | {"model_ids": [model], "limit": 7}, {"systems": {}, "pairs": []})
        connection.execute(text("UPDATE job SET created_at = created_at - interval '1 day' WHERE id = :few"), {"few": few})
    scored = answer(capsys, "report", "--json", "-o", tmp_path / "report.html")["curves"]["shown"][0]["scored"]
    assert (scored["limit"], scored["references"], scored["guard"], scored["resamples"]) == (None, None, True, 2000)
    with database.session() as session:
        of_few = evaluations.of_point(session, model, 7)
        assert of_few is not None
        assert of_few.id == few, "a curve on seven rows is scored by them"


def test_a_curve_counts_the_pairs_of_its_own_dataset(project: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(5):
        add_dataset(project, [Row("a tram", f"A tram {number}.")], f"newer-{number}", opened=False)
    found = answer(capsys, "report", "--json", "-o", tmp_path / "report.html")
    assert "mine" not in [each["name"] for each in found["project"]["datasets"]["shown"]]
    assert found["curves"]["shown"][0]["pairs"] == PAIRS * 3 // 4, "a quarter is held back"


def test_what_is_sent_is_a_row_of_the_stage_that_its_instruction_is_of(
    clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [Row(f"tram {n} LATE", f"Tram {n} is late, clean.", stage=Stage.CLEAN) for n in range(20)]
    add_dataset(clean_database, [*rows, Row("tram 1 LATE", "Tram 1 is late.")], "both", opened=False)
    sent = answer(capsys, "report", "--json", "-o", tmp_path / "report.html")["sent"]
    assert (sent["tweet"], sent["completion"]) == ("tram 1 LATE", "Tram 1 is late.")
