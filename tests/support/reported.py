"""What a report gathers, made up: a project with nothing, and one with curves, scores and hostile texts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from producers.report import advice

HOSTILE = (
    "<script>alert(1)</script> \u202eesrever\u202c \x1b[31mred\x07 \u200bhidden & \"quoted\" '{{ 7 * 7 }}' https://example.org/" + "a" * 300
)
"""A text that would run, turn round, ring or hide, and a word that no line holds."""


def nothing() -> dict[str, Any]:
    """What is gathered of an empty project."""
    found: dict[str, Any] = {
        "written_at": datetime(2026, 11, 26, 12, 0, tzinfo=UTC),
        "version": "0.1.0",
        "project": {"tweets": 0, "datasets": {"shown": [], "there": 0}, "models": {"shown": [], "there": 0}},
        "curves": {"shown": [], "left_out": []},
        "evaluations": {"shown": [], "there": 0},
        "comparisons": {"shown": [], "there": 0},
        "examples": {"model": None, "held_back": False, "rows": [], "worst_of": None, "worst": []},
        "sent": None,
    }
    return answered(found)


def answered(found: dict[str, Any]) -> dict[str, Any]:
    return found | {"answer": advice.answer(found), "next": advice.steps(found)}


def figure(value: float, half: float = 2.0, n: int = 300) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def series(
    *points: tuple[int, float], verdict: str = "continue", label: int | None = None, refused: str | None = None, sizes: Sequence[int] = ()
) -> dict[str, Any]:
    """A series as `producers.curve.report.fitted` returns it, with 3 models of each size."""
    size, value = points[-1]
    ahead = [
        {"size": float(factor * size), "value": value + factor / 4, "low": value - 1, "high": value + factor, "refused": refused}
        for factor in (2, 4)
    ]
    gain = {"size": 2.0 * size, "value": 0.9, "low": 0.4, "high": 1.4, "refused": refused}
    return {
        "verdict": verdict,
        "reason": refused or "twice the pairs would bring what counts",
        "label": label,
        "sizes": list(sizes) if sizes else None,
        "family": "power law",
        "weights": {"power law": 0.6, "rectified law": 0.3, "last value": 0.1},
        "worth": 0.6,
        "gain": gain,
        "cost": cost(size, size),
        "another": gain | {"pairs": 100, "cost": cost(100, size)},
        "errors_from": "seeds",
        "against": [against("lead", 56.2, 2.1, 0.6, 3.6, "better"), against("rules", 55.9, 2.4, -0.1, 4.9, "not shown")],
        "predictions": ahead,
        "points": [{"size": size, "value": value, "n": 3, "low": value - 1, "high": value + 1} for size, value in points],
    }


def cost(pairs: float, size: float) -> dict[str, Any]:
    """As `producers.curve.costs.Costs.of` returns it, with a teacher and a price."""
    return {
        "pairs": float(pairs),
        "minutes_a_pair": 1.4,
        "minutes_from": "review",
        "rows_reviewed": 120,
        "hours": pairs * 1.4 / 60,
        "gain_an_hour": 0.07,
        "teacher": {"model": "teacher", "asked": 300, "usd_a_pair": 0.002, "seconds_a_pair": 0.4, "usd": 0.8, "seconds": 160.0},
        "training": {"size": size + pairs, "seconds": 95.0, "usd": 0.11, "measured": 15},
    }


def against(name: str, score: float, difference: float, low: float, high: float, said: str) -> dict[str, Any]:
    found = {"baseline": name, "score": score, "difference": difference, "low": low, "high": high, "answer": said}
    return found | {"n": 300, "models": 3, "paired": True}


def trained(of: dict[str, Any], method: str, *origins: str) -> list[dict[str, Any]]:
    """The models of a series, three of each size."""
    return [
        {
            "method": method,
            "origins": list(origins),
            "size": point["size"],
            "seed": seed,
            "job": "00000000-0000-0000-0000-000000000000",
            "state": "done",
            "model": f"mine-{method}-{'-'.join(origins)}-{point['size']}-{seed}",
            "seconds": 20.0 + point["size"] / 10,
            "scores": {"sari": figure(point["value"] + seed - 1), "cost": {"seconds": 12.0}},
        }
        for point in of["points"]
        for seed in range(3)
    ]


def curve(name: str = "mine", **changed: Any) -> dict[str, Any]:
    """A curve that is drawn: two methods of three origins."""
    sizes = (25, 50, 100, 200, 400)
    made: dict[str, Any] = {}
    models: list[dict[str, Any]] = []
    for method, above in (("lora", 0.0), ("freeze", -3.0)):
        for origins, step in ((("human",), 1.0), (("noise",), 0.5), (("human", "noise"), 0.8)):
            of = series(*((size, 54 + above + step * place) for place, size in enumerate(sizes)))
            made[f"{method}, {' and '.join(origins)}"] = of
            models += trained(of, method, *origins)
    return {
        "curve": name,
        "metric": "sari",
        "n": 300,
        "baselines": {"lead": figure(56.2), "rules": figure(55.9)},
        "series": made,
        "failed": 0,
        "left_out": 0,
        "other_recipes": 0,
        "not_asked": 0,
        "seconds": 1234.0,
        "budget_words": "Each point was trained for 30 steps: smaller sets were seen more often.",
        "trained": models,
        "points": len(models),
        "done": len(models),
        "base": "tiny",
        "base_path": "/nowhere/tiny",
        "stage": "summary",
        "dataset": "mine",
        "dataset_fingerprint": "0123456789abcdef",
        "learning_rate": 0.0005,
        "pairs": 800,
        "max_steps": 30,
        "scored": {"resamples": 2000, "seed": 0, "guard": True, "references": None, "limit": None},
        **changed,
    }


def evaluation(model: str = "demo", **changed: Any) -> dict[str, Any]:
    """An evaluation with a metric that no list knows, and a slice."""
    names = ("tuned", "unguarded", "few_shot", "few_shot_guarded", "zero_shot", "rules", "lead", "as_is")
    systems = {
        name: {"sari": figure(60 - 3 * place), "rougeL": figure(70.0 - place), "fluency": figure(0.5, 0.1), "faithful": figure(0.98, 0.01)}
        for place, name in enumerate(names)
    }
    return {
        "model": model,
        "job": "bdcfc309-f7bb-4652-aee0-84255d1c1aa4",
        "at": datetime(2026, 11, 26, 11, 0, tzinfo=UTC),
        "seconds": 300.0,
        "scored": {"resamples": 2000, "few_shot": 4, "references": None},
        "references": "the test split",
        "verdict": "The tuned model beats lead and rules.",
        "tables": [
            {"title": "All rows", "n": 300, "systems": systems},
            {"title": "Slice: questions", "n": 41, "systems": {name: {"sari": of["sari"]} for name, of in systems.items()}},
        ],
        "meanings": {"tuned": "what you get, guard included", "lead": "its first 15 words", "as_is": ""},
        "margins": {name: {"sari": {**figure(2.0 + place), "all_low": -0.5, "all_high": 9.0}} for place, name in enumerate(names[1:])},
        "guard": {"retried": 12, "n": 300, "fallbacks": 3},
        "worst": [],
        **changed,
    }


def much() -> dict[str, Any]:
    """What is gathered of a project with a lot, whose names and texts are hostile."""
    under_way = curve(
        "freezing",
        done=3,
        series={"lora, human": series((25, 54.0), verdict="unsure", label=55, refused="too few sizes", sizes=(20, 25, 40, 80))},
    )
    row = {"tweet": HOSTILE, "lead": HOSTILE[:80], "wanted": "A person wrote this.", "wrote": HOSTILE}
    worst = {"worst_of": HOSTILE[:60], "worst": [{**row, "sari": 3.2, "id": "k"}]}
    found = nothing() | {
        "project": {
            "tweets": 1_234_567,
            "datasets": {"shown": [{"name": "mine", "stage": "summary", "train": 1071, "test": 300, "pairs": 800}], "there": 7},
            "models": {"shown": [model()], "there": 12},
        },
        "curves": {"shown": [curve(), under_way], "left_out": [f"old-{number}" for number in range(30)]},
        "evaluations": {"shown": [evaluation(HOSTILE[:60])], "there": 9},
        "comparisons": {"shown": [comparison()], "there": 4},
        "examples": {"model": "demo", "held_back": True, "rows": [row] * 3, **worst},
        "sent": sent(),
    }
    return answered(found)


def model() -> dict[str, Any]:
    return {
        "id": 1,
        "name": HOSTILE[:60],
        "method": "lora",
        "stage": "summary",
        "dataset": "mine",
        "created_at": datetime(2026, 11, 26, 10, 0, tzinfo=UTC),
        "base": "tiny",
        "base_path": "/nowhere/tiny",
        "dataset_fingerprint": "0123456789abcdef",
        "steps": 160,
        "examples": 1927,
        "tokens": 160_924,
        "seconds": 706.6,
        "learning_rate": 0.0005,
        "max_steps": 160,
        "num_train_epochs": 1.0,
        "seed": 11,
        "hardware": "A CPU, 2 cores, 24 GiB",
        "energy": "",
    }


def comparison() -> dict[str, Any]:
    """A comparison of two models and a baseline, with a judge."""
    systems = {"one": {"sari": figure(58.0)}, "two": {"sari": figure(60.0)}, "lead": {"sari": figure(56.0)}}
    compared = {**evaluation(), "order": list(systems), "main": "one", "verdict": ["two is better than one by 2.0 SARI."], "pairs": []}
    compared["judge"] = ["The judge tiny preferred 3 times one."]
    compared["costs"] = {
        "one": {"seconds_per_tweet": 0.5, "seconds": 150.0, "tokens_in": 3217, "tokens_out": 4522, "retried": 31},
        "lead": {},
    }
    return compared | {"tables": [{"title": "All rows", "n": 300, "systems": systems}]}


def sent() -> dict[str, Any]:
    return {
        "dataset": "mine",
        "origin": "human",
        "base": "tiny",
        "tweet": HOSTILE,
        "messages": [{"role": "system", "content": "Summarize the tweet."}, {"role": "user", "content": HOSTILE}],
        "completion": "A person wrote this.",
        "prompt": f"<|user|>{HOSTILE}<|end|>",
        "answer": "A person wrote this.<|end|>",
        "prompt_tokens": 210,
        "answer_tokens": 7,
    }
