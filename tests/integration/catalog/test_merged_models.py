"""Models merged for a server: they go with the model they are of, and never while somebody merges or without a need."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file
from sqlalchemy import Engine, text

from tests.integration.verbs import answer, printed
from tests.support.tiny_model import build_tiny_model
from workers.base_models import changed_weights
from workers.base_models.files import BaseRecord
from workers.catalog.removal import merged_models
from workers.errors import Unavailable
from workers.inference.served import merging
from workers.settings import get_settings

CHANGED = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return build_tiny_model(tmp_path / "base")


@pytest.fixture
def folder(clean_database: Engine) -> Path:
    """Where merged models lie: nothing is there, and the catalog is empty."""
    return get_settings().models_folder / merged_models.FOLDER


@pytest.fixture
def mine(clean_database: Engine, base: Path) -> Iterator[Path]:
    """A model of the catalog that no server loads as an adapter."""
    tuned = get_settings().models_folder / "adapters" / "mine-0123456789ab"
    tuned.parent.mkdir(parents=True, exist_ok=True)
    tensor = load_file(base / "model.safetensors")[CHANGED] + 1
    changed_weights.write(tuned, [(CHANGED, tensor)], BaseRecord(base=str(base), sha256="0" * 64), method="freeze")
    in_catalog(clean_database, "mine", base, tuned)
    yield tuned
    merged_models.remove(merged_models.of_model(tuned))


def in_catalog(engine: Engine, name: str, base: Path, tuned: Path) -> None:
    row = "INSERT INTO model (name, base, method, stage, adapter_uri) VALUES (:name, :base, 'freeze', 'summary', :tuned)"
    with engine.begin() as connection:
        connection.execute(text(row), {"name": name, "base": str(base), "tuned": str(tuned)})


def lies(folder: Path, name: str) -> Path:
    """A model that was merged some day, with what its merging leaves beside it."""
    (folder / name).mkdir(parents=True)
    (folder / name / "config.json").write_text("{}")
    (folder / name / "model.safetensors").write_bytes(b"\0" * 1000)
    (folder / f".{name}.lock").touch()
    return folder / name


def there(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class TestRemovingAModel:
    def test_what_it_was_merged_to_goes_with_it_and_nothing_of_another_model(self, mine, folder, capsys):
        for digest in ("a" * 12, "b" * 12):
            lies(folder, f"mine-0123456789ab-{digest}")
        other = lies(folder, f"mine-0123456789ab-0123456789ab-{'c' * 12}")
        strange = lies(folder, "mine-0123456789ab-of-somebody")
        assert answer(capsys, "rm", "mine", "--yes", "--json")["merged"] == 2
        assert {path for path in folder.iterdir() if path.is_dir()} == {other, strange}
        merged_models.remove([other, strange])

    def test_a_model_of_the_same_files_keeps_it(self, clean_database, base, mine, folder, capsys):
        in_catalog(clean_database, "twin", base, mine)
        made = lies(folder, f"{mine.name}-{'a' * 12}")
        assert answer(capsys, "rm", "mine", "--yes", "--json")["merged"] == 0
        assert made.is_dir()

    def test_a_server_that_has_loaded_it_reads_on(self, mine, folder, capsys):
        made = lies(folder, f"{mine.name}-{'a' * 12}")
        with (made / "model.safetensors").open("rb") as loaded:
            printed(capsys, "rm", "mine", "--yes")
            assert not made.exists()
            assert loaded.read() == b"\0" * 1000


class TestPruning:
    def test_merged_models_whose_model_is_gone_go_and_are_told(self, mine, folder, capsys):
        kept = lies(folder, f"{mine.name}-{'a' * 12}")
        lies(folder, f"gone-0123456789ab-{'b' * 12}")
        said = printed(capsys, "prune", "--older-than", "90d")
        assert "Merged models whose model is gone: 1, 0 MiB." in said
        assert there(folder) == {kept.name, f".{kept.name}.lock"}
        assert "Merged" not in printed(capsys, "prune", "--older-than", "90d")

    def test_so_does_what_a_killed_merge_or_removal_left(self, folder, capsys):
        for end in ("partial", "removed"):
            (folder / f".gone-0123456789ab-{'b' * 12}.{end}").mkdir(parents=True)
        assert answer(capsys, "prune", "--older-than", "90d", "--json")["merged"]["models"] == 1
        assert there(folder) == set()

    def test_a_dry_run_counts_them_and_removes_nothing(self, folder, capsys):
        lies(folder, f"gone-0123456789ab-{'b' * 12}")
        before = there(folder)
        told = answer(capsys, "prune", "--older-than", "90d", "--dry-run", "--json")
        assert told["merged"] == {"models": 1, "bytes": 1002, "busy": []}
        assert there(folder) == before
        merged_models.remove([folder / f"gone-0123456789ab-{'b' * 12}"])

    def test_a_link_of_somebody_stays_with_what_it_names(self, folder, tmp_path, capsys):
        folder.mkdir(parents=True, exist_ok=True)
        link = folder / f"gone-0123456789ab-{'b' * 12}"
        link.symlink_to(tmp_path)
        assert answer(capsys, "prune", "--older-than", "90d", "--json")["merged"]["models"] == 0
        assert link.is_symlink()
        link.unlink()


class TestAMergeUnderWay:
    def test_is_left_alone_told_and_ends_whole(self, base, mine, folder, capsys):
        told = []

        def remove_once() -> None:
            if not told:
                told.append(merged_models.remove(merged_models.of_model(mine)))

        made = merging.merged(base, mine, folder, remove_once)
        assert told == [merged_models.Removed(busy=(made.name,))]
        assert load_file(made / "model.safetensors").keys() == load_file(base / "model.safetensors").keys()
        assert answer(capsys, "rm", "mine", "--yes", "--json")["merged"] == 1
        assert there(folder) == set()

    def test_whose_model_goes_meanwhile_is_removed_by_the_next_prune(self, base, mine, folder, capsys):
        said = []

        def remove_model() -> None:
            if not said:
                said.append(printed(capsys, "rm", "mine", "--yes"))
                said.append(printed(capsys, "prune", "--older-than", "90d"))

        try:
            merging.merged(base, mine, folder, remove_model)
        except Exception as error:  # the tuned model went before the child read it
            said.append(str(error))
        assert "Being merged at this moment, though the model is gone: 1." in said[1]
        printed(capsys, "prune", "--older-than", "90d")
        assert there(folder) == set()

    def test_has_the_lock_alone_though_each_removal_takes_its_file_away(self, folder):
        made = lies(folder, f"gone-0123456789ab-{'b' * 12}")
        inside, most = [0], [0]

        def turns() -> None:
            for _ in range(300):
                if (held := merged_models.lock(made)) is not None:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    time.sleep(0)
                    inside[0] -= 1
                    (folder / f".{made.name}.lock").unlink()
                    os.close(held)

        threads = [threading.Thread(target=turns) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == [1]
        assert merged_models.remove([made]).models == 1

    def test_that_is_stopped_leaves_nothing_that_holds_the_lock(self, base, mine, folder):
        def stop() -> None:
            raise Unavailable("asked to stop")

        with pytest.raises(Unavailable):
            merging.merged(base, mine, folder, stop)
        assert merged_models.remove(merged_models.of_model(mine)).busy == ()
        assert there(folder) == set()
