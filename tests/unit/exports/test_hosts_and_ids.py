"""Which hosts take an adapter, what a base is called on the hub, what a README and a chain's script say: nothing is loaded for it."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.exported import AGREEMENT
from workers.errors import UserError
from workers.exports import adapter, chain_script, hosts, hub_ids, layout, readme
from workers.settings import get_settings

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.mark.parametrize(
    ("config", "takers", "told"),
    [
        ({"r": 16}, {"vLLM", "Fireworks", "Together"}, "--max-lora-rank 16"),
        ({"r": 20}, {"vLLM", "Fireworks", "Together"}, "--max-lora-rank 32"),
        ({"r": 2}, {"vLLM", "Together"}, "its ranks are 4 to 64, and this one is 2"),
        ({"r": 128}, {"vLLM", "Together"}, "--max-lora-rank 128"),
        ({"r": 600}, {"Together"}, "its ranks end at 512"),
        ({"r": 16, "rank_pattern": {"q_proj": 600}}, {"Together"}, "its ranks end at 512, and this one is 600"),
        ({"r": 16, "use_dora": True}, set(), "it does not load DoRA: export with --format merged"),
        ({"r": 16, "use_rslora": True}, {"vLLM", "Together"}, "it ignores use_rslora"),
        ({"r": 16, "target_modules": ["model.c_attn"]}, {"vLLM", "Together"}, "it has no adapters on c_attn"),
    ],
)
def test_each_host_is_held_to_what_it_publishes(config: dict[str, Any], takers: set[str], told: str) -> None:
    verdicts = hosts.verdicts({"target_modules": LINEAR} | config)
    assert {each.host for each in verdicts if each.takes} == takers
    assert any(told in each.why for each in verdicts)


def test_a_base_is_found_by_what_was_asked_its_name_the_hubs_cache_or_its_config(tmp_path: Path) -> None:
    cached = tmp_path / "models--owner--name" / "snapshots" / "abc"
    cached.mkdir(parents=True)
    (tmp_path / "config.json").write_text(json.dumps({"_name_or_path": "owner/named"}))
    assert hub_ids.find("/x/base", tmp_path, "mine/this").hub == "mine/this"
    assert hub_ids.find("owner/name", tmp_path, None).hub == "owner/name"
    assert hub_ids.find("/x/smollm2-135m-instruct", tmp_path, None) == hub_ids.BaseId(
        "HuggingFaceTB/SmolLM2-135M-Instruct", {"license": "apache-2.0"}
    )
    assert hub_ids.find("/x/base", cached, None).hub == "owner/name"
    assert hub_ids.find("/x/base", tmp_path, None).hub == "owner/named"
    with pytest.raises(UserError, match="an id on the hub is OWNER/NAME"):
        hub_ids.find("/x/base", tmp_path, "/x/base")


def below_models(name: str, config: str = "{}") -> Path:
    """A base that lies below the models folder under this name."""
    folder = get_settings().models_folder / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config)
    return folder


def test_a_folder_below_the_models_folder_is_no_id_on_the_hub_unless_it_was_fetched_there(stack_home: Path) -> None:
    # Given a folder of two names, one that a config names, and one that the hub's own program fetched
    mine, named = below_models("lab/tuned"), below_models("other", '{"_name_or_path": "lab/tuned"}')
    fetched = below_models("owner/name")
    (fetched / ".cache" / "huggingface").mkdir(parents=True)
    # Then the last one's name is an id, and that of a base which lies in no folder of this name
    assert hub_ids.find("lab/tuned", mine, None).hub is None
    assert hub_ids.find("other", named, None).hub is None
    assert hub_ids.find("lab/tuned", mine, "lab/published").hub == "lab/published"
    assert hub_ids.find("owner/name", fetched, None).hub == "owner/name"
    assert hub_ids.find("owner/cached", stack_home, None).hub == "owner/cached"


def test_a_whole_model_that_was_added_has_the_id_of_where_it_was_added_from_and_not_of_what_it_was_tuned_from(stack_home: Path) -> None:
    name = "added/theirs-0123456789ab"
    folder = below_models(name, '{"_name_or_path": "owner/before"}')
    assert hub_ids.find(name, folder, None, "their-folder").hub is None
    assert hub_ids.find(str(folder), folder, None).hub is None
    assert hub_ids.find(name, folder, None, "owner/theirs").hub == "owner/theirs"
    assert hub_ids.find(name, folder, "mine/this", "owner/theirs").hub == "mine/this"


def test_what_has_no_adapter_is_refused_with_another_format() -> None:
    with pytest.raises(UserError, match=r"model big is of the method full.*--format merged"):
        adapter.check("big", "full", "owner/name")
    with pytest.raises(UserError, match="--base-id OWNER/NAME"):
        adapter.check("small", "lora", None)


def described(format_: Any, system: str = "Summarize the tweet.") -> readme.Described:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": readme.SAMPLE}]
    return readme.Described(
        "short", format_, None, "owner/name", messages, "<s>…", "</s>\n", by_text=False, max_new_tokens=40, file="short-f16.gguf"
    )


@pytest.mark.parametrize("kind", ["adapter", "whole", "gguf"])
def test_a_chains_script_is_python_that_runs_both_parts_in_turn(tmp_path: Path, kind: str) -> None:
    tidy = described("merged", "Rewrite the tweet in standard English.")
    chain_script.write(tmp_path, [("1-tidy", tidy), ("2-short", described("merged"))], kind=kind)
    text = (tmp_path / chain_script.NAME).read_text()
    parts = next(node for node in ast.parse(text).body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PARTS")
    tweet = {"role": "user", "content": "{tweet}"}
    assert ast.literal_eval(parts.value) == [
        ("1-tidy", [{"role": "system", "content": "Rewrite the tweet in standard English."}, tweet], 40, None),
        ("2-short", [{"role": "system", "content": "Summarize the tweet."}, tweet], 40, None),
    ]
    assert ("owner/name" in text) == (kind == "adapter")


def test_only_an_earlier_export_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="holds files that are no export"):
        layout.check_free(tmp_path)
    (tmp_path / layout.RECORD).write_text("{}")
    layout.check_free(tmp_path)
    with pytest.raises(UserError, match="make it first"):
        layout.check_free(tmp_path / "there" / "here")


@pytest.mark.parametrize("format_", ["adapter", "merged", "gguf", "ollama", "mlx-ready"])
def test_a_readme_has_the_prompt_a_curl_line_and_python_that_parses(format_: Any) -> None:
    text = readme.render("# short\n", described(format_), AGREEMENT)
    code = text.split("```python\n")[1].split("```")[0]
    ast.parse(code)
    assert readme.SAMPLE in code
    server, asking = (block.split("```")[0].splitlines() for block in text.split("```sh\n")[1:])
    assert len(server) == 1, "it keeps its terminal, so that nothing pasted after it would run"
    assert server[0].startswith("vllm serve owner/name --enable-lora") == (format_ == "adapter")
    assert ("--chat-template chat_template.jinja" in server[0]) == (format_ == "adapter"), "vLLM would take the base's"
    assert asking[-1].startswith("curl -s http://127.0.0.1:")
    assert ("ollama create short -f Modelfile" in asking) == (format_ == "ollama"), "which needs the server"
    assert "| summaries | 19 of 20 the same |" in text
    assert "-0.50 (-1.00 to +0.10)" in text
