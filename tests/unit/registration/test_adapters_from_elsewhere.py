"""An adapter that was made elsewhere is put on no base that it was not made for, and nothing of it can run code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.tiny_model import build_tiny_adapter, build_tiny_model, build_tokenizer, write_random_model
from workers.base_models.chat_template import ChatFormat
from workers.base_models.files import UnusableAdapter
from workers.errors import UserError
from workers.registration import adapters, bases


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="module")
def made(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_adapter(base, tmp_path_factory.mktemp("tiny") / "adapter")


@pytest.fixture
def adapter(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "theirs"))


def other_base(folder: Path, **sizes: int) -> Path:
    """A base of other sizes than the tiny one's."""
    from transformers import LlamaConfig

    tokenizer = build_tokenizer()
    usual = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    write_random_model(LlamaConfig(vocab_size=len(tokenizer), **(usual | sizes)), folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_an_adapter_fits_the_base_that_it_was_made_for(adapter: Path, base: Path) -> None:
    assert adapters.check_fits(adapter, "base", base) == 14


@pytest.mark.parametrize(
    ("sizes", "why"), [({"hidden_size": 64}, "is for weights of"), ({"num_hidden_layers": 1}, "which the base does not have")]
)
def test_an_adapter_on_another_base_is_refused_by_the_layer_that_does_not_fit(
    adapter: Path, tmp_path: Path, sizes: dict[str, int], why: str
) -> None:
    with pytest.raises(UnusableAdapter, match=r"does not fit the base other: .*model\.layers\.\d") as refused:
        adapters.check_fits(adapter, "other", other_base(tmp_path / "other", **sizes))
    assert why in str(refused.value)
    assert "--base" in str(refused.value)


def test_a_pickle_is_refused_by_its_name(adapter: Path) -> None:
    (adapter / adapters.WEIGHTS).rename(adapter / "adapter_model.bin")
    with pytest.raises(UnusableAdapter, match=r"adapter_model\.bin, which is never loaded: a pickle can run code"):
        adapters.read_config(adapter)


def test_an_adapter_of_another_type_is_refused(adapter: Path) -> None:
    file = adapter / adapters.CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | {"peft_type": "IA3"}))
    with pytest.raises(UnusableAdapter, match="'IA3', and only LORA"):
        adapters.read_config(adapter)


def test_weights_that_are_cut_short_are_refused(adapter: Path, base: Path) -> None:
    weights = adapter / adapters.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UnusableAdapter, match="damaged"):
        adapters.check_fits(adapter, "base", base)


@pytest.mark.parametrize(
    ("own", "named", "any_base", "found"),
    [
        ("hub/base", None, False, "hub/base"),
        ("hub/base", "/models/Base", False, "/models/Base"),
        ("", "/models/other", False, "/models/other"),
        ("hub/base", "/models/other", True, "/models/other"),
    ],
)
def test_the_base_is_the_one_that_is_named_or_the_adapters_own(own: str, named: str | None, any_base: bool, found: str) -> None:
    assert bases.base_of({"base_model_name_or_path": own}, named, any_base=any_base) == found


@pytest.mark.parametrize(
    ("own", "named", "sentence"),
    [
        ("hub/base", "/models/other", "tuned on the base base, and --base names other"),
        ("/content/base", None, "the base base, in a folder that is not here"),
        ("", None, "name it with --base"),
    ],
)
def test_a_base_of_another_name_or_none_is_refused(own: str, named: str | None, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        bases.base_of({"base_model_name_or_path": own}, named, any_base=False)


def test_a_chat_template_of_no_known_family_is_warned_of() -> None:
    tokenizer = build_tokenizer()
    assert bases.warnings_of(ChatFormat(tokenizer), "base") == []

    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    assert any("of no family that is known here" in told for told in bases.warnings_of(ChatFormat(tokenizer), "base"))
