"""Tables of figures fit the terminal, and say below what their heads do not."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from producers.cli.evaluation import _table, result_tables
from producers.render.comparison import page
from schemas.metrics import DEFINITIONS, metrics_of
from workers.metrics.scores import METRICS

FIGURES = {"points": {"value": 61.3, "low": 58.1, "high": 64.5}, "%": {"value": 0.98, "low": 0.96, "high": 1.0}}
FIGURES["words"] = {"value": 5.2, "low": 4.9, "high": 5.5}
OF_SYSTEM = {metric: {**FIGURES[DEFINITIONS[metric].unit], "n": 300} for metric in METRICS}
MARGIN = {"value": 2.8, "low": 0.5, "high": 4.9, "n": 300}
SYSTEMS = ("tuned", "unguarded", "zero_shot_guarded", "few_shot_best_guarded", "rules", "lead", "as_is")
EVALUATED: dict[str, Any] = dict.fromkeys(SYSTEMS, OF_SYSTEM) | {
    "margins": {name: {"sari": MARGIN} for name in SYSTEMS[1:]},
    "slices": {"long": {"n": 166, "sari": {"tuned": FIGURES["points"]}, "margins": dict.fromkeys(SYSTEMS[1:], MARGIN)}},
}
COST = {"seconds": 3.0, "seconds_per_tweet": 0.01, "tokens_in": 1, "tokens_out": 1, "retried": 0, "fallbacks": 0, "n": 300}
COMPARED: dict[str, Any] = {
    "systems": {name: OF_SYSTEM | {"cost": COST} for name in ("demo", "lead")},
    "pairs": [{"a": "demo", "b": "lead", "metric": metric, "difference": 1.5, "low": -0.5, "high": 3.5, "n": 300} for metric in METRICS],
    "worst": {"demo": [], "lead": []},
    "verdict": [],
    "references": "test split",
}
ABSENT = ": on a wider terminal, and with --json."


def printed(capsys: pytest.CaptureFixture[str], shown: Any, width: int) -> str:
    Console(width=width).print(shown)
    return capsys.readouterr().out


@pytest.mark.parametrize("shown", [result_tables(EVALUATED), page(COMPARED, {})], ids=["evaluate", "compare"])
@pytest.mark.parametrize("width", [80, 100, 120, 240])
def test_a_page_fits_and_names_the_metrics_that_it_left_out(capsys: pytest.CaptureFixture[str], shown: Any, width: int) -> None:
    out = printed(capsys, shown, width)
    assert max(len(line.rstrip()) for line in out.splitlines()) <= width
    assert "…" not in out
    flat = " ".join(out.split())
    assert all(metric.head.split()[0] in flat for metric in metrics_of(METRICS))
    assert (ABSENT in flat) == (width < 240)


@pytest.mark.parametrize("shown", [result_tables(EVALUATED), page(COMPARED, {})], ids=["evaluate", "compare"])
def test_a_check_of_words_is_never_called_faithful(capsys: pytest.CaptureFixture[str], shown: Any) -> None:
    for width in (80, 240):
        flat = " ".join(printed(capsys, shown, width).split())
        assert "faithful" not in flat.lower()
        assert flat.count("Words kept: no number, name or link that the tweet lacks; a check of words, not of truth.") == 1
        assert flat.count("Form kept: one plain sentence of at most 15 words") == 1


def test_what_is_shown_first_at_80_columns_is_sari_and_the_checks(capsys: pytest.CaptureFixture[str]) -> None:
    header = printed(capsys, result_tables(EVALUATED), 80).partition("───")[0]
    assert "SARI" in header
    assert "ROUGE-L" in header
    assert header.count("kept %") == 2
    assert "density" not in header


def test_a_table_that_is_too_wide_for_another_reason_costs_no_metric(capsys: pytest.CaptureFixture[str]) -> None:
    wide = EVALUATED["slices"] | {"source " + "x" * 200: EVALUATED["slices"]["long"]}
    assert ABSENT not in printed(capsys, result_tables(EVALUATED | {"slices": wide}), 200)


def test_a_pipe_has_room_for_every_metric(capsys: pytest.CaptureFixture[str]) -> None:
    shown = result_tables(EVALUATED)
    assert ABSENT not in printed(capsys, shown, shown.natural_width)
    assert "density" in printed(capsys, shown, shown.natural_width - 1).partition(ABSENT)[0].splitlines()[-1]


def test_the_best_is_bold_only_where_more_is_better() -> None:
    table: Table = _table(EVALUATED, "All tweets", metrics_of(METRICS))
    for column, metric in zip(table.columns[1:-1], metrics_of(METRICS), strict=True):
        styles = {str(cell.style) for cell in column.cells}
        assert styles == ({"bold"} if metric.better == "higher" else {""}), metric.key


def test_what_a_scorer_found_stands_in_a_table_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    scored = {"scorers": {"supported": {"model": "nli"}}}
    both = OF_SYSTEM | {"supported": {"value": 0.91, "low": 0.88, "high": 0.94, "n": 300}}
    evaluated = EVALUATED | dict.fromkeys(SYSTEMS, both) | scored
    compared = COMPARED | {"systems": {name: both | {"cost": COST} for name in ("demo", "lead")}} | scored
    for shown in (result_tables(evaluated), page(compared, {})):
        out = printed(capsys, shown, 240)
        assert out.count("supported %") == 1
        assert "91.0 (88.0 to 94.0)" in out
        assert "supported: the probability that the tweet supports the output" in out


def test_a_result_of_an_older_job_has_the_metrics_that_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    older = {key: OF_SYSTEM[key] for key in ("sari", "rougeL", "chrf", "promise", "faithful")}
    result = dict.fromkeys(("tuned", "rules", "lead"), older) | {"margins": {key: {"sari": MARGIN} for key in ("rules", "lead")}}
    out = printed(capsys, result_tables(result), 120)
    assert "METEOR" not in out
    assert "chrF" in out
