"""Says of each figure how it was got: on how many rows, of which models, trained how and on what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from producers.render.curve import other_recipes_words
from producers.report import advice

_SHORT = 12  # characters of a fingerprint or a job's id

Told = list[tuple[str, str]]


def rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return for each series of a curve, each evaluation and each comparison its `title`, and what is `told` of it by name."""
    figures = [_of_series(curve, name) for curve in found["curves"]["shown"] for name in curve["series"]]
    models = {model["name"]: model for model in found["project"]["models"]["shown"]}
    figures += [_of_evaluation(each, models.get(each["model"])) for each in found["evaluations"]["shown"]]
    figures += [_of_comparison(each) for each in found["comparisons"]["shown"] if each["tables"]]
    return [{"title": title, "told": [(name, text) for name, text in told if text]} for title, told in figures]


def _of_series(curve: Mapping[str, Any], name: str) -> tuple[str, Told]:
    series = curve["series"][name]
    seeds = [point["n"] for point in series["points"]]
    return f"Curve {curve['curve']}: {name}", [
        ("n", f"{curve['n']:,} held-back rows{_guarded(curve['scored'])}"),
        ("models", f"{_range(seeds)} of each size, {sum(seeds)} together; each learnt from another subset"),
        ("training", curve["budget_words"]),
        ("learning rate", _rate(curve["learning_rate"])),
        ("scores", _of_sizes(series["errors_from"], curve["scored"])),
        (
            "foretold by",
            f"a mixture of {len(series['weights'])} laws, most of it the {series['family']}" if advice.foretold(series) else "",
        ),
        ("base model", str(curve["base"])),
        ("dataset", _dataset(curve["dataset"], curve["dataset_fingerprint"])),
        ("left out", f"{curve['left_out']} points of another base, dataset or version of the prompts" if curve["left_out"] else ""),
        ("other recipes", other_recipes_words(curve["other_recipes"]) if curve["other_recipes"] else ""),
    ]


def _of_evaluation(evaluation: Mapping[str, Any], model: Mapping[str, Any] | None) -> tuple[str, Told]:
    shots = evaluation["scored"].get("few_shot")
    told = [
        ("n", _rows(evaluation)),
        ("scores", _resamples(evaluation["scored"])),
        ("few-shot", f"{shots} pairs in the prompt" if shots else ""),
        ("job", evaluation["job"][:_SHORT]),
    ]
    return f"Evaluation of {evaluation['model']}", told + (_of_model(model) if model is not None else [])


def _of_model(model: Mapping[str, Any]) -> Told:
    return [
        ("method", str(model["method"])),
        ("training", ", ".join(f"{model[what]:,} {what}" for what in ("steps", "examples") if model[what])),
        ("learning rate", _rate(model["learning_rate"])),
        ("seed", "" if model["seed"] is None else str(model["seed"])),
        ("base model", str(model["base"])),
        ("dataset", _dataset(model["dataset"], model["dataset_fingerprint"])),
    ]


def _of_comparison(comparison: Mapping[str, Any]) -> tuple[str, Told]:
    return f"Comparison of {', '.join(comparison['tables'][0]['systems'])}", [
        ("n", f"{_rows(comparison)}{_guarded(comparison['scored'])}"),
        ("scores", _resamples(comparison["scored"])),
        ("differences", "paired: each row of one system with the same row of the other"),
        ("job", comparison["job"][:_SHORT]),
    ]


def _rows(scored: Mapping[str, Any]) -> str:
    count = scored["tables"][0]["n"] if scored["tables"] else 0
    return f"{count or 0:,} rows of {scored['references']}"


def _rate(rate: float | None) -> str:
    return f"{rate:g}" if rate else ""


def _resamples(scored: Mapping[str, Any]) -> str:
    count = scored.get("resamples")
    return f"means, with 95% intervals by a bootstrap of {count:,} resamples" if count else "means, with 95% intervals by a bootstrap"


def _of_sizes(errors_from: str | None, scored: Mapping[str, Any]) -> str:
    """Say what the mean of a size is and where its interval comes from, which is another one than that of a single score."""
    if errors_from == "seeds":
        return "means of the models of a size, with Student's 95% intervals by how far models of one size differ, pooled over all sizes"
    return _resamples(scored) if errors_from == "points" else "one model of each size, without intervals"


def _guarded(scored: Mapping[str, Any]) -> str:
    guard = scored.get("guard")
    return "" if guard is None else ", with the guard" if guard else ", without the guard"


def _range(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"


def _dataset(name: Any, fingerprint: Any) -> str:
    return f"{name}, fingerprint {str(fingerprint)[:_SHORT]}" if name and fingerprint else str(name or "")
