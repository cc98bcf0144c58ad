"""The architecture holds: which package imports which, and where model libraries are loaded."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "peft", "accelerate", "deepspeed", "tensorflow", "sklearn", "spellchecker", "py3langid", "phonenumbers")
TORCH = {"torch", "transformers", "peft", "accelerate", "deepspeed", "safetensors"}
TORCH_PACKAGES = (
    "workers/training/rank/",
    "workers/inference/local/",
    "workers/scorers/local/",
    "workers/base_models/",
    "workers/exports/weights/",
    "workers/exports/engines/",
)
LIGHT = (
    "workers.app",
    "workers.jobs.ledger",
    "workers.jobs.fanout",
    "workers.jobs.maintenance",
    "workers.jobs.attempt",
    "workers.jobs.queries",
    "workers.database",
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


def modules_of(*packages: str) -> list[str]:
    """Every module of these packages and their sub-packages, by the files: nothing is imported. Migrations are left out."""
    files = (path for package in packages for path in (ROOT / package).rglob("*.py"))
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files}
    return sorted(name for name in names if not name.startswith("schemas.migrations.") and not name.endswith("__main__"))


def imports_of(source: str) -> set[str]:
    """The top-level packages that a module imports, inside functions as well, but for what only type checkers see."""
    tree = ast.parse(source)
    unseen = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            found.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "import_module", "__import__"):
            found |= {str(argument.value).partition(".")[0] for argument in node.args[:1] if isinstance(argument, ast.Constant)}
    return found


def test_the_producers_side_loads_no_model_library():
    light = modules_of("producers", "schemas", "tasks")
    for expected in ("producers.cli.dataset.verbs", "producers.render.output", "producers.review.app", "schemas.addresses.redis"):
        assert expected in light
    assert loaded_by("deploy", *LIGHT, *light) == []


@pytest.mark.parametrize(
    "module",
    [
        "workers.synthesis.job",
        "workers.noise.jobs",
        "workers.evaluation.job",
        "workers.exports.job",
        "workers.inference.job",
        "workers.training.job",
    ],
)
def test_a_domain_package_loads_its_model_library_only_when_it_works(module):
    # nltk, which rouge-score stands on, loads scikit-learn wherever it is installed.
    assert set(loaded_by(module)) <= ({"sklearn"} if module in ("workers.evaluation.job", "workers.exports.job") else set())


def test_the_check_would_notice_a_heavy_import():
    assert "transformers" in loaded_by("workers.app", "transformers")


def test_torch_and_what_stands_on_it_are_imported_in_six_packages_alone():
    importers = {
        str(path.relative_to(ROOT))
        for package in ("schemas", "workers", "tasks", "producers", "deploy")
        for path in (ROOT / package).rglob("*.py")
        if imports_of(path.read_text(encoding="utf-8")) & TORCH
    }
    assert {path for path in importers if not path.startswith(TORCH_PACKAGES)} == set()
    assert all(any(path.startswith(package) for path in importers) for package in TORCH_PACKAGES), importers


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch.nn as nn", {"torch"}),
        ("def work():\n    from transformers import AutoTokenizer", {"transformers"}),
        ("import importlib\nimportlib.import_module('peft.tuners')", {"importlib", "peft"}),
        ("if TYPE_CHECKING:\n    import torch\nelse:\n    import json", {"json"}),
        ("from . import torch", set()),
    ],
)
def test_nested_imports_count_and_those_of_type_checkers_do_not(source, found):
    assert imports_of(source) == found


@pytest.mark.parametrize("package", ["schemas", "workers", "tasks", "producers", "deploy"])
def test_the_packages_are_ours_and_not_somebody_elses_of_the_same_name(package):
    ended = fresh(f"import {package}; print({package}.__file__)")
    assert Path(ended.stdout.strip()).resolve() == ROOT / package / "__init__.py", ended.stderr


def test_importing_the_app_needs_no_server_and_no_setting():
    without = "import os; [os.environ.pop(name, None) for name in ('DATABASE_URL', 'CELERY_BROKER_URL')]"
    code = f"{without}; import workers.app, tasks.training; print('fine')"
    assert fresh(code).stdout == "fine\n"


def test_the_import_contracts_are_kept():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    ended = subprocess.run([*command, "--no-cache"], capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 broken" in ended.stdout


def test_no_modules_import_each_other_in_a_circle():
    graph = grimp.build_graph("schemas", "workers", "tasks", "producers", "deploy", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 300
    order = graphlib.TopologicalSorter(imports)
    order.prepare()  # raises CycleError, which names the modules


def test_only_the_settings_read_the_environment():
    readers = set()
    for package in ("deploy", "producers", "schemas", "tasks", "workers"):
        for path in (ROOT / package).rglob("*.py"):
            if "os.environ" in path.read_text() or "getenv(" in path.read_text():
                readers.add(str(path.relative_to(ROOT)))
    assert readers == {"workers/settings.py"}
