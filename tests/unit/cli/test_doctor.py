"""`tweetmill doctor` says what is here and whether a recipe fits, without any server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from producers.cli import main
from workers.settings import get_settings

CONFIGS = Path(__file__).parents[2] / "support" / "configs"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A machine without servers; what is given are the GPUs that its driver lists."""
    monkeypatch.setenv("TWEETMILL_HOME", str(tmp_path / "home"))
    for name in ("DATABASE_URL", "CELERY_BROKER_URL", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    get_settings.cache_clear()

    def has(gpus: str) -> None:
        script = tmp_path / "nvidia-smi"
        script.write_text(f"#!/bin/sh\nprintf '{gpus}'\n")
        script.chmod(0o700)

    has("")
    return has


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"name: mine\nbase: {CONFIGS / 'llama-3.1-8b'}\ndataset: d\nzero_stage: 0\nmax_length: 256\n")
    return str(file)


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = main(["doctor", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


A100 = r"GPU-1, NVIDIA A100 80GB PCIe, 81920, 1024, 580.82, 8.0\n"
T4 = r"GPU-2, Tesla T4, 15360, 0, 580.82, 7.5\n"


def test_it_tells_of_the_machine_though_no_server_answers(machine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    machine(A100 + T4)
    code, seen = told(capsys)

    here = seen["machine"]
    assert code == 0
    assert [(gpu["name"], gpu["memory_bytes"], gpu["dtype"]) for gpu in here["gpus"]] == [
        ("NVIDIA A100 80GB PCIe", 80 * 2**30, "bfloat16"),
        ("Tesla T4", 15 * 2**30, "float16"),
    ]
    assert here["versions"]["torch"].startswith("2.")
    assert (here["servers"]["redis"]["answers"], here["servers"]["postgres"]["answers"]) == (False, False)
    assert here["host_memory_bytes"] > 0
    assert here["disk_free_gib"] > 0


def test_a_recipe_that_fits_has_its_bytes_and_no_suggestion(machine: Any, recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    machine(A100)
    code, seen = told(capsys, "-r", recipe, "--usd-per-hour", "2")

    assert code == 0
    assert seen["fits"] is True
    assert seen["suggestion"] is None
    assert {"weights", "gradients", "optimizer", "activations", "total"} <= set(seen["per_gpu_bytes"])
    assert seen["per_gpu_bytes"]["weights"] == 2 * seen["total_parameters"]
    assert (seen["trainable_parameters"], seen["total_parameters"]) == (41_943_040, 8_030_261_248 + 41_943_040)
    assert (seen["tokens"], seen["seconds"], seen["usd"]) == (None, None, None), "the dataset can't be asked"
    assert seen["tokens_per_second"] > 1000


def test_one_that_does_not_fit_ends_with_1_and_the_nearest_setting_that_does(
    machine: Any, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(T4)
    code, seen = told(capsys, "-r", recipe)
    assert code == 1
    assert seen["fits"] is False
    assert seen["suggestion"].startswith("gradient_checkpointing=true method=qlora")

    code, seen = told(capsys, "-r", recipe, *seen["suggestion"].split())
    assert (code, seen["fits"]) == (0, True), "what is suggested does"


def test_another_card_can_be_asked_for(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "-r", recipe, "--gpu-memory", "80")[1]["fits"] is True
    assert told(capsys, "-r", recipe, "--gpu-memory", "8")[1]["fits"] is False


def test_without_a_gpu_it_is_the_hosts_memory(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    small = f"base={CONFIGS / 'llama-3.2-1b'}"
    _, seen = told(capsys, "-r", recipe, small, "per_device_train_batch_size=1", "max_length=32")
    assert seen["device"]["gpu"] is False
    assert seen["device"]["dtype_bytes"] == 4
    assert main(["doctor", "-r", recipe, "device=cuda"]) != 0
    assert "there is no GPU here: --gpu-memory GIB" in capsys.readouterr().err


def test_people_read_it_in_80_columns(machine: Any, recipe: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    machine(A100)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["doctor", "-r", recipe, "method=full"]) == 1
    shown = capsys.readouterr()
    assert all(len(row) <= 80 for row in shown.out.splitlines())
    assert "fits" in shown.out
    assert "no: NVIDIA A100 80GB PCIe has 80.0 GiB" in shown.out
    assert "It does not fit: gradient_checkpointing=true" in shown.err


def test_what_can_not_be_estimated_says_why(tmp_path: Path, recipe: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main(["doctor", "-r", recipe, "base=nobody/nothing-of-the-kind"]) != 0
    assert "its config.json can't be fetched from the hub" in capsys.readouterr().err
    assert main(["doctor", "seed=3"]) != 0
    assert "overrides change a recipe: give one with -r" in capsys.readouterr().err
