"""`tweetmill export`: a worker writes a model, processes of their own load it as others do, and the answer says what was the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.integration.in_process import working
from tests.integration.verbs import answer, complaint
from tests.support.exported import ROWS, add_model
from tests.support.tiny_model import build_tiny_adapter, build_tiny_model

pytestmark = pytest.mark.usefixtures("computes_in_float32")

KEYS = {"folder", "files", "format", "quant", "check", "hosts"}


def test_a_merged_model_is_loaded_by_transformers_and_answers_as_the_original(
    clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = build_tiny_model(tmp_path / "base")
    with clean_database.begin() as connection:
        add_model(connection, "short", base, build_tiny_adapter(base, tmp_path / "tuned"))
    out = tmp_path / "out"
    with working(clean_database):
        unknown = complaint(capsys, 1, "export", "short", "--format", "adapter", "-o", out)
        told = answer(capsys, "export", "short", "--format", "merged", "-o", out, "--json")
        elsewhere = complaint(capsys, 1, "export", "short", "--verify", base)
    assert "Give it with --base-id OWNER/NAME" in unknown
    assert told.keys() == KEYS
    assert (told["folder"], told["format"], told["quant"]) == (str(out), "merged", None)
    check = told["check"]
    assert check["n"] == check["same_prompts"] == check["same_tokens"] == check["same_summaries"] == ROWS
    assert check["sari"]["difference"] == 0
    assert check["engine"].startswith("transformers 5")
    assert set(told["files"]) == {path.name for path in out.iterdir()} >= {"model.safetensors", "chat_template.jinja", "README.md"}
    assert not list(tmp_path.glob(".*")), "nothing is left beside it"
    assert "holds no export.json: give the folder that `tweetmill export` wrote" in elsewhere
    readme = (out / "README.md").read_text()
    assert "curl -s http://127.0.0.1:8000/v1/chat/completions" in readme
    assert f"{ROWS} of {ROWS} the same" in readme


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--format"),
        (["--format", "merged", "--quant", "q8_0"], "merged keeps the weights as they are"),
        (["--format", "merged", "--verify", "there"], "the folder says what it is"),
        (["--format", "merged", "--check", "0"], "--check"),
    ],
)
def test_what_makes_no_sense_together_is_bad_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    assert told in complaint(capsys, 2, "export", "short", *arguments)
