"""Recipes: what a file says, what the command line changes, and how a mistake is told."""

from __future__ import annotations

import pathlib
import re

import pytest

from producers import recipes
from producers.recipes import RecipeError
from schemas.payloads import NoiseSource, Stage, SynthesisSpec, TrainingSpec
from workers.errors import NotFound
from workers.settings import get_settings

TRAINING = "# Requirements: a dataset.\nname: mine\nbase: tiny\ndataset: tweets\n"


@pytest.fixture
def recipe(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "train.yaml"
    path.write_text(TRAINING)
    return path


@pytest.fixture
def models_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("TWEETMILL_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    folder = get_settings().models_folder
    (folder / "tiny").mkdir(parents=True)
    (folder / "tiny" / "config.json").write_text("{}")
    yield folder
    get_settings.cache_clear()


def changed(path: pathlib.Path, *overrides: str) -> TrainingSpec:
    return recipes.read(path, overrides, TrainingSpec)


def complaint(path: pathlib.Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as raised:
        changed(path, *overrides)
    return str(raised.value)


class TestOverrides:
    def test_without_any_the_recipe_says_it_all(self, recipe: pathlib.Path) -> None:
        assert changed(recipe) == TrainingSpec(name="mine", base="tiny", dataset="tweets")

    @pytest.mark.parametrize(
        ("override", "field", "value"),
        [
            ("learning_rate=2e-4", "learning_rate", 2e-4),
            ("learning_rate = 0.5", "learning_rate", 0.5),
            ("max_steps=3", "max_steps", 3),
            ("bf16=false", "bf16", False),
            ("zero_stage=1", "zero_stage", 1),
            ("stage=clean", "stage", Stage.CLEAN),
            ("lr_scheduler_type=linear", "lr_scheduler_type", "linear"),
            ("name=007", "name", "007"),
            ("base=/models/a=b", "base", "/models/a=b"),
        ],
    )
    def test_are_read_as_the_type_of_their_field(self, recipe: pathlib.Path, override: str, field: str, value: object) -> None:
        found = getattr(changed(recipe, override), field)

        assert found == value
        assert type(found) is type(value)

    def test_the_last_one_wins(self, recipe: pathlib.Path) -> None:
        assert changed(recipe, "seed=1", "seed=2").seed == 2

    def test_reach_into_a_nested_part_and_can_unset_it(self, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "synthesis.yaml"
        path.write_text("dataset: d\npairs: p.jsonl\nnoise: {copies: 2, seed: 5}\n")

        def noise(*overrides: str) -> NoiseSource | None:
            return recipes.read(path, overrides, SynthesisSpec).noise

        assert noise("noise.copies=3") == NoiseSource(copies=3, seed=5)
        assert noise("noise.limit=null") == NoiseSource(copies=2, seed=5)
        assert noise("noise=null") is None
        assert noise("noise=null", "noise.limit=9") == NoiseSource(limit=9)

    def test_an_unknown_key_is_told_with_what_may_have_been_meant(self, recipe: pathlib.Path) -> None:
        assert "learning_rte: there is no such key; did you mean learning_rate" in complaint(recipe, "learning_rte=1")

    def test_an_unknown_key_that_resembles_nothing_is_told_with_all_keys(self, recipe: pathlib.Path) -> None:
        assert "There are name, base, dataset" in complaint(recipe, "zzz=1")

    def test_a_word_without_an_equals_sign_is_told_how_to_write_it(self, recipe: pathlib.Path) -> None:
        assert "key=value" in complaint(recipe, "learning_rate")


class TestMistakesInARecipe:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            (TRAINING + "learning_rat: 1\n", "learning_rat: there is no such key; did you mean learning_rate"),
            (TRAINING + "max_length: 2\n", "max_length: Input should be greater than or equal to 16"),
            ("base: tiny\ndataset: d\n", "name: it is missing"),
            ("name: [\n", "line 2: not valid YAML"),
            ("- a list\n", "a recipe is a mapping"),
            ("", "a recipe is a mapping"),
            (TRAINING + "world_size: 0\nseed: x\n", r"world_size: .*; seed: "),
            ("name: !!python/object/apply:os.system [id]\n", "not valid YAML"),
        ],
    )
    def test_are_told_with_file_key_and_reason(self, recipe: pathlib.Path, text: str, told: str) -> None:
        recipe.write_text(text)

        message = complaint(recipe)

        assert str(recipe) in message
        assert re.search(told, message)

    def test_a_rule_between_fields_is_told_in_its_own_words(self, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "synthesis.yaml"
        path.write_text("dataset: d\n")

        with pytest.raises(RecipeError, match="give pairs, sentences, imports or a teacher"):
            recipes.read(path, [], SynthesisSpec)

    def test_a_missing_file_a_folder_and_a_binary_are_told_apart(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")

        assert "there is no such recipe" in complaint(tmp_path / "nothing.yaml")
        assert "is a folder" in complaint(tmp_path)
        assert "is not UTF-8" in complaint(tmp_path / "binary")


class TestTheBaseOfATrainingRun:
    def test_is_found_by_name_in_the_models_folder(self, recipe: pathlib.Path, models_folder: pathlib.Path) -> None:
        assert recipes.read_training(recipe).base == str(models_folder / "tiny")

    def test_may_be_a_path(self, recipe: pathlib.Path, models_folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        elsewhere = models_folder.parent / "elsewhere"
        (models_folder / "tiny").rename(elsewhere)

        assert recipes.read_training(recipe, [f"base={elsewhere}"]).base == str(elsewhere)
        monkeypatch.chdir(elsewhere.parent)
        assert recipes.read_training(recipe, ["base=./elsewhere"]).base == str(elsewhere)

    def test_else_may_be_a_hub_id(self, models_folder: pathlib.Path) -> None:
        assert recipes.resolve_base("HuggingFaceTB/SmolLM2-135M-Instruct") == "HuggingFaceTB/SmolLM2-135M-Instruct"

    @pytest.mark.parametrize("base", ["/nowhere/model", "./nowhere", "~/no/such/model"])
    def test_a_path_that_leads_nowhere_is_told_with_what_is_there(self, models_folder: pathlib.Path, base: str) -> None:
        with pytest.raises(NotFound, match="there is tiny"):
            recipes.resolve_base(base)
