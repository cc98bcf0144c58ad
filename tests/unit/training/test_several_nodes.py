"""What the ranks of one node among several are started with; on one node nothing listens, and all stays on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.training import TrainingSpec
from workers.settings import get_settings
from workers.training.launcher import launch, network
from workers.training.launcher.supervisor import RankSupervisor
from workers.training.protocol import checkpoints
from workers.training.protocol.payload import Meeting, RunPayload

MEETING = Meeting(id="f00d", node=1, address="10.0.0.1", port=29500, interface="ib0")
IFNAMES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (*IFNAMES, "TWEETMILL_GANG_INTERFACE", "TWEETMILL_GANG_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def a_run(tmp_path: Path, meeting: Meeting | None, **options: object) -> RunPayload:
    spec = TrainingSpec(name="tuned", base="base", dataset="d", **options)
    return RunPayload(spec=spec, train_file=tmp_path / "train.jsonl", run_folder=tmp_path, meeting=meeting)


def command(run: RunPayload) -> str:
    return " ".join(RankSupervisor(run, run.run_folder / "payload.json")._command())


def test_one_node_meets_in_files_on_loopback(tmp_path: Path) -> None:
    run = a_run(tmp_path, None, world_size=4)
    assert f"--nnodes 1 --nproc_per_node 4 --max-restarts 0 --rdzv-backend c10d --rdzv-endpoint {tmp_path}/rendezvous.store" in command(run)
    environment = launch._environment(run, ())
    assert [environment[name] for name in IFNAMES] == ["lo", "lo"]
    assert environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"


def test_a_node_of_two_starts_its_share_of_the_ranks_and_meets_the_others_at_the_leader(tmp_path: Path) -> None:
    run = a_run(tmp_path, MEETING, nodes=2, world_size=16)
    assert "--nnodes 2 --nproc_per_node 8 --max-restarts 0 --rdzv-backend static" in command(run)
    assert "--master-addr 10.0.0.1 --master-port 29500 --node-rank 1 --rdzv-id f00d" in command(run)
    assert [launch._environment(run, ())[name] for name in IFNAMES] == ["ib0", "ib0"]


def test_threads_are_shared_by_the_ranks_of_a_node_and_not_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    assert launch._environment(a_run(tmp_path, MEETING, nodes=2, world_size=16), ())["OMP_NUM_THREADS"] == "2"
    assert launch._environment(a_run(tmp_path, None, world_size=16), ())["OMP_NUM_THREADS"] == "1"


def test_an_interface_that_the_operator_exported_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "=ib0,ib1")
    assert network.own_interface() is None
    environment = launch._environment(a_run(tmp_path, MEETING.model_copy(update={"interface": None}), nodes=2, world_size=2), ())
    assert environment["NCCL_SOCKET_IFNAME"] == "=ib0,ib1"
    assert "GLOO_SOCKET_IFNAME" not in environment


def test_the_settings_name_address_and_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWEETMILL_GANG_ADDRESS", "node7.cluster")
    monkeypatch.setenv("TWEETMILL_GANG_INTERFACE", "ib0")
    assert (network.own_address(), network.own_interface()) == ("node7.cluster", "ib0")


def test_where_nodes_have_the_base_does_not_decide_whether_a_checkpoint_fits(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{}\n")

    def identity(base: str, nodes: int) -> str:
        spec = TrainingSpec(name="tuned", base=base, dataset="d", nodes=nodes, world_size=2)
        return checkpoints.training_identity(spec, tmp_path / "train.jsonl", "digest")

    assert identity("/here/base", 2) == identity("/there/base", 2)
    assert identity("/here/base", 1) != identity("/there/base", 1)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
def test_addresses_that_no_other_machine_reaches(address: str) -> None:
    assert network.is_loopback(address)
    assert not network.is_loopback("10.0.0.1")
