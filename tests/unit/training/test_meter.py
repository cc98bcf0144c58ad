"""What a run takes: the power of its GPUs over time as the driver tells it, or the counters of the CPU packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.gpus import uuid_of
from workers.training.launcher.meter import Meter

GPUS = (uuid_of(0), uuid_of(1))


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `nvidia-smi` prints."""
    script = tmp_path / "nvidia-smi"
    script.write_text(f'#!/bin/sh\ncase "$1" in --query-gpu=uuid,*) cat {tmp_path}/told;; esac\n')
    script.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "told"


def test_the_power_of_the_runs_gpus_is_summed_over_time(told: Path) -> None:
    told.write_text(f"{uuid_of(0)}, 90, 1024, 300.0\n{uuid_of(1)}, 70, 1024, 300.0\n{uuid_of(2)}, 5, 9, 60.0\n")
    meter = Meter(GPUS)
    first = meter.sample(now=0.0)
    assert meter.sample(now=5.0) is None, "it is asked every ten seconds"
    told.write_text(f"{uuid_of(0)}, 90, 1024, 400.0\n{uuid_of(1)}, 70, 1024, 400.0\n")
    meter.sample(now=10.0)

    assert first is not None
    assert (first.utilization, first.memory_bytes, first.watts) == (80.0, 2 * 2**30, 600.0)
    assert (meter.joules, meter.source) == (pytest.approx(7000.0), "nvidia-smi")


def test_a_driver_that_tells_no_power_leaves_the_energy_open(told: Path) -> None:
    told.write_text(f"{uuid_of(0)}, 90, 1024, [N/A]\n{uuid_of(1)}, 70, 1024, 300.0\n")
    meter = Meter(GPUS)

    used = [meter.sample(now=now) for now in (0.0, 10.0)]

    assert [each.watts for each in used if each] == [None, None]
    assert meter.joules is None


def test_a_driver_without_an_answer_is_not_asked_again(told: Path) -> None:
    told.write_text("")
    meter = Meter(GPUS)
    assert meter.sample(now=0.0) is None
    told.write_text(f"{uuid_of(0)}, 90, 1024, 300.0\n")

    assert meter.sample(now=20.0) is None


def test_the_counters_of_packages_begin_anew_at_their_limit(tmp_path: Path) -> None:
    package, core = tmp_path / "intel-rapl:0", tmp_path / "intel-rapl:0:0"
    for folder in (package, core):
        folder.mkdir()
        (folder / "max_energy_range_uj").write_text("10000000\n")
        (folder / "energy_uj").write_text("9000000\n")
    meter = Meter((), powercap=tmp_path)
    (package / "energy_uj").write_text("1500000\n")

    assert meter.sample() is None
    assert meter.joules == pytest.approx(2.5), "the core's own counter is part of the package's"


def test_without_a_counter_there_is_no_energy(tmp_path: Path) -> None:
    meter = Meter((), powercap=tmp_path)
    meter.sample()

    assert meter.joules is None
