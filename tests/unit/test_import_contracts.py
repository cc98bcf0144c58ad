"""The house: who may import whom, and the light side stays light."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import tasks

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "peft", "accelerate", "deepspeed", "tensorflow", "sklearn", "spellchecker", "py3langid", "phonenumbers")
LIGHT = (
    "producers",
    "producers.cli",
    "schemas",
    "schemas.tables",
    "deploy",
    "workers.app",
    "workers.jobs.ledger",
    "workers.jobs.fanout",
    "workers.jobs.maintenance",
    "workers.jobs.attempt",
    "workers.jobs.queries",
    "workers.database",
    "tasks",
)


def fresh(code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new interpreter, far from this folder."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd="/", check=False)


def loaded_by(*modules: str) -> list[str]:
    code = (
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    )
    ended = fresh(code)
    assert ended.returncode == 0, ended.stderr
    return list(eval(ended.stdout))  # noqa: S307 - a list that this very test printed


def test_the_light_side_loads_no_model_library():
    every_task = [f"tasks.{module.name}" for module in pkgutil.iter_modules(tasks.__path__)]
    every_verb = [f"producers.cli.{module.name}" for module in pkgutil.iter_modules([str(ROOT / "producers" / "cli")])]
    every_schema = [f"schemas.{module.name}" for module in pkgutil.iter_modules([str(ROOT / "schemas")]) if module.name != "migrations"]
    assert len(every_task) >= 5
    assert loaded_by(*LIGHT, *every_task, *every_verb, *every_schema) == []


@pytest.mark.parametrize(
    "craft",
    [
        "workers.synthesis.job",
        "workers.noise.jobs",
        "workers.evaluation.job",
        "workers.inference.job",
        "workers.training.job",
    ],
)
def test_a_craft_loads_its_model_library_only_when_it_works(craft):
    # nltk, which rouge-score stands on, loads scikit-learn wherever it is installed.
    assert set(loaded_by(craft)) <= ({"sklearn"} if craft == "workers.evaluation.job" else set())


def test_the_check_would_notice_a_heavy_import():
    assert "transformers" in loaded_by("workers.app", "transformers")


@pytest.mark.parametrize("package", ["schemas", "workers", "tasks", "producers", "deploy"])
def test_the_packages_are_ours_and_not_somebody_elses_of_the_same_name(package):
    ended = fresh(f"import {package}; print({package}.__file__)")
    assert Path(ended.stdout.strip()).resolve() == ROOT / package / "__init__.py", ended.stderr


def test_importing_the_app_needs_no_server_and_no_setting():
    without = "import os; [os.environ.pop(name, None) for name in ('DATABASE_URL', 'CELERY_BROKER_URL')]"
    code = f"{without}; import workers.app, tasks.training; print('fine')"
    assert fresh(code).stdout == "fine\n"


def test_each_floor_sees_only_the_floors_below_it():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    ended = subprocess.run([*command, "--no-cache"], capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 broken" in ended.stdout


def test_only_the_settings_read_the_environment():
    # What torchrun sets is read inside the ranks and passed on by what starts them.
    ranks = {f"workers/training/{name}.py" for name in ("launcher/launch", "launcher/supervisor", "rank/loop", "rank/main")}
    allowed = {"workers/settings.py"} | ranks
    readers = set()
    for package in ("schemas", "tasks", "workers"):
        for path in (ROOT / package).rglob("*.py"):
            if "os.environ" in path.read_text() or "getenv(" in path.read_text():
                readers.add(str(path.relative_to(ROOT)))
    assert readers <= allowed
