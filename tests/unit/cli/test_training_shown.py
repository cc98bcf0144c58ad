"""How a training is shown: its curves with evaluations beside baselines, and a job's and a model's facts in plain lines."""

from __future__ import annotations

import uuid
from pathlib import Path

from producers.render.plots import spark
from producers.render.training import Curves, evaluations, is_said, job_facts, record_facts
from schemas.tables.models import Metric

JOB = uuid.UUID(int=1)


def rows(**series: dict[int, float]) -> list[Metric]:
    return [Metric(job=JOB, step=step, name=name, value=value) for name, values in series.items() for step, value in values.items()]


CURVES = Curves.of(
    rows(
        loss={1: 3.0, 2: float("nan"), 3: 2.0, 4: 1.0},
        eval_loss={2: 2.5, 4: 2.75},
        eval_sari={4: 41.0},
        eval_sari_lead={4: 30.0},
        eval_sari_rules={4: 28.5},
    )
)


def test_curves_show_the_loss_and_evaluations_beside_baselines() -> None:
    shown = CURVES.shown(width=60, height=2)

    assert shown.startswith("loss over steps, now 1.000\n3.000 ┤")
    assert "eval_loss 2.750, best 2.500 at step 2" in shown
    assert "eval_sari 41.000, best 41.000 at step 4 (lead 30.0, rules 28.5)" in shown
    assert Curves().shown(60, 8) == ""


def test_rows_that_come_later_are_taken_in_and_a_step_made_again_replaces_the_old() -> None:
    curves = Curves.of(rows(loss={1: 3.0, 2: 2.0, 3: 1.5}))
    curves.add(rows(loss={2: 2.25}, eval_loss={2: 2.0}))

    assert curves.loss == [(1, 3.0), (2, 2.25)]
    assert curves.series["eval_loss"] == [(2, 2.0)]


def test_a_spark_spans_its_values() -> None:
    assert spark([(1, 3.0), (2, 2.0), (3, 1.0)]) == "█▅▁"


def test_a_job_says_time_rate_memory_and_gpus() -> None:
    progress = {"eta_seconds": 200.0, "tokens_per_second": 1234.5, "peak_memory_bytes": 3 * 2**29}
    progress |= {"gpu_utilization": 85.0, "gpu_memory_bytes": 40 * 2**30, "gpu_watts": 600.0}

    assert job_facts(progress, has_ended=False) == [
        ("time left", "3 m 20 s"),
        ("rate", "1,234 tokens a second"),
        ("memory", "1.5 GiB at most, of the largest rank"),
        ("GPUs", "85 % in use, 40.0 GiB, 600 W"),
    ]
    assert all(is_said(name) for name in progress)
    assert job_facts({"step": 3}, has_ended=True) == []
    assert evaluations(CURVES) == [
        ("after step 2", "loss 2.5"),
        ("after step 4", "loss 2.75, SARI 41.0"),
        ("baselines' SARI", "lead 30.0, rules 28.5"),
    ]


def test_a_model_says_what_of_its_recipe_is_no_default() -> None:
    details = {
        "spec": {"name": "x", "lora_r": 8, "seed": 0, "use_dora": True, "report_to": ["trackio"]},
        "versions": {"torch": "2.13.0"},
        "evaluation": {"step": 4, "eval_loss": 2.75, "eval_sari": None},
        "hardware": {"cpu": "a CPU", "cores": 2, "memory_bytes": 2**33, "gpus": {"an H100, 79 GiB": 2}},
    }

    assert record_facts(details, {"lora_r": 16, "seed": 0, "use_dora": False, "report_to": ()}) == [
        ("recipe", "lora_r=8, use_dora=true, report_to=[trackio]"),
        ("evaluation", "step 4: eval_loss 2.75"),
        ("versions", "torch 2.13.0"),
        ("hardware", "2 x an H100, 79 GiB"),
    ]
    assert record_facts({}, {}) == []


def test_losses_and_sari_are_drawn_together(tmp_path: Path) -> None:
    CURVES.save("mine", tmp_path / "mine.svg")

    drawn = (tmp_path / "mine.svg").read_text()
    assert drawn.count('id="axes_') == 2
    assert drawn.count('id="legend_') == 2


def test_a_trained_model_is_announced_with_the_lines_that_were_left_out() -> None:
    from producers.cli.training import _trained_line

    told = {"model": "demo", "final_loss": 0.5, "dropped": 1200}

    assert "1,200 lines of its training file were left out" in str(_trained_line(told))
    assert "left out" not in str(_trained_line(told | {"dropped": 0}))
