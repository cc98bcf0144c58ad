"""What a training measured, shown: its curves in a terminal and as a picture, and what a job and a model say of it in plain lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from producers.render.plots import Point, curve, save_training, spark
from producers.render.quantities import duration, size

if TYPE_CHECKING:
    from schemas.tables.models import Metric

EVALUATIONS_SHOWN = 5
_BASELINE = "eval_sari_"
_MEMORY = ("gpu_utilization", "gpu_memory_bytes", "gpu_watts")
_SAID = ("eta_seconds", "tokens_per_second", "peak_memory_bytes", "eval_step", "eval_loss", "eval_sari", *_MEMORY)


@dataclass
class Curves:
    """The numbers of a training by step: `series` by the name of the metric, and the SARI of each baseline."""

    series: dict[str, list[Point]] = field(default_factory=dict)
    baselines: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[Metric]) -> Curves:
        """Return the curves of the rows of one job, in the order of their steps; what is no number is left out."""
        curves = cls()
        curves.add(rows)
        return curves

    def add(self, rows: Iterable[Metric]) -> None:
        """Take in more rows. Of a step that was made again the newer number counts."""
        for row in sorted(rows, key=lambda row: row.step):
            if not math.isfinite(row.value):
                continue
            if row.name.startswith(_BASELINE):
                self.baselines[row.name.removeprefix(_BASELINE)] = row.value
                continue
            points = self.series.setdefault(row.name, [])
            while points and points[-1][0] >= row.step:
                points.pop()
            points.append((row.step, row.value))

    @property
    def loss(self) -> list[Point]:
        """The loss of training."""
        return self.series.get("loss", [])

    def shown(self, width: int, height: int) -> str:
        """Return the loss as a curve, and a line for each evaluated metric; empty as long as there is no loss."""
        if not self.loss:
            return ""
        lines = [f"loss over steps, now {self.loss[-1][1]:.3f}", curve(self.loss, width, height)]
        for name, best in (("eval_loss", min), ("eval_sari", max)):
            points = self.series.get(name, [])
            if points:
                step, value = best(points, key=lambda point: point[1])
                beside = ", ".join(f"{other} {sari:.1f}" for other, sari in self.baselines.items()) if name == "eval_sari" else ""
                told = f"{name} {points[-1][1]:.3f}, best {value:.3f} at step {step}" + (f" ({beside})" if beside else "")
                lines.append(f"{told}  {spark(points, max(1, width - len(told)))}".rstrip())
        return "\n".join(lines)

    def save(self, title: str, path: Path) -> None:
        """Draw them as a picture, whose form the file's ending names: see `save_training`."""
        save_training(self.series, self.baselines, title, path)


def job_facts(progress: Mapping[str, Any], *, has_ended: bool) -> list[tuple[str, str]]:
    """Return what the progress of a training says for people: time left, rate, memory, and what its GPUs do."""
    facts: list[tuple[str, str]] = []
    if "eta_seconds" in progress and not has_ended:
        facts.append(("time left", duration(progress["eta_seconds"])))
    if "tokens_per_second" in progress:
        facts.append(("rate", f"{progress['tokens_per_second']:,.0f} tokens a second"))
    if progress.get("peak_memory_bytes"):
        facts.append(("memory", f"{size(progress['peak_memory_bytes'])} at most, of the largest rank"))
    if "gpu_utilization" in progress:
        watts = f", {progress['gpu_watts']:,.0f} W" if "gpu_watts" in progress else ""
        facts.append(("GPUs", f"{progress['gpu_utilization']:.0f} % in use, {size(progress['gpu_memory_bytes'])}{watts}"))
    return facts


def is_said(name: str) -> bool:
    """Whether `job_facts` or the evaluations say what stands under this name in a job's progress."""
    return name in _SAID or name.startswith(_BASELINE)


def evaluations(curves: Curves) -> list[tuple[str, str]]:
    """Return the last evaluations of a training, a line each, with the step."""
    by_step: dict[int, list[str]] = {}
    for name, label, form in (("eval_loss", "loss", ".4g"), ("eval_sari", "SARI", ".1f")):
        for step, value in curves.series.get(name, []):
            by_step.setdefault(step, []).append(f"{label} {value:{form}}")
    beside = ", ".join(f"{name} {value:.1f}" for name, value in curves.baselines.items())
    lines = [(f"after step {step}", ", ".join(parts)) for step, parts in sorted(by_step.items())][-EVALUATIONS_SHOWN:]
    return [*lines, ("baselines' SARI", beside)] if beside else lines


def record_facts(details: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a model's row says of how it was made, but for its single words and numbers: those are shown as they are.

    Args:
        details: of the row.
        defaults: of the keys of a recipe; keys that have them are left out.
    """
    from workers.catalog.model_card import energy_line, hardware_line

    spec = details.get("spec") or {}
    asked = {name: value for name, value in spec.items() if value != defaults.get(name) and name not in ("name", "base", "dataset")}
    evaluation = details.get("evaluation") or {}
    measured = [f"{name} {evaluation[name]:.4g}" for name in ("eval_loss", "eval_sari") if evaluation.get(name) is not None]
    facts = [
        ("recipe", ", ".join(f"{name}={_plain(value)}" for name, value in asked.items())),
        ("evaluation", f"step {evaluation.get('step')}: {', '.join(measured)}" if measured else ""),
        ("versions", ", ".join(f"{name} {version}" for name, version in (details.get("versions") or {}).items())),
        ("hardware", hardware_line(dict(details))),
        ("energy", energy_line(dict(details))),
    ]
    return [(name, value) for name, value in facts if value]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)
