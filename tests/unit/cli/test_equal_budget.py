"""Recipes that are compared get the same budget, and those that would compare something else are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.equal_budget import Entrant, read_entrants, shared_out
from schemas.payloads import Stage
from workers.errors import UserError

ONE = "name: one\nbase: some/base\ndataset: both\nper_device_train_batch_size: 8\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, more in {
        "one": "",
        "two": "lora_r: 4\n",
        "clean": "stage: clean\n",
        "elsewhere": "dataset: other\n",
        "wide": "world_size: 2\n",
        "patient": "early_stopping_patience: 3\neval_steps: 5\neval_rows: 8\n",
        "other-base": "base: another/base\n",
    }.items():
        kept = "".join(line + "\n" for line in ONE.splitlines() if not more.startswith(line.partition(":")[0] + ":"))
        (tmp_path / f"{name}.yaml").write_text(kept + more)
    return tmp_path


def read(folder: Path, *named: str, overrides: tuple[str, ...] = ()) -> list[Entrant]:
    return read_entrants(["+".join(f"{folder}/{part}.yaml" for part in each.split("+")) for each in named], overrides)


def test_a_pair_of_recipes_becomes_a_cleaner_and_a_summariser(folder: Path) -> None:
    single, pair = read(folder, "one", "clean+one")
    assert (single.is_chain, pair.is_chain) == (False, True)
    assert [spec.stage for spec in pair.specs] == [Stage.CLEAN, Stage.SUMMARY]
    assert [spec.learn_from for spec in pair.specs] == ["tweet", "clean"], "the second model of a chain gets what the first one wrote"
    assert single.specs[0].learn_from == "tweet"
    (_, same) = read(folder, "two", "one+one")
    assert [spec.stage for spec in same.specs] == [Stage.CLEAN, Stage.SUMMARY], "the stages are those of a chain, whatever a recipe says"


def test_a_chain_shares_the_steps_that_a_single_model_has(folder: Path) -> None:
    shared = shared_out(read(folder, "one", "clean+one"), 25, lambda spec: 0)
    assert [[spec.max_steps for spec in entrant.specs] for entrant in shared] == [[25], [12, 13]]


def test_without_a_number_the_first_recipe_says_how_many_steps(folder: Path) -> None:
    named = shared_out(read(folder, "one", "two", overrides=("max_steps=40",)), None, lambda spec: 0)
    assert [entrant.specs[0].max_steps for entrant in named] == [40, 40]
    by_epochs = shared_out(read(folder, "one", "two", overrides=("num_train_epochs=3",)), None, lambda spec: 50)
    assert [entrant.specs[0].max_steps for entrant in by_epochs] == [19, 19], "3 epochs of 50 lines, 8 a step"
    with pytest.raises(UserError, match="each needs one at least"):
        shared_out(read(folder, "one", "clean+one"), 1, lambda spec: 0)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        (("one", "elsewhere"), "its dataset is other"),
        (("one", "wide"), "a step learns from 16 examples"),
        (("one", "clean"), "it writes clean"),
        (("one", "patient"), "early_stopping_patience=0"),
        (("one", "clean+other-base"), "its two bases differ"),
        (("one", "one+one+one"), "made of two recipes"),
        (("one", "one"), "say the same"),
    ],
)
def test_what_would_compare_more_than_the_recipes_is_refused(folder: Path, named: tuple[str, ...], told: str) -> None:
    with pytest.raises(UserError, match=told):
        read(folder, *named)
