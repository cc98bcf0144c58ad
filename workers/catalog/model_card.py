"""Writes model cards: a README.md beside a model's weights, with front matter for the Hugging Face hub, and without a tweet's text."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from sqlmodel import Session, select

from schemas.metrics import DEFINITIONS, Metric, metrics_of
from schemas.tables.datasets import Dataset
from schemas.tables.models import Evaluation, Model
from workers import files
from workers.catalog import models
from workers.catalog.removal import taken_back
from workers.database import session

logger = logging.getLogger(__name__)

CARD = "README.md"
_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)
_PEFT = ("lora", "qlora")
_KEYS = ("learning_rate", "lr_scheduler_type", "num_train_epochs", "max_steps", "global batch", "max_length", "seed", "world_size")


def render(
    model: Model,
    dataset: str,
    scores: Sequence[Evaluation],
    figures: Mapping[str, Evaluation],
    taken_back_since: int = 0,
    front: Mapping[str, Any] | None = None,
) -> str:
    """Return the card of a model.

    Args:
        model: its row.
        dataset: name of the dataset that it was trained on.
        scores: of its newest evaluation, for each system the SARI.
        figures: of the same, what the model itself has by each metric.
        taken_back_since: examples that its dataset lost after it was trained, because their tweets were forgotten.
        front: keys of the front matter that are known better than the row tells, such as `base_model`.
    """
    matter = _front_matter(model, dataset, scores) | dict(front or {})
    written = yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)
    return f"---\n{written}---\n\n{_body(model, matter, dataset, scores, figures, taken_back_since)}"


def of_model(session: Session, model: Model, front: Mapping[str, Any] | None = None) -> str:
    """Return the card of a model as the catalog knows it; `front` is as in `render`."""
    dataset = session.get(Dataset, model.dataset) if model.dataset is not None else None
    scores = models.sari_scores(session, model.id)
    figures = models.figures(session, scores[0].job, "tuned") if scores else {}
    return render(model, dataset.name if dataset else "", scores, figures, taken_back.of_model(session, model), front)


def refresh(*, model: int | None = None, job: UUID | None = None) -> None:
    """Write the card of a model, by its id or by the job that trained it, if its folder is on this machine. A full disk is only logged."""
    with session() as opened:
        asked = Model.id == model if job is None else Model.job == job
        row = opened.exec(select(Model).where(asked)).one_or_none()
        if row is None:
            return
        text = of_model(opened, row)
    if row.adapter is None or not row.adapter.is_dir():
        return
    try:
        files.write_text(row.adapter / CARD, text)
    except OSError as error:
        logger.warning("the card of model %s was not written: %s", row.name, error.strerror)


def _front_matter(model: Model, dataset: str, scores: Sequence[Evaluation]) -> dict[str, Any]:
    base = base_name(model.base)
    front: dict[str, Any] = {
        "base_model": base,
        "library_name": "peft" if model.method in _PEFT else "transformers",
        "language": ["en"],
        "pipeline_tag": "text-generation",
        "tags": ["tweetmill", model.method, model.stage],
    }
    if model.method in _PEFT:
        front["tags"] += [f"base_model:adapter:{base}"]
    known = licence(Path(model.base))
    results = _results(dataset, scores)
    return {**known, **front, **({"metrics": ["sari"], "model-index": [{"name": model.name, "results": results}]} if results else {})}


def base_name(base: str) -> str:
    """Return what a card calls a base: its hub id, or the name of its folder, for a path means nothing on another machine."""
    return Path(base).name if Path(base).is_absolute() else base


def licence(base: Path) -> dict[str, str]:
    """Return what the card in a base's folder says of its licence, under the hub's own keys; nothing where it has none."""
    try:
        matter = _FRONT_MATTER.match((base / CARD).read_text(encoding="utf-8"))
        told = yaml.safe_load(matter[1]) if matter else None
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    named = told if isinstance(told, dict) else {}
    return {key: str(named[key]) for key in ("license", "license_name", "license_link") if key in named}


def _results(dataset: str, scores: Sequence[Evaluation]) -> list[dict[str, Any]]:
    tuned = [score for score in scores if score.system == "tuned"]
    about = {"task": {"type": "summarization"}, "dataset": {"name": dataset or "unknown", "type": dataset or "unknown"}}
    return [
        {**about, "metrics": [{"type": "sari", "value": round(score.value, 2), "name": f"SARI of {score.n} rows, {score.reference_set}"}]}
        for score in tuned
    ]


def _body(
    model: Model,
    matter: Mapping[str, Any],
    dataset: str,
    scores: Sequence[Evaluation],
    figures: Mapping[str, Evaluation],
    taken_back_since: int,
) -> str:
    details = model.details
    parts = [f"# {model.name}\n", _purpose(model, matter), "## Training\n", _table(_training(model, dataset))]
    if taken_back_since:
        parts.append(f"\n{taken_back.since(taken_back_since)}\n")
    if scores:
        parts += ["\n## Evaluation\n", f"SARI of {scores[0].n} rows ({scores[0].reference_set}), with 95% intervals:\n"]
        parts.append(_table([(score.system, _figure(score, DEFINITIONS["sari"])) for score in scores]))
    if figures:
        parts += ["\nWhat `tuned`, this model with its guard, has by each metric:\n"]
        parts.append(_table([(f"{metric.head}: {metric.caption}", _figure(figures[metric.key], metric)) for metric in metrics_of(figures)]))
    evaluation = details.get("evaluation")
    if evaluation and not scores:
        parts += ["\n## Evaluation\n", f"On {evaluation['rows']} rows held back from training, after step {evaluation['step']}:\n"]
        told = [(name, evaluation.get(name)) for name in ("eval_loss", "eval_sari")] + list((evaluation.get("baselines") or {}).items())
        parts.append(_table([(name, f"{value:.4g}") for name, value in told if value is not None]))
    return "\n".join(parts) + "\n"


def _figure(figure: Evaluation, metric: Metric) -> str:
    return f"{metric.scale * figure.value:.1f} ({metric.scale * figure.low:.1f} to {metric.scale * figure.high:.1f})"


def _purpose(model: Model, matter: Mapping[str, Any]) -> str:
    does = "summaries of tweets, one sentence each" if model.stage == "summary" else "tweets in standard English"
    how = "An adapter (PEFT) for" if matter["library_name"] == "peft" else "Fine-tuned weights of"
    return f"{how} `{matter['base_model']}` that writes {does}. Made by tweetmill.\n"


def _training(model: Model, dataset: str) -> list[tuple[str, str]]:
    details, spec = model.details, model.details.get("spec", {})
    batch = [spec.get(key) for key in ("per_device_train_batch_size", "gradient_accumulation_steps", "world_size")]
    asked = {**spec, "global batch": batch[0] * batch[1] * batch[2] if all(batch) else None}
    facts = [
        ("method", model.method),
        ("base's digest", details.get("base_sha256")),
        ("weights' digest", model.adapter_sha256),
        ("dataset", f"{dataset}, fingerprint {details.get('dataset_fingerprint')}" if dataset else None),
        *((name, asked.get(name)) for name in _KEYS),
        ("dtype", details.get("dtype")),
        ("steps", details.get("steps")),
        ("trainable parameters", _counted(details.get("trainable_parameters"), details.get("total_parameters"))),
        ("final loss", details.get("final_loss")),
        ("versions", ", ".join(f"{name} {version}" for name, version in details.get("versions", {}).items())),
        ("hardware", hardware_line(details)),
        ("energy", energy_line(details)),
    ]
    return [(name, f"{value:.4g}" if isinstance(value, float) else str(value)) for name, value in facts if value not in (None, "")]


def _counted(trained: int | None, total: int | None) -> str:
    return f"{trained:,} of {total:,}" if trained and total else ""


def hardware_line(details: dict[str, Any]) -> str:
    """Return in a line on what a model was trained; nothing where its row does not say."""
    found = details.get("hardware") or {}
    gpus = ", ".join(f"{count} x {name}" for name, count in found.get("gpus", {}).items())
    if gpus or not found:
        return gpus
    return f"{found['cpu']}, {found['cores']} cores, {found['memory_bytes'] / 2**30:.0f} GiB"


def energy_line(details: dict[str, Any]) -> str:
    """Return in a line what a training took; nothing where the machine did not tell."""
    joules = details.get("energy_joules")
    return f"{joules / 3.6e6:.4g} kWh ({details.get('energy_source')})" if joules else ""


def _table(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
