"""A checkpoint is whole or not there, and only what its manifest vouches for is used."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.training import TrainingSpec
from workers import clock
from workers.errors import UserError
from workers.files import sha256, sha256_of_file
from workers.training.protocol import checkpoints, deadline
from workers.training.protocol.checkpoints import PARTIAL, Stored
from workers.training.protocol.manifest import MANIFEST_FILE, Manifest

ROOT = Path(__file__).resolve().parents[3]
FILES = {"weight.safetensors": b"w" * 5000, "exp_avg.safetensors": b"m" * 5000}


def a_manifest(step: int = 50, attempt: int = 1, **changes: Any) -> Manifest:
    told = {"identity": "same", "world_size": 2, "zero_stage": 2, "global_batch": 16, "tokens": 9, "seconds": 1.5, "optimizer_step": step}
    return Manifest(step=step, attempt=attempt, **{**told, **changes})


def made(parent: Path, step: int = 50, attempt: int = 1, **changes: Any) -> Stored:
    contents = {name: writer(content) for name, content in FILES.items()}
    return checkpoints.write(parent, a_manifest(step, attempt, **changes), contents)


def writer(content: bytes) -> checkpoints.Content:
    return lambda out: [out.write(content[at : at + 1000]) for at in range(0, len(content), 1000)]  # type: ignore[return-value]


def names(parent: Path) -> list[str]:
    return sorted(folder.name for folder in parent.iterdir())


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    written = made(tmp_path)

    stored = checkpoints.verify(tmp_path / "step-000050-a1")

    assert stored == written
    assert stored.bytes == 10_000
    assert {name: (stored.folder / name).read_bytes() for name in FILES} == FILES


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit": lambda folder: (folder / "weight.safetensors").write_bytes(b"w" * 4999 + b"v"),
    "a cut file": lambda folder: os.truncate(folder / "weight.safetensors", 4096),
    "a missing file": lambda folder: (folder / "exp_avg.safetensors").unlink(),
    "no manifest": lambda folder: (folder / MANIFEST_FILE).unlink(),
    "half a manifest": lambda folder: os.truncate(folder / MANIFEST_FILE, 100),
    "the name of another": lambda folder: folder.rename(folder.with_name("step-000999-a1")),
    "a manifest that looks elsewhere": lambda folder: rewrite(folder, look_elsewhere),
    "a manifest of the future": lambda folder: rewrite(folder, lambda told: told.update(format=2)),
}


def look_elsewhere(told: dict[str, Any]) -> None:
    told["files"]["../weight.safetensors"] = told["files"].pop("weight.safetensors")


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    change(manifest)
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


@pytest.mark.fault(32)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_used(tmp_path: Path, damage: str, measured: Callable[..., None]) -> None:
    before = made(tmp_path, step=50)
    DAMAGE[damage](made(tmp_path, step=100).folder)

    choice = checkpoints.newest(tmp_path, "same", {})

    assert choice.checkpoint == before
    ((name, reason),) = choice.refused
    assert name in {"step-000100-a1", "step-000999-a1"}
    assert reason
    measured(damaged_loaded=0, refused=len(choice.refused))


def test_a_manifest_that_the_ledger_does_not_know_is_refused(tmp_path: Path) -> None:
    first, second = made(tmp_path, step=50), made(tmp_path, step=100)
    known = {first.folder.name: first.manifest_sha256, second.folder.name: "0" * 64}

    choice = checkpoints.newest(tmp_path, "same", known)

    assert choice.checkpoint == first
    assert choice.refused == (("step-000100-a1", "its manifest is not the one that was recorded"),)


def test_a_checkpoint_whose_maker_died_before_the_record_counts(tmp_path: Path) -> None:
    first, second = made(tmp_path, step=50), made(tmp_path, step=100)

    assert checkpoints.newest(tmp_path, "same", {first.folder.name: first.manifest_sha256}).checkpoint == second


def test_a_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    made(tmp_path, identity="another")

    choice = checkpoints.newest(tmp_path, "same", {})

    assert choice.checkpoint is None
    assert choice.refused == (("step-000050-a1", "it was made from other data or other settings"),)


def test_without_checkpoints_there_is_nothing_to_refuse(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path / "none", "same", {}) == checkpoints.ResumePoint(None, ())


def test_what_was_being_written_is_no_checkpoint_and_goes_with_its_attempt(tmp_path: Path) -> None:
    for attempt in (1, 2):
        (tmp_path / f"step-000050-a{attempt}{PARTIAL}").mkdir()

    assert checkpoints.newest(tmp_path, "same", {}) == checkpoints.ResumePoint(None, ())
    checkpoints.remove_partial(tmp_path, attempt=2)

    assert names(tmp_path) == [f"step-000050-a2{PARTIAL}"]


def test_two_attempts_never_write_the_same_folder(tmp_path: Path) -> None:
    made(tmp_path, attempt=1)
    made(tmp_path, attempt=2)

    assert names(tmp_path) == ["step-000050-a1", "step-000050-a2"]
    assert checkpoints.newest(tmp_path, "same", {}).checkpoint.manifest.attempt == 2  # type: ignore[union-attr]


def test_a_damaged_checkpoint_of_the_same_attempt_is_replaced(tmp_path: Path) -> None:
    (made(tmp_path).folder / "weight.safetensors").unlink()

    assert made(tmp_path) == checkpoints.verify(tmp_path / "step-000050-a1")
    assert names(tmp_path) == ["step-000050-a1"]


def test_pruning_spares_what_is_kept_what_is_unknown_yet_and_what_an_heir_made(tmp_path: Path) -> None:
    for step, attempt in ((50, 1), (150, 1), (100, 2), (150, 2), (200, 2), (100, 3)):
        made(tmp_path, step, attempt)

    removed = checkpoints.prune(tmp_path, {"step-000100-a2", "step-000150-a2"}, attempt=2, step=150)

    assert sorted(removed) == ["step-000050-a1", "step-000150-a1"]
    assert names(tmp_path) == ["step-000100-a2", "step-000100-a3", "step-000150-a2", "step-000200-a2"]


@pytest.mark.fault(30)
def test_a_disk_that_takes_no_more_leaves_the_older_checkpoint_and_no_rest(tmp_path: Path) -> None:
    before = made(tmp_path, step=50)
    # In a process of its own: a limit of the kernel on the size of files, which can't be undone.
    code = "from tests.unit.training.test_checkpoints import fill; import sys; fill(sys.argv[1])"
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)

    assert ended.stdout.strip() == errno.errorcode[errno.EFBIG], ended.stderr
    assert names(tmp_path) == ["step-000050-a1"]
    assert checkpoints.newest(tmp_path, "same", {}).checkpoint == before


def fill(parent: str) -> None:
    """Write a checkpoint that the kernel does not let be finished; print the error's name."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        made(Path(parent), step=100)
    except OSError as error:
        sys.stdout.write(errno.errorcode[error.errno or 0])


def a_spec(**changes: Any) -> TrainingSpec:
    told = {"name": "x", "base": "b", "dataset": "d", "world_size": 2, "per_device_train_batch_size": 8}
    return TrainingSpec(**{**told, **changes})


def test_the_identity_is_of_what_decides_the_learning(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text("{}\n")
    own = checkpoints.training_identity(a_spec(), file)

    split_otherwise = {"world_size": 1, "gradient_accumulation_steps": 2, "zero_stage": 0, "save_steps": 7, "name": "y"}
    assert checkpoints.training_identity(a_spec(**split_otherwise), file) == own
    for change in ({"learning_rate": 1e-5}, {"seed": 1}, {"base": "c"}, {"bf16": False}, {"max_steps": 9}, {"lora_r": 8}):
        assert checkpoints.training_identity(a_spec(**change), file) != own, change
    assert checkpoints.training_identity(a_spec(), file, base_sha256="f00d") != own
    file.write_text("{} \n")
    assert checkpoints.training_identity(a_spec(), file) != own


def test_another_number_of_ranks_goes_on_with_the_same_global_batch() -> None:
    checkpoints.check_batch(a_manifest(), a_spec(world_size=1, gradient_accumulation_steps=2))
    checkpoints.check_batch(a_manifest(), a_spec(world_size=4, per_device_train_batch_size=4))


@pytest.mark.fault(33)
@pytest.mark.parametrize(
    ("change", "cure"),
    [
        ({"world_size": 1}, "per_device_train_batch_size=8 gradient_accumulation_steps=2"),
        ({"world_size": 4}, "per_device_train_batch_size=4 gradient_accumulation_steps=1"),
        ({"gradient_accumulation_steps": 2}, "per_device_train_batch_size=8 gradient_accumulation_steps=1"),
        ({"world_size": 3}, "world_size=2: 16 can't be shared out among 3 ranks"),
    ],
)
def test_another_global_batch_is_refused_with_the_values_that_would_do(change: dict[str, int], cure: str) -> None:
    with pytest.raises(UserError, match="16 examples a step") as refusal:
        checkpoints.check_batch(a_manifest(), a_spec(**change))

    assert cure in str(refusal.value)


def test_a_deadline_is_the_one_that_was_set_last(tmp_path: Path) -> None:
    file = tmp_path / "deadline"
    assert not deadline.has_passed(file), "no deadline at all"

    deadline.extend(file, clock.now() + 60)
    assert not deadline.has_passed(file)
    deadline.extend(file, clock.now() - 0.1)
    assert deadline.has_passed(file)


def test_keys_that_came_with_a_later_version_leave_older_checkpoints_good(tmp_path: Path) -> None:
    train_file = tmp_path / "train.jsonl"
    train_file.write_text("{}\n")
    spec = TrainingSpec(name="n", base="b", dataset="d")
    first: dict[str, Any] = {
        "base": "b",
        "stage": "summary",
        "method": "lora",
        "dtype": "auto",
        "bf16": None,
        "seed": 0,
        "human_repeats": 1,
    }
    first |= {"learning_rate": 4e-4, "lr_scheduler_type": "cosine", "warmup_ratio": 0.05, "weight_decay": 0.0, "max_grad_norm": 1.0}
    first |= {"num_train_epochs": 1.0, "max_steps": -1, "max_length": 256, "human_repeats": 1}
    first |= {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "lora_target_modules": "all-linear"}
    made_by_the_first = sha256(json.dumps([sha256_of_file(train_file), first], sort_keys=True))

    def identity(**changes: Any) -> str:
        return checkpoints.training_identity(spec.model_copy(update=changes), train_file)

    assert identity() == made_by_the_first
    assert identity(use_dora=True) != made_by_the_first, "it decides what is learnt"
    assert identity(zero_stage=3, offload_param="cpu", gradient_checkpointing=True) == made_by_the_first, "these decide how, not what"
