"""The job of an export, its children's work done in this process: chains, models that can't be exported, folders that are not its own."""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from schemas.payloads import ExportSpec
from tests.support.exported import ROWS, add_model, in_process
from tests.support.tiny_model import build_tiny_adapter, build_tiny_model
from workers.catalog import chains, models
from workers.database import session
from workers.errors import UserError
from workers.exports import job
from workers.settings import get_settings

pytestmark = pytest.mark.usefixtures("computes_in_float32")


class Watched:
    """A job's context that keeps what is logged."""

    def __init__(self) -> None:
        self.job, self.lines = uuid.uuid4(), list[str]()

    def progress(self, **_: Any) -> None:
        pass

    def log(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture
def chain(clean_database: Engine, tmp_path: Path) -> int:
    """A cleaner and a summariser of one dataset in a chain called `two`."""
    base = build_tiny_model(tmp_path / "base")
    with clean_database.begin() as connection:
        add_model(connection, "short", base, build_tiny_adapter(base, tmp_path / "short", 0))
        connection.execute(
            text(
                "INSERT INTO example (dataset, key, stage, prompt_text, target_text, origin, split, cluster) "
                "SELECT dataset, 'clean-' || key, 'clean', prompt_text, target_text, origin, split, cluster FROM example"
            )
        )
        add_model(connection, "tidy", base, build_tiny_adapter(base, tmp_path / "tidy", 1), stage="clean")
    with session() as opened:
        return chains.create(opened, models.resolve(opened, "tidy"), models.resolve(opened, "short"), "two")[0].id


def run(spec: ExportSpec) -> tuple[dict[str, Any], list[str]]:
    context: Any = Watched()
    return dict(job.export(context, spec, in_process).result), context.lines


def test_a_chain_is_two_exports_and_a_script_and_is_checked_again_as_such(chain: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told, lines = run(ExportSpec(model_id=chain, format="merged", folder=str(out)))
    assert {path.name for path in out.iterdir()} == {"1-tidy", "2-short", "summarize.py", "README.md", "export.json"}
    assert [part["model"] for part in told["parts"]] == ["tidy", "short"]
    assert told["check"] == told["parts"][1]["check"]
    assert [part["check"]["same_summaries"] for part in told["parts"]] == [ROWS, ROWS]
    assert {"1-tidy/model.safetensors", "2-short/README.md", "summarize.py"} <= told["files"].keys()
    assert [line.partition(":")[0] for line in lines] == ["tidy", "short"]
    assert json.loads((out / "export.json").read_text())["method"] == "chain"
    (out / "1-tidy" / "generation_config.json").write_text("{}")
    with pytest.raises(UserError, match="lacks the stop token"):
        run(ExportSpec(model_id=chain, format="merged", folder=str(out), verify=True))


def test_a_chain_is_checked_again_after_a_part_was_renamed(chain: int, clean_database: Engine, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(ExportSpec(model_id=chain, format="merged", folder=str(out)))
    with clean_database.begin() as connection:
        connection.execute(text("UPDATE model SET name = 'neat' WHERE name = 'tidy'"))
    told, lines = run(ExportSpec(model_id=chain, format="merged", folder=str(out), verify=True))
    assert [(part["model"], part["check"]["same_summaries"]) for part in told["parts"]] == [("neat", ROWS), ("short", ROWS)]
    assert lines == ["1-tidy was made of a model called tidy"]
    shutil.rmtree(out / "1-tidy")
    with pytest.raises(UserError, match="out holds 1 models, and the chain has 2: give the whole folder"):
        run(ExportSpec(model_id=chain, format="merged", folder=str(out), verify=True))


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.EACCES, r"/there/out can't be made \(Permission denied\): let the worker write to .*/there, or name another folder with -o"),
        (errno.ENOSPC, "the disk is full: .* Make room on it"),
    ],
)
def test_a_folder_that_cannot_be_made_is_the_users_to_change(
    chain: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, sentence: str
) -> None:
    made = Path.mkdir

    def refused(self: Path, *arguments: Any, **options: Any) -> None:
        if self.name.endswith(".partial"):
            raise OSError(number, os.strerror(number), str(self))
        made(self, *arguments, **options)

    (tmp_path / "there").mkdir()
    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(UserError, match=sentence):
        run(ExportSpec(model_id=chain, format="merged", folder=str(tmp_path / "there" / "out")))


def test_a_whole_model_that_was_added_has_no_id_on_the_hub(clean_database: Engine, tmp_path: Path) -> None:
    # Given one that came from a folder, under the name that the models folder gives it
    base = build_tiny_model(get_settings().models_folder / "added" / "whole-0123456789ab")
    with clean_database.begin() as connection:
        add_model(connection, "whole", base, build_tiny_adapter(base, tmp_path / "tuned"))
        connection.execute(text("UPDATE model SET base = 'added/whole-0123456789ab'"))
        model = connection.execute(text("SELECT id FROM model")).scalar_one()
    try:
        # Then its adapter needs one, and what is whole says none that the hub could read
        with pytest.raises(UserError, match="Give it with --base-id"):
            run(ExportSpec(model_id=model, format="adapter", folder=str(tmp_path / "adapter")))
        run(ExportSpec(model_id=model, format="merged", folder=str(tmp_path / "out")))
        assert json.loads((tmp_path / "out" / "export.json").read_text())["base_id"] is None
        assert "base_model: whole-0123456789ab\n" in (tmp_path / "out" / "README.md").read_text()
        # And one that came from the hub has that id
        added = {"added_from": "owner/whole"}
        with clean_database.begin() as connection:
            insert = "INSERT INTO model (name, base, method, stage, details) VALUES ('theirs', :base, 'merged', 'summary', :details)"
            connection.execute(text(insert), {"base": "added/whole-0123456789ab", "details": json.dumps(added)})
        run(ExportSpec(model_id=model, format="adapter", folder=str(tmp_path / "adapter")))
        assert json.loads((tmp_path / "adapter" / "export.json").read_text())["base_id"] == "owner/whole"
    finally:
        shutil.rmtree(base)


def test_nothing_is_written_of_what_cannot_be_exported(chain: int, clean_database: Engine, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds files that are no export"):
        run(ExportSpec(model_id=chain, format="merged", folder=str(tmp_path / "full")))
    with pytest.raises(UserError, match="Give it with --base-id"):
        run(ExportSpec(model_id=chain, format="adapter", folder=str(tmp_path / "out")))
    with clean_database.begin() as connection:
        connection.execute(text("UPDATE model SET method = 'served' WHERE name = 'tidy'"))
    with pytest.raises(UserError, match="model tidy lies on a server"):
        run(ExportSpec(model_id=chain, format="merged", folder=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()
