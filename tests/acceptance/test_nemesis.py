"""A short storm of faults over real servers and workers: whatever strikes, nothing is lost, nothing is doubled, nothing is left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.spread

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("kill_worker", "kill_pool_child", "terminate_worker", "kill_producer", "flush_redis", "kill_redis", "cut_redis", "stop_postgres")
QUICK += ("cut_postgres", "duplicate_messages", "forge_messages", "cancel_job")


def storm(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A storm in a process of its own, as `make nemesis` starts it."""
    command = [sys.executable, "-m", "tests.nemesis", "--json", "--keep", str(folder), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=840, check=False)


def verdict(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Its last line."""
    assert done.stdout, done.stderr[-4000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.fault(40)
@pytest.mark.timeout(900)
def test_a_seeded_storm_breaks_nothing(tmp_path: Path, measured, thorough: bool):
    options = ["--minutes", "3"] if thorough else ["--minutes", "0.3", "--work", "work", "--faults", ",".join(QUICK)]
    done = storm(tmp_path, "--seed", "4", *options)

    result = verdict(done)
    assert (done.returncode, result["violations"]) == (0, 0), done.stderr[-4000:]
    assert result["faults_in_all"] >= 4
    assert result["done"] > 0
    measured(
        violations=result["violations"],
        faults=result["faults_in_all"],
        jobs=result["jobs"],
        rows=result["rows"],
        restarts=result["restarts"],
        slowest_recovery_seconds=result["slowest_recovery_seconds"] or 0.0,
    )
    ours = [process.pid for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(process.info["cmdline"] or ())]
    assert ours == [], "the storm left processes of its own"


def asked(*options: str) -> subprocess.CompletedProcess[str]:
    """What it answers without a storm."""
    return subprocess.run([sys.executable, "-m", "tests.nemesis", *options], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_plan_of_a_seed_is_printed_without_a_storm():
    plan = asked("--seed", "4", "--plan").stdout
    assert "kill" in plan
    assert plan == asked("--seed", "4", "--plan").stdout


def test_a_fault_that_there_is_not_is_refused_with_those_that_there_are():
    done = asked("--faults", "earthquake")
    assert done.returncode == 2
    assert "earthquake" in done.stderr
    assert "kill_worker" in done.stderr
