"""Real ranks at every ZeRO stage learn what a plain PyTorch loop learns, keep whole tensors, and go on from each other's checkpoints.

Two gloo ranks in float32. By default activation checkpointing is on at every other combination of method and stage; at full length
(`--thorough`) each combination is trained with and without it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from safetensors import safe_open

from schemas.training import TrainingSpec
from tests.support.rank_series import Measured, losses, result, train_all
from tests.support.ranks import a_spec
from tests.support.tiny_model import build_tiny_model
from workers.training.protocol.payload import RunPayload

pytestmark = [pytest.mark.timeout(1200)]  # all share the trainings that the first test waits for

METHODS = ("lora", "freeze", "expand", "full")
STAGES = (0, 1, 2, 3)
STEPS, RANKS = 20, 2
WITHIN = 1e-3
BYTES_OF_STATE = 12
"""A trained weight: fp32 weight and Adam's two moments, K in the ZeRO paper (Rajbhandari et al., 2020, https://arxiv.org/abs/1910.02054)."""


@dataclass(frozen=True)
class Trained:
    """A training that has ended: what it was, the loss of each step, what each rank measured."""

    run: RunPayload
    measured: list[Measured]

    @property
    def losses(self) -> dict[int, float]:
        return losses(self.run)


class Site:
    """Where the trainings of this module happen: a base, eight examples that every step sees, a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = build_tiny_model(folder / "tiny")
        from tests.support.plain_loop import write_examples_of_one_length

        self.train_file = write_examples_of_one_length(self.base, folder / "train.jsonl")

    def spec(self, **changes: Any) -> TrainingSpec:
        same: dict[str, Any] = {"dtype": "float32", "max_steps": STEPS, "learning_rate": 5e-3, "freeze_trainable_layers": 1}
        same |= {"expand_layers": 1, "save_steps": 0, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
        return a_spec(self.base, **(same | changes))

    def train(self, group: str, specs: dict[Any, TrainingSpec], resume_from: dict[Any, Path] | None = None) -> dict[Any, Trained]:
        """Train several specs of one number of ranks, by any key."""
        folder = self.folder / group
        begun: dict[str, Any] = {"attempt": 2} if resume_from else {}
        runs = {
            key: RunPayload(
                spec=spec,
                train_file=self.train_file,
                run_folder=folder / str(number),
                resume_from=(resume_from or {}).get(key),
                **begun,
            )
            for number, (key, spec) in enumerate(specs.items())
        }
        ranks = next(iter(specs.values())).world_size
        measured = train_all(list(runs.values()), folder, ranks)
        return {key: Trained(run, of_ranks) for (key, run), of_ranks in zip(runs.items(), measured, strict=True)}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("zero"))


class Key(NamedTuple):
    """What differs between the trainings of this module."""

    method: str
    stage: int
    checkpointing: bool
    offload: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The keys of the recipe."""
        chosen: dict[str, Any] = {"method": self.method, "zero_stage": self.stage, "gradient_checkpointing": self.checkpointing}
        if self.offload:
            chosen |= {"offload_optimizer": "cpu", "offload_param": "cpu" if self.stage == 3 else "none"}
        return chosen


@pytest.fixture(scope="module")
def trained(site: Site, request: pytest.FixtureRequest) -> dict[Key, Trained]:
    """A training for each method and stage, and two that offload. Those of stage 2 leave a checkpoint after step 10."""
    keys = [Key(*combination) for combination in itertools.product(METHODS, STAGES, (False, True))]
    if not request.config.getoption("--thorough"):
        keys = [key for key in keys if key.checkpointing == bool((METHODS.index(key.method) + key.stage) % 2)]
    keys += [Key("full", 1, checkpointing=False, offload=True), Key("lora", 3, checkpointing=True, offload=True)]
    return site.train("stages", {key: site.spec(**key.options, save_steps=10 if key.stage == 2 else 0) for key in keys})


@pytest.fixture(scope="module")
def plain(site: Site) -> dict[str, tuple[list[float], dict[str, tuple[int, ...]]]]:
    """For each method the losses of a plain PyTorch loop, and the shapes of what it trained."""
    from tests.support.plain_loop import train_plainly

    learnt = {method: train_plainly(site.spec(method=method), site.train_file) for method in METHODS}
    return {method: (each, {name: tuple(shape) for name, shape in shapes.items()}) for method, (each, shapes) in learnt.items()}


def test_every_stage_learns_what_a_plain_loop_learns(
    trained: dict[Key, Trained], plain: dict[str, Any], measured: Callable[..., None]
) -> None:
    gaps = {key: abs(each.losses[STEPS] - plain[key.method][0][-1]) for key, each in trained.items()}

    print(f"\n{'method':8} {'ZeRO':4} {'checkpointing':13} {'offload':7} {'plain loop':>12} {'two ranks':>12} {'apart':>9}")  # noqa: T201
    for key, gap in gaps.items():
        what = f"{key.method:8} {key.stage:4} {'on' if key.checkpointing else 'off':13} {'cpu' if key.offload else 'none':7}"
        print(f"{what} {plain[key.method][0][-1]:12.6f} {trained[key].losses[STEPS]:12.6f} {gap:9.1e}")  # noqa: T201
    measured(combinations=len(gaps), loss_gap=max(gaps.values()))
    assert {key[:2] for key in gaps} == set(itertools.product(METHODS, STAGES))
    assert {key for key, gap in gaps.items() if gap > WITHIN} == set()
    assert all(plain[method][0][-1] < 0.7 * plain[method][0][0] for method in METHODS), "there is something to learn"


def test_what_is_saved_is_whole_and_the_same_at_every_stage(trained: dict[Key, Trained], plain: dict[str, Any]) -> None:
    first: dict[str, dict[str, Any]] = {}
    for key, each in trained.items():
        method = key.method
        saved = tensors_of(result(each.run).adapter)
        shapes = sorted(tuple(tensor.shape) for tensor in saved.values())
        assert shapes == sorted(plain[method][1].values())
        assert all(tensor.numel() > 0 for tensor in saved.values())
        other = first.setdefault(method, saved)
        assert saved.keys() == other.keys()
        assert max(float((saved[name] - other[name]).abs().mean()) for name in saved) < WITHIN


def tensors_of(folder: Path) -> dict[str, Any]:
    """All tensors in the safetensors files of a folder."""
    tensors = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            tensors |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    return tensors


def test_the_optimizer_s_memory_falls_as_zero_says(trained: dict[Key, Trained], measured: Callable[..., None]) -> None:
    print(f"\n{'method':8} {'ZeRO':4} {'trained':>8} {'theory a rank':>14} {'measured a rank':>16}")  # noqa: T201
    worst = 0.0
    for key, each in trained.items():
        weights = each.measured[0].trainable
        theory = BYTES_OF_STATE * weights / (RANKS if key.stage else 1)
        most = max(rank.optimizer_bytes for rank in each.measured)
        print(f"{key.method:8} {key.stage:4} {weights:8} {theory:14.0f} {most:16}")  # noqa: T201
        worst = max(worst, abs(most / theory - 1))
    measured(worst_deviation=round(worst, 4))
    assert worst < 0.02, "what is padded for alignment is little"


def test_no_buffer_is_larger_than_twice_what_is_trained(trained: dict[Key, Trained], measured: Callable[..., None]) -> None:
    shares = {
        key: max(rank.largest_allocation / rank.trainable_bytes for rank in each.measured) for key, each in trained.items() if key.stage > 0
    }
    measured(largest_share=round(max(shares.values()), 3))
    assert max(shares.values()) > 0, "what DeepSpeed allocates is seen"
    assert max(shares.values()) <= 2


def test_checkpoints_go_from_two_ranks_to_one_and_back_and_from_stage_2_to_3_to_0(
    site: Site, trained: dict[Key, Trained], plain: dict[str, Any], thorough: bool, measured: Callable[..., None]
) -> None:
    methods = METHODS if thorough else ("lora", "expand")
    at_ten = {
        key.method: each.run.checkpoints / "step-000010-a1" for key, each in trained.items() if key.stage == 2 and key.method in methods
    }
    alone: dict[str, Any] = {"world_size": 1, "gradient_accumulation_steps": 4, "zero_stage": 3, "save_steps": 15}
    one = site.train("one", {method: site.spec(method=method, **alone) for method in methods}, at_ten)
    at_fifteen = {method: each.run.checkpoints / "step-000015-a2" for method, each in one.items()}
    two = site.train("two", {method: site.spec(method=method, zero_stage=0) for method in methods}, at_fifteen)

    apart = []
    for first, again in ((11, one), (16, two)):
        for method, each in again.items():
            assert min(each.losses) == first
            apart += [abs(loss - plain[method][0][step - 1]) for step, loss in each.losses.items()]
    measured(loss_gap=max(apart), steps_compared=len(apart))
    assert max(apart) < WITHIN
