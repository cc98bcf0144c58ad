"""Real ranks that evaluate as they train: on rows of their own, without a change to what is learnt, and the best weights are kept."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.rank_series import result, train_all
from tests.support.ranks import Run, a_spec, train, write_train_file
from workers.training.protocol.manifest import Manifest
from workers.training.protocol.outcome import TrainingResult, TrainingStopped
from workers.training.protocol.payload import RunPayload
from workers.training.protocol.progress import Evaluated, Event, ProgressReader, Step

EVALUATED = {"eval_rows": 7, "eval_steps": 2, "eval_generate_steps": 4}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What is trained on, and seven other rows: a number that two ranks can't share evenly."""
    folder = tmp_path_factory.mktemp("data")
    other = write_train_file(folder / "eval.jsonl", examples=7)
    rows = [json.loads(line) for line in other.read_text().splitlines()]
    other.write_text("".join(json.dumps({**row, "tweet": row["prompt"][-1]["content"]}) + "\n" for row in rows))
    return {"train": write_train_file(folder / "train.jsonl"), "eval": other}


@dataclass(frozen=True)
class Ended:
    """A training that has ended: what its ranks said, and its result."""

    events: list[Event]
    result: TrainingResult

    @property
    def evaluations(self) -> list[Evaluated]:
        return evaluations(self.events)

    @property
    def curve(self) -> list[float]:
        return [event.loss for event in self.events if isinstance(event, Step)]


def evaluations(events: Iterable[Event]) -> list[Evaluated]:
    return [event for event in events if isinstance(event, Evaluated)]


@pytest.fixture(scope="module")
def ended(base: Path, files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """What the tests compare: one group of two ranks trains three times, one rank alone once."""
    folder = tmp_path_factory.mktemp("evaluated")
    same = {"max_steps": 5, "lora_dropout": 0.3, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 2}
    short = {"max_steps": 2, "dtype": "float32", **EVALUATED}
    specs = {
        "without": a_spec(base, **same),
        "with": a_spec(base, **same, **EVALUATED),
        "sharded": a_spec(base, zero_stage=3, **short),
        "alone": a_spec(base, world_size=1, gradient_accumulation_steps=2, zero_stage=0, **short),
    }
    held_back = {name: files["eval"] if spec.eval_rows else None for name, spec in specs.items()}
    runs = {
        name: RunPayload(spec=spec, train_file=files["train"], run_folder=folder / name, eval_file=held_back[name])
        for name, spec in specs.items()
    }
    for ranks in (1, 2):
        (folder / str(ranks)).mkdir()
        train_all([run for run in runs.values() if run.spec.world_size == ranks], folder / str(ranks), ranks)
    return {name: Ended(ProgressReader(run.run_folder).read(), result(run)) for name, run in runs.items()}


def test_evaluation_changes_nothing_of_the_training(ended: dict[str, Ended]) -> None:
    plain, evaluated = ended["without"], ended["with"]

    assert evaluated.curve == plain.curve
    assert evaluated.result.sha256 == plain.result.sha256
    assert plain.evaluations == []
    seen = evaluated.evaluations
    assert [(event.step, event.rows) for event in seen] == [(2, 7), (4, 7), (5, 7)]
    assert [event.eval_sari is None for event in seen] == [True, False, False], "the last step is evaluated whatever its number"
    assert seen[1].baselines.keys() == {"lead", "rules"}
    assert evaluated.result.evaluation == seen[-1]
    assert evaluated.result.method == "lora"
    assert 0 < evaluated.result.trainable_parameters < evaluated.result.total_parameters
    assert evaluated.result.peak_memory_bytes > 50_000_000
    assert evaluated.result.versions["torch"].startswith("2.")


def test_ranks_and_sharding_do_not_change_what_is_measured(ended: dict[str, Ended]) -> None:
    two, one = ended["sharded"].evaluations[0], ended["alone"].evaluations[0]
    assert two.eval_loss == pytest.approx(one.eval_loss, rel=1e-4)
    assert two.baselines == pytest.approx(one.baselines)
    assert two.eval_sari == pytest.approx(one.eval_sari, abs=1e-6)


@pytest.mark.spread
def test_the_best_weights_are_kept_through_a_stop_and_a_resume(base: Path, files: dict[str, Path], tmp_path: Path) -> None:
    """The rate is so high that after a few good steps the loss explodes: what is kept must be of before."""
    told = {"learning_rate": 0.3, "lr_scheduler_type": "constant", "warmup_ratio": 0.0, "max_steps": 100, "dtype": "float32"}
    spec = a_spec(base, **told, save_steps=3, eval_rows=7, eval_steps=1, load_best_model_at_end=True, early_stopping_patience=6)
    where = {"eval_file": files["eval"], "checkpoint_folder": tmp_path / "checkpoints"}
    first = Run(spec, files["train"], tmp_path / "first", **where)
    first.until(lambda: len(evaluations(first.events)) >= 3)
    first.order = "drain"
    outcome = first.end()
    resume_from = None
    seen = evaluations(first.events)
    if isinstance(outcome, TrainingStopped):
        resume_from = max((tmp_path / "checkpoints").glob("step-*"), key=lambda path: path.name)
        remembered = Manifest.model_validate_json((resume_from / "manifest.json").read_text())
        assert remembered.evaluation is not None
        assert remembered.evaluation.best is not None
        seen = [event for event in seen if event.step <= remembered.step]

    kept, second = train(spec, files["train"], tmp_path / "second", attempt=2, resume_from=resume_from, **where)

    seen += evaluations(second.events)
    best = min(seen, key=lambda event: event.eval_loss or 0)
    assert kept.best_step == best.step
    assert kept.evaluation is not None
    assert kept.evaluation.eval_loss == best.eval_loss
    assert kept.stopped_early
    assert kept.steps == best.step + 6
    _check_that_it_is_the_best(base, files["eval"], kept)


def _check_that_it_is_the_best(base: Path, eval_file: Path, kept: TrainingResult) -> None:
    """Compute the loss of the adapter that was left, by means of its own."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from workers.training.rank.evaluation.held_back import read_rows

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), kept.adapter).eval()
    total, tokens = 0.0, 0
    for row in read_rows(eval_file, AutoTokenizer.from_pretrained(base), 256):
        ids = torch.tensor(row.example.ids, dtype=torch.long)[None]
        labels = ids.clone()
        labels[0, : len(row.example.prompt_ids)] = -100
        with torch.no_grad():
            total += float(model(input_ids=ids, labels=labels).loss) * len(row.example.completion_ids)
        tokens += len(row.example.completion_ids)
    assert kept.evaluation is not None
    assert total / tokens == pytest.approx(kept.evaluation.eval_loss, rel=1e-3)
