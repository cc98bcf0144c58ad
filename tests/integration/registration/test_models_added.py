"""Models that were tuned elsewhere are taken into the catalog by their verb, and used like those that were trained here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from schemas.records import TweetRecord
from tests.conftest import Servers
from tests.integration.in_process import work_off
from tests.integration.ingest.test_ingest import Line
from tests.integration.verbs import answer, complaint, printed
from tests.support.endpoint import TOKEN, serving
from tests.support.tiny_model import build_tiny_adapter, build_tiny_model
from workers.base_models.files import BaseRecord
from workers.inference import engines
from workers.ingest.tweets import copy_tweets
from workers.settings import get_settings

TWEETS = [f"The bus number {number} was late again and I missed my train to Oslo!" for number in range(4)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_adapter(base, tmp_path_factory.mktemp("tiny") / "adapter")


@pytest.fixture(autouse=True)
def ready(clean_database: Engine) -> None:
    """Some tweets, and no engine that an earlier test left."""
    copy_tweets((Line(n, TweetRecord(id=str(n), text=tweet, source="s")) for n, tweet in enumerate(TWEETS)), origin="test")
    engines.release()


def summaries(engine: Engine) -> list[str]:
    work_off(engine)
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT summary FROM summary ORDER BY tweet")).scalars())


def test_an_adapter_is_checked_copied_and_summarises(
    clean_database: Engine, adapter: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (adapter / "training_args.bin").write_bytes(b"\x80\x05.")
    added = answer(capsys, "models", "add", adapter, "--name", "theirs", "--base", base, "--json")

    folder = Path(added["adapter"])
    assert folder.parent == get_settings().models_folder / "adapters"
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors", ".md"}
    record = BaseRecord.read(folder)
    assert record is not None
    assert (record.base, record.sha256, record.end_of_turn) == (str(base), added["details"]["base_sha256"], "<|im_end|>")
    assert [each["name"] for each in answer(capsys, "models", "--json")] == ["theirs"]
    assert "theirs" in printed(capsys, "models")

    printed(capsys, "promote", "theirs")
    printed(capsys, "summarize")
    assert [str(number) in summary for number, summary in enumerate(summaries(clean_database))] == [True] * 4
    capsys.readouterr()


def test_an_adapter_whose_base_has_other_weights_by_now_is_refused(
    adapter: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = Path(shutil.copytree(adapter, tmp_path / "theirs"))
    BaseRecord(base="base", sha256="0" * 64).write(theirs)

    assert "has other weights than when" in complaint(capsys, 1, "models", "add", theirs, "--name", "theirs", "--base", base)
    assert answer(capsys, "models", "--json") == []


def test_a_whole_model_is_its_own_base_and_goes_with_its_files(
    clean_database: Engine, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Path(shutil.copytree(base, tmp_path / "whole"))
    added = answer(capsys, "models", "add", whole, "--name", "whole", "--json")
    shutil.rmtree(whole)

    folder = get_settings().models_folder / added["base"]
    assert (added["method"], added["adapter"]) == ("merged", None)
    assert (folder / "model.safetensors").is_file()
    printed(capsys, "summarize", "--model", "whole")
    assert len(summaries(clean_database)) == 4

    printed(capsys, "rm", "whole", "--with-results", "--yes")
    assert not folder.exists()


def test_a_model_of_a_server_is_a_name_and_an_address_and_its_key_is_not_kept(
    clean_database: Engine, servers: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with clean_database.begin() as connection:
        connection.execute(text("INSERT INTO model (name, base, method, stage) VALUES ('there', 'b', 'lora', 'summary')"))
    variable = "TWEETMILL_SERVED_KEY_THERE"
    with serving(tmp_path, "there", TWEETMILL_ENGINE="echo") as endpoint:
        where = ("--served", f"{endpoint.url}/v1", "--model", "there", "--key-variable", variable)
        added = answer(capsys, "models", "add", *where, "--name", "remote", "--json")
        monkeypatch.setenv(variable, TOKEN)
        printed(capsys, "summarize", "--model", "remote")
        written = summaries(clean_database)

    assert [str(number) in summary for number, summary in enumerate(written)] == [True] * 4
    assert added["details"] == {"url": f"{endpoint.url}/v1", "key_variable": variable}
    assert TOKEN not in json.dumps(added)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["add", "--name", "x"], 2, "name a folder or a hub id"),
        (["add", "here", "--served", "http://127.0.0.1:1/v1", "--name", "x"], 2, "name a folder or a hub id"),
        (["add", "--served", "http://127.0.0.1:1/v1", "--name", "x"], 2, "the model's name at the server"),
        (
            ["add", "--served", "http://127.0.0.1:1/v1", "--model", "m", "--name", "x", "--key-variable", "DATABASE_URL"],
            1,
            "TWEETMILL_SERVED",
        ),
        (["add", "--served", "http://h/v1", "--model", "m", "--name", "x", "--key-variable", "TWEETMILL_SERVED_KEY"], 1, "https alone"),
        (["add", "--served", "http://127.0.0.1:1/v1", "--model", "m", "--name", "../x"], 1, "--name"),
    ],
)
def test_what_cannot_be_added_is_refused_with_a_sentence(
    arguments: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in complaint(capsys, code, "models", *arguments)
