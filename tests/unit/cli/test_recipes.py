"""Recipes: what a file says, what the command line changes, and how a mistake is told."""

from __future__ import annotations

import itertools
import pathlib
import re

import pytest
from pydantic import ValidationError

from producers import recipes
from producers.recipes import RecipeError
from schemas.bounds import STORED, usable_source
from schemas.payloads import ReviewedSpec, Stage
from schemas.synthesis import NoiseSource, SynthesisSpec
from schemas.training import TrainingSpec
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


BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{key}: &{key} [{', '.join([f'*{before}'] * 10)}]\n" for before, key in itertools.pairwise("abcdefghij")
)


class TestPlainWords:
    """What YAML 1.1 would make something else of."""

    @pytest.mark.parametrize(
        ("line", "field", "value"),
        [
            ("name: no", "name", "no"),
            ("name: 007", "name", "007"),
            ("name: 1e5", "name", "1e5"),
            ("name: 2026-01-02", "name", "2026-01-02"),
            ("name: 1_000", "name", "1_000"),
            ("name: true", "name", "true"),
            ("bf16: yes", "bf16", True),
            ("bf16: off", "bf16", False),
            ("max_steps: 010", "max_steps", 10),
            ("learning_rate: 1e-4", "learning_rate", 1e-4),
            ("seed: 9223372036854775807", "seed", 2**63 - 1),
        ],
    )
    def test_are_what_a_person_means(self, recipe: pathlib.Path, line: str, field: str, value: object) -> None:
        kept = "".join(f"{old}\n" for old in TRAINING.splitlines() if not old.startswith(line.partition(":")[0]))
        recipe.write_text(kept + line + "\n")

        assert getattr(changed(recipe), field) == value

    def test_small_aliases_and_merges_work(self, recipe: pathlib.Path) -> None:
        recipe.write_text("name: &it demo\nbase: tiny\ndataset: *it\n<<: {seed: 4}\n")

        assert (changed(recipe).dataset, changed(recipe).seed) == ("demo", 4)

    def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(self, recipe: pathlib.Path) -> None:
        recipe.write_bytes(b"\xef\xbb\xbf" + TRAINING.replace("\n", "\r\n").encode())

        assert changed(recipe).seed == 0


class TestNames:
    @pytest.mark.parametrize("name", ["-rf", "--help", "..", ".", ".hidden", "a/b", "a b", "a\x1bb", "", "x" * 101, "a\n", "\u202ea"])
    def test_that_a_command_or_a_file_could_not_take_are_refused(self, name: str) -> None:
        for spec in (TrainingSpec, ReviewedSpec):
            with pytest.raises(ValidationError):
                spec.model_validate({"name": name, "base": "b", "dataset": "d"} if spec is TrainingSpec else {"name": name, "dataset": "d"})
        with pytest.raises(ValidationError):
            SynthesisSpec.model_validate({"dataset": name, "pairs": "p"})

    @pytest.mark.parametrize("name", ["a", "A", "_", "007", "2026-01-02", "v1.2", "x" * 100, "d\u00e9j\u00e0", "3f2a9c10"])
    def test_others_are_taken(self, name: str) -> None:
        assert SynthesisSpec.model_validate({"dataset": name, "pairs": "p"}).dataset == name

    @pytest.mark.parametrize("name", ["", "  ", "-rf", "--", "a\x1b[2J", "a\nb", "\u202ea", " a", "x" * 201, "a\0"])
    def test_of_sources_that_could_not_be_seen_or_typed_are_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="a source's name"):
            usable_source(name)

    @pytest.mark.parametrize("name", ["a b", ".", "..", "Caf\u00e9 #1", "[bold]", "a/b", "\U0001f468\u200d\U0001f469"])
    def test_of_sources_may_be_any_text_else(self, name: str) -> None:
        assert usable_source(name) == name

    def test_jobs_of_before_keep_theirs(self) -> None:
        stored = {"dataset": "-rf", "pairs": "p", "seed": -1}
        assert SynthesisSpec.model_validate(stored, context=STORED).dataset == "-rf"


class TestMistakesInARecipe:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            (TRAINING + "learning_rat: 1\n", "learning_rat: there is no such key; did you mean learning_rate"),
            (TRAINING + "max_length: 2\n", "max_length: Input should be greater than or equal to 16"),
            ("base: tiny\ndataset: d\n", "name: it is missing"),
            ("name: [\n", "line 2: not valid YAML"),
            ("- a list\n", "a recipe is a mapping"),
            ("", "it is empty; a recipe is a mapping"),
            ("hello\n", "it is a single value; a recipe is a mapping"),
            ("# nothing\n", "it is empty"),
            (TRAINING + "world_size: 0\nseed: x\n", r"world_size: .*; seed: "),
            ("name: !!python/object/apply:os.system [id]\n", "line 1: not valid YAML .*leave tags"),
            ("name: !!python/name:os.system ''\n", "leave tags"),
            ("name: !secret x\n", "leave tags"),
            (TRAINING + "seed: 1\nseed: 2\n", r"line \d+: not valid YAML \(the key seed stands twice, first in line \d+\)"),
            (TRAINING + "---\nseed: 1\n", "a second document begins"),
            (TRAINING + "\tseed: 1\n", "a tab stands there: indent with spaces"),
            (TRAINING + "? [a]\n: x\n", "a key is one word"),
            (TRAINING + "seed: *nothing\n", "undefined alias"),
            ("name: &a [*a]\n", "an alias stands within what it stands for"),
            (BOMB, "with its aliases it has more than 100,000 values"),
            ("name: " + "[" * 5000, "nested too deeply"),
            (TRAINING + "\x1b\n", "a control character stands there"),
            (TRAINING + "# " + "x" * (1 << 20), "is larger than 1 MiB"),
            (TRAINING + "learning_rate: .inf\n", r"learning_rate: Input should be a valid number.* \(line \d+\)"),
            (TRAINING + "learning_rate: inf\n", "learning_rate: Input should be a finite number"),
            (TRAINING + "learning_rate: 1e400\n", "learning_rate: Input should be a finite number"),
            (TRAINING + "learning_rate: nan\n", "learning_rate: Input should be a finite number"),
            (TRAINING + f"seed: {2**63}\n", "seed: the number is too large: at most 9223372036854775807"),
            (TRAINING + f"seed: {10**400}\n", "seed: the number is too large"),
            (TRAINING + f"seed: 1{'0' * 5000}\n", "the number of seed has too many digits"),
            (TRAINING + "seed: -1\n", "seed: a seed is a whole number from 0 to"),
            (TRAINING + "seed: 0x10\n", "seed: Input should be a valid integer"),
            (TRAINING + "seed: true\n", "seed: a number belongs here, not true or false"),
            (TRAINING + "max_steps: 1:30\n", "max_steps: Input should be a valid integer"),
            (TRAINING + "num_train_epochs: 1e300\n", "num_train_epochs: Input should be less than"),
            ('name: n\ndataset: d\nbase: "a\\0b"\n', "base: the text holds a NUL"),
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


class TestADeepSpeedConfig:
    """`deepspeed: FILE.json` adds to what the recipe says, and never says the same thing a second time."""

    @pytest.fixture
    def named(self, recipe: pathlib.Path, models_folder: pathlib.Path) -> pathlib.Path:
        recipe.write_text(TRAINING + "deepspeed: ds.json\n")
        return recipe

    def test_is_read_from_the_folder_of_the_recipe(self, named: pathlib.Path) -> None:
        (named.parent / "ds.json").write_text('{"zero_optimization": {"overlap_comm": true, "reduce_bucket_size": 1000}}')
        assert recipes.read_training(named).deepspeed == {"zero_optimization": {"overlap_comm": True, "reduce_bucket_size": 1000}}

    def test_on_the_command_line_wins_or_is_unset(self, named: pathlib.Path) -> None:
        (named.parent / "other.json").write_text('{"wall_clock_breakdown": true}')
        assert recipes.read_training(named, ["deepspeed=other.json"]).deepspeed == {"wall_clock_breakdown": True}
        assert recipes.read_training(named, ["deepspeed=null"]).deepspeed is None

    def test_may_be_auto_where_the_recipe_decides_as_hugging_face_writes_it(self, named: pathlib.Path) -> None:
        config = '{"train_batch_size": "auto", "bf16": {"enabled": "auto"}, "zero_optimization": {"stage": "auto", "overlap_comm": true}}'
        (named.parent / "ds.json").write_text(config)
        assert recipes.read_training(named).deepspeed == {"zero_optimization": {"overlap_comm": True}}

    @pytest.mark.parametrize(
        ("config", "told"),
        [
            ('{"train_micro_batch_size_per_gpu": 8}', r"train_micro_batch_size_per_gpu is .*: use per_device_train_batch_size"),
            ('{"gradient_accumulation_steps": 2}', "gradient_accumulation_steps is .*: use gradient_accumulation_steps"),
            ('{"gradient_clipping": 1}', "gradient_clipping is .*: use max_grad_norm"),
            ('{"optimizer": {"type": "Adam"}}', "optimizer is .*: use learning_rate"),
            ('{"bf16": {"enabled": true}}', "bf16 is .*: use dtype"),
            ('{"zero_optimization": {"stage": 3}}', r"zero_optimization\.stage is .*: use zero_stage"),
            ('{"zero_optimization": {"offload_param": {"device": "cpu"}}}', r"offload_param\.device is .*: use offload_param"),
            ('{"elasticity": {"enabled": true}}', "elasticity is not supported here"),
            ('{"fp16": {"enabled": true}, "scheduler": {"type": "WarmupLR"}}', "fp16 is .*; scheduler is "),
        ],
    )
    def test_is_refused_where_the_recipe_has_a_key_for_it(self, named: pathlib.Path, config: str, told: str) -> None:
        (named.parent / "ds.json").write_text(config)
        with pytest.raises(RecipeError, match=told):
            recipes.read_training(named)

    @pytest.mark.parametrize(
        ("content", "told"), [(None, "there is no file .*ds.json"), ("{\n  nothing", "line 2: not JSON"), ("[1]", "holds no JSON object")]
    )
    def test_that_is_none_is_told(self, named: pathlib.Path, content: str | None, told: str) -> None:
        if content is not None:
            (named.parent / "ds.json").write_text(content)
        with pytest.raises(RecipeError, match=f"deepspeed: .*{told}"):
            recipes.read_training(named)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("offload_param=cpu zero_stage=2", "offload_param needs zero_stage 3"),
        ("offload_optimizer=cpu zero_stage=0", "offload_optimizer needs zero_stage 1, 2 or 3"),
        ("method=qlora zero_stage=3", "use zero_stage 2, or method lora"),
    ],
)
def test_what_a_zero_stage_can_not_do_is_refused_before_a_job_is_queued(recipe: pathlib.Path, override: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        recipes.read(recipe, override.split(), TrainingSpec)


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
