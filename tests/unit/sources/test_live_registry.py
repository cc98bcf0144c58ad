"""Live sources: an option that says nothing to a source is refused, before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from producers.cli import app
from producers.sources.live.registry import LiveOptions, open_live
from producers.sources.names import Names
from workers.ingest.readers.errors import SourceError

OF_NETWORKS = {
    "--lang": LiveOptions(languages=frozenset({"en"})),
    "--rule": LiveOptions(rules=("bus lang:en",)),
    "--max-usd": LiveOptions(max_usd=1.0),
}
OF_FILES = {"--map": LiveOptions(names=Names({"text": "says"})), "--encoding": LiveOptions(encoding="latin-1")}


@pytest.mark.parametrize("option", OF_NETWORKS)
@pytest.mark.parametrize("kind", ["file", "folder", "pipe"])
def test_what_only_a_network_can_do_is_refused_of_files(tmp_path: Path, option: str, kind: str) -> None:
    (tmp_path / "tweets.jsonl").write_text('{"id": "1", "text": "late"}\n')
    address = {"file": str(tmp_path / "tweets.jsonl"), "folder": str(tmp_path), "pipe": "-"}[kind]
    with pytest.raises(SourceError, match=f"^{option} is for .*: leave it out"):
        open_live(address, OF_NETWORKS[option])


@pytest.mark.parametrize("address", ["bluesky", "https://mastodon.example/api/v1/streaming/public"])
def test_rules_and_a_cap_are_for_x_alone(address: str) -> None:
    for option in ("--rule", "--max-usd"):
        with pytest.raises(SourceError, match=f"^{option} is for X's stream"):
            open_live(address, OF_NETWORKS[option])
    assert open_live(address, OF_NETWORKS["--lang"])


@pytest.mark.parametrize("option", OF_FILES)
def test_a_network_says_itself_how_its_fields_are_called(option: str) -> None:
    with pytest.raises(SourceError, match=f"^{option} is for files and pipes"):
        open_live("bluesky", OF_FILES[option])


def test_an_address_that_is_none_is_bad_usage() -> None:
    result = CliRunner().invoke(app, ["stream", "wss://[x/subscribe"], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert "no address" in result.output
