"""What the README of an export and the script of a chain tell their reader to run: run as it stands, where only the export lies.

The base has no turn of the system, and its answers end by what they say and not by a token: both have to be told.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.exported import AGREEMENT, part_of, written
from tests.support.tiny_model import build_tiny_adapter, build_tiny_model
from workers.exports import chain_script, formats, readme

END = "writ"
"""No token, and what this model soon writes: within a word of its own."""
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}" + END + "\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TWEETS = "omg the bus was late again\nthe library {tweet} opens on monday\n"


@dataclass(frozen=True)
class Exported:
    """A chain's folder, that of its second model, and the code in that one's README."""

    chain: Path
    summarizer: Path
    code: str


def printed(folder: Path, *arguments: str, given: str = "") -> list[str]:
    """The lines that Python prints there."""
    done = subprocess.run([sys.executable, *arguments], cwd=folder, input=given, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def write_letters_alone(base: Path) -> None:
    """Have the model never write a byte that is no letter by itself: programs show broken ones differently."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    weights = load_file(base / "model.safetensors")
    for number in range(len(tokenizer)):
        if not tokenizer.decode([number]).strip().isascii() or not tokenizer.decode([number]).isprintable():
            weights["model.embed_tokens.weight"][number] = 0
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture(scope="module", params=["merged", "gguf"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A cleaner and a summariser of one base, and the script that runs both."""
    folder = tmp_path_factory.mktemp("chain")
    base = build_tiny_model(folder / "base")
    (base / "chat_template.jinja").write_text(TEMPLATE)
    write_letters_alone(base)
    out = folder / "out"
    parts = [part_of(base, build_tiny_adapter(base, folder / stage, seed), stage=stage) for seed, stage in enumerate(("clean", "summary"))]
    told = [written(part, out / part.model.stage, request.param) for part in parts]
    chain_script.write(out, [(part.model.stage, each) for part, each in zip(parts, told, strict=True)], kind=formats.kind_of(request.param))
    code = readme.render("# short\n", told[1], AGREEMENT).split("```python\n")[1].split("```")[0]
    return Exported(out, out / "summary", code)


def test_the_code_of_a_readme_prints_an_answer_without_its_end(exported: Exported) -> None:
    answer = "\n".join(printed(exported.summarizer, "-c", exported.code))
    assert answer.strip()
    assert END not in answer


def test_a_chains_script_prints_a_line_for_each_tweet(exported: Exported) -> None:
    lines = printed(exported.chain, chain_script.NAME, given=TWEETS)
    assert len(lines) == 2
    assert lines[0] != lines[1]
    assert END not in "".join(lines)
