"""What children get of the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.environment import CODE, for_flower, for_server, for_worker, python

HOME = Path("/var/lib/mill")
SECRETS = {"OPENAI_API_KEY": "k", "DATABASE_URL": "d", "PGPASSWORD": "p", "PGSSLMODE": "require", "HF_TOKEN": "h"}
STRANGERS = {"AWS_SECRET_ACCESS_KEY": "a", "SSH_AUTH_SOCK": "s", "FLOWER_UNAUTHENTICATED_API": "1", "PYTHONSTARTUP": "/x", "BASH_ENV": "/x"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (SECRETS | STRANGERS | {"CELERY_BROKER_URL": "b", "CUDA_VISIBLE_DEVICES": "0", "LC_ALL": "C.UTF-8"}).items():
        monkeypatch.setenv(name, value)


def test_nobody_gets_what_is_not_his_business():
    for chosen in (for_server(HOME, "valkey"), for_flower(HOME, "flower"), for_worker(HOME, "worker1")):
        assert not STRANGERS.keys() & chosen.keys()
        assert chosen["PATH"] == os.environ["PATH"]
        assert chosen["LC_ALL"] == "C.UTF-8"
        assert chosen["TWEETMILL_HOME"] == str(HOME)


def test_keys_and_addresses_go_to_workers_alone():
    assert not (SECRETS.keys() | {"CELERY_BROKER_URL"}) & for_server(HOME, "postgres").keys()
    assert not SECRETS.keys() & for_flower(HOME, "flower").keys()
    assert for_flower(HOME, "flower")["CELERY_BROKER_URL"] == "b"
    worker = for_worker(HOME, "worker1")
    assert {name: worker[name] for name in SECRETS} == SECRETS
    assert worker["CUDA_VISIBLE_DEVICES"] == "0"


def test_a_lower_case_setting_is_the_same_setting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("openai_base_url", "http://here")
    assert "openai_base_url" in for_worker(HOME, "worker1")
    assert "openai_base_url" not in for_flower(HOME, "flower")


@pytest.mark.parametrize("path", ["", ".", "relative", f":{os.sep}abs", f"{os.sep}abs:", f"{os.sep}abs:.:other"])
def test_no_module_comes_from_where_a_process_happens_to_run(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("json.py", "celery.py", "workers.py", "sitecustomize.py"):
        (tmp_path / name).write_text("raise SystemExit('a file of the working folder was run')")
    monkeypatch.setenv("PYTHONPATH", path)
    command = python("-c", "import sys, json, celery, workers; print([entry for entry in sys.path if not entry or entry == '.'])")
    ran = subprocess.run(command, cwd=tmp_path, env=for_worker(HOME, "worker1"), capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "[]\n"), ran.stderr


def test_children_run_where_our_packages_come_from():
    assert (CODE / "workers" / "app.py").exists()
    assert python("-V") == [sys.executable, "-P", "-V"]
