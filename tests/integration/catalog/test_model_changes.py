"""Renaming and removing models: by the verbs, and never what something else needs. Their cards are what the Hugging Face hub takes."""

from __future__ import annotations

import io
import json
import shutil
import uuid
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from sqlalchemy import Engine, text

from producers.cli import main
from tests.integration.verbs import answer, complaint, printed
from tests.support.streams import add_model, begin
from workers.catalog import model_card
from workers.settings import get_settings

JOB = uuid.UUID(int=1)
DETAILS = {
    "dataset_fingerprint": "f00d",
    "base_sha256": "ba5e",
    "dtype": "bfloat16",
    "steps": 40,
    "trainable_parameters": 4_000,
    "total_parameters": 9_000,
    "versions": {"torch": "2.13.0"},
    "hardware": {"cpu": "a CPU", "cores": 2, "memory_bytes": 2**33},
    "energy_joules": 3.6e6,
    "energy_source": "nvidia-smi",
    "evaluation": {"step": 40, "rows": 9, "eval_loss": 2.0, "eval_sari": 41.0, "baselines": {"lead": 30.0}},
    "spec": {"learning_rate": 4e-4, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "world_size": 2},
}
TWEET = "omg the bus was late"


@pytest.fixture
def folder(clean_database: Engine, tmp_path: Path) -> Path:
    """A model with its job, a summary and a score; its base says which licence it has. Return the folder of its weights."""
    base, folder = tmp_path / "base-instruct", get_settings().models_folder / "adapters" / "mine-abc"
    base.mkdir()
    (base / "README.md").write_text("---\nlicense: apache-2.0\ntags: [x]\n---\n# Base\n")
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    with clean_database.begin() as connection:
        job = "INSERT INTO job (id, kind, queue, idempotency_key, state) VALUES (:job, 'training.train', 'training', 'key', 'done')"
        connection.execute(text(job), {"job": JOB})
        connection.execute(text("INSERT INTO tweet (id, source, text, text_hash) VALUES ('1', 'x', :tweet, 'a')"), {"tweet": TWEET})
        dataset = connection.execute(text("INSERT INTO dataset (name, fingerprint) VALUES ('tweets', 'f00d') RETURNING id")).scalar_one()
        connection.execute(
            text(
                "INSERT INTO model (name, base, method, stage, adapter_uri, adapter_sha256, dataset, job, details) "
                "VALUES ('mine', :base, 'lora', 'summary', :folder, 'd1', :dataset, :job, cast(:details AS jsonb))"
            ),
            {"base": str(base), "folder": str(folder), "dataset": dataset, "job": JOB, "details": json.dumps(DETAILS)},
        )
        connection.execute(
            text(
                "INSERT INTO summary (tweet, model, prompt_version, cleaned, summary, attempt) "
                "SELECT '1', id, 'v', :tweet, 'The bus was late.', 1 FROM model"
            ),
            {"tweet": TWEET},
        )
        connection.execute(
            text(
                "INSERT INTO evaluation (job, subset, system, metric, model, reference_set, value, low, high, n) "
                "SELECT :job, 'all', system, metric, id, 'test split', value, value, value, 100 FROM model, "
                "(VALUES ('tuned', 'sari', 45.5), ('lead', 'sari', 45.5), ('tuned', 'faithful', 0.98)) AS s(system, metric, value)"
            ),
            {"job": JOB},
        )
    return folder


def test_the_hub_takes_the_card(folder: Path) -> None:
    model_card.refresh(job=JOB)

    card = ModelCard((folder / "README.md").read_text(), ignore_metadata_errors=False)
    told = card.data
    assert (told.base_model, told.library_name, told.license) == ("base-instruct", "peft", "apache-2.0")
    assert told.eval_results is not None
    assert [(result.metric_type, result.metric_value, result.dataset_name) for result in told.eval_results] == [("sari", 45.5, "tweets")]
    for fact in ("4,000 of 9,000", "torch 2.13.0", "a CPU, 2 cores, 8 GiB", "1 kWh (nvidia-smi)", "| global batch | 16 |", "| lead | 45.5"):
        assert fact in card.text
    assert "words kept %: no number, name or link that the tweet lacks; a check of words, not of truth | 98.0 (98.0 to 98.0) |" in card.text
    assert TWEET not in card.content
    assert str(folder.parent) not in card.content, "a path means nothing elsewhere"


def test_without_an_evaluation_the_card_shows_that_of_the_run(clean_database: Engine, folder: Path) -> None:
    with clean_database.begin() as connection:
        connection.execute(text("DELETE FROM evaluation"))
    model_card.refresh(job=JOB)

    card = ModelCard((folder / "README.md").read_text(), ignore_metadata_errors=False)
    assert card.data.eval_results is None
    assert "On 9 rows held back from training, after step 40" in card.text
    assert "| eval_sari | 41 |" in card.text


def test_a_model_gets_another_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is called better now" in printed(capsys, "rename", "mine", "better")

    assert answer(capsys, "model", "better", "--json")["name"] == "better"
    assert "# better" in (folder / "README.md").read_text()
    assert "there is a model of this name already" in complaint(capsys, 1, "rename", "better", "better")
    assert "choose another" in complaint(capsys, 1, "rename", "better", "a/b")


def test_a_model_goes_with_its_files_and_what_hangs_on_it_if_one_says_so(
    clean_database: Engine, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "1 summaries and 3 figures of evaluations" in complaint(capsys, 1, "rm", "mine", "--yes")
    assert folder.is_dir()

    gone = answer(capsys, "rm", "mine", "--yes", "--with-results", "--json")

    assert (gone["name"], gone["summaries"], gone["evaluations"], gone["files"]) == ("mine", 1, 3, True)
    assert list(folder.parent.iterdir()) == []
    assert "there is none" in complaint(capsys, 1, "model", "mine")
    with clean_database.connect() as connection:
        assert connection.execute(text("SELECT idempotency_key FROM job")).scalar_one() != "key", "its training can be asked for again"


def test_a_no_keeps_the_model(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))

    assert main(["rm", "mine", "--with-results"]) != 0

    assert folder.is_dir()
    assert answer(capsys, "model", "mine", "--json")["name"] == "mine"


@pytest.mark.parametrize(("payload", "state"), [({"model_id": 1}, "running"), ({"model_ids": [1]}, "queued")])
def test_a_model_that_a_job_needs_stays(
    payload: dict[str, object], state: str, clean_database: Engine, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with clean_database.begin() as connection:
        number = connection.execute(text("SELECT id FROM model")).scalar_one()
        asked = {name: [number] if isinstance(value, list) else number for name, value in payload.items()}
        job = (
            "INSERT INTO job (id, kind, queue, idempotency_key, state, payload) "
            "VALUES (:id, 'x', 'x', 'other', :state, cast(:payload AS jsonb))"
        )
        connection.execute(text(job), {"id": uuid.UUID(int=2), "state": state, "payload": json.dumps(asked)})

    assert "is in use by job 00000000" in complaint(capsys, 1, "rm", "mine", "--yes", "--with-results")
    assert folder.is_dir()


def test_a_model_that_a_running_stream_was_begun_with_is_kept(clean_database: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    add_model(clean_database)
    begin("club", model="echoed")
    assert "writes for stream club" in complaint(capsys, 1, "rm", "echoed", "--yes")

    with clean_database.begin() as connection:
        connection.execute(text("UPDATE stream SET state = 'stopped'"))
    assert answer(capsys, "rm", "echoed", "--yes", "--json")["name"] == "echoed"
