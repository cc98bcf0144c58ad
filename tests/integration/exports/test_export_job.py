"""The job of an export, its children's work done in this process: chains, models that can't be exported, folders that are not its own."""

from __future__ import annotations

import json
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
