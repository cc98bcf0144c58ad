"""What a comparison says of systems that wrote for the same rows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from producers.render.comparison import page, priced, save_plot
from workers.evaluation.comparison import SystemRun, report, verdict
from workers.evaluation.slices import WORST
from workers.evaluation.systems import HeldBackRow
from workers.metrics.scores import METRICS

ROWS = [HeldBackRow(f"r{number}", f"omg bus {number} was late again #fail", (f"Bus {number} was late again.",)) for number in range(2, 32)]
PERFECT = SystemRun([row.references[0] for row in ROWS], seconds=3.0, tokens_in=600, tokens_out=300)
COPY = SystemRun([row.tweet for row in ROWS], seconds=0.03)


def pair(difference: float, low: float, high: float, n: int = 100) -> dict[str, Any]:
    return {"a": "one", "b": "two", "metric": "sari", "difference": difference, "low": low, "high": high, "n": n}


def test_systems_and_pairs_have_the_form_that_scripts_read() -> None:
    found = report(ROWS, {"good": PERFECT, "copy": COPY}, 200, 0)
    assert found["systems"]["good"]["sari"] == {"value": 100.0, "low": 100.0, "high": 100.0, "n": 30}
    assert set(found["systems"]["copy"]) == {*METRICS, "cost"}
    assert {"sari", "rougeL", "chrf", "promise", "faithful"} <= set(METRICS), "these keys are in scripts"
    assert [(each["a"], each["b"], each["metric"]) for each in found["pairs"]] == [("good", "copy", metric) for metric in METRICS]
    sari = found["pairs"][0]
    assert sari["difference"] == pytest.approx(100.0 - found["systems"]["copy"]["sari"]["value"])
    assert 0 < sari["low"] <= sari["difference"] <= sari["high"]
    assert found["systems"]["good"]["cost"]["seconds_per_tweet"] == pytest.approx(0.1)


def test_the_worst_rows_are_named_and_no_text_is_in_the_result() -> None:
    bad = SystemRun([*PERFECT.outputs[:7], "Something else entirely.", *PERFECT.outputs[8:]], seconds=1.0)
    found = report(ROWS, {"good": PERFECT, "bad": bad}, 100, 0)
    assert found["worst"]["bad"][0]["id"] == ROWS[7].id
    assert all(len(rows) == WORST for rows in found["worst"].values())
    told = json.dumps(found)
    assert "late" not in told
    assert "Something" not in told


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        (pair(2.5, 0.4, 4.7), "one is better than two by 2.5 SARI (0.4 to 4.7, n = 100)."),
        (pair(-2.5, -4.7, -0.4), "two is better than one by 2.5 SARI (0.4 to 4.7, n = 100)."),
        (
            pair(0.5, -1.46, 2.46),
            (
                "No difference between one and two could be shown at n = 100: +0.5 SARI (-1.5 to 2.5);"
                " a difference of 2.8 would have been found four times in five."
            ),
        ),
        (pair(0.0, 0.0, 0.0), "one and two score the same in each of the 100 rows."),
        (pair(3.0, 3.0, 3.0, n=1), "One row shows nothing of one and two."),
    ],
)
def test_the_verdict_says_what_the_interval_shows(figures: dict[str, Any], told: str) -> None:
    assert verdict(figures) == told


@pytest.mark.parametrize(
    ("all_low", "told"),
    [
        (0.1, "one is better than two by 2.5 SARI (0.4 to 4.7, n = 100), also with all 6 pairs counted."),
        (-0.1, "one is better than two by 2.5 SARI (0.4 to 4.7, n = 100), but of 6 pairs one may look so by chance."),
    ],
)
def test_among_several_pairs_it_is_said_whether_a_difference_stands_with_all_counted(all_low: float, told: str) -> None:
    assert verdict(pair(2.5, 0.4, 4.7) | {"all_low": all_low, "all_high": 5.0}, pairs=6) == told


def test_slices_of_the_rows_are_told_for_every_system() -> None:
    found = report(ROWS, {"good": PERFECT, "copy": COPY}, 100, 0)
    assert found["slices"]["hashtags"]["n"] == len(ROWS)
    assert set(found["slices"]["hashtags"]["sari"]) == {"good", "copy"}


def test_a_price_an_hour_is_shared_out_by_seconds() -> None:
    found = priced(report(ROWS, {"good": PERFECT, "copy": COPY}, 100, 0), 3.6)
    assert found["systems"]["good"]["cost"]["usd"] == pytest.approx(0.003)
    assert "usd" not in priced(report(ROWS, {"good": PERFECT, "copy": COPY}, 100, 0), None)["systems"]["good"]["cost"]


def test_people_see_the_tweets_of_the_worst_rows_and_how_many_intervals_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    found = report(ROWS, {"good": PERFECT, "copy": COPY}, 100, 0) | {"references": "test split"}
    worst = found["worst"]["copy"][0]["id"]
    Console(width=80).print(page(priced(found, 1.0), {worst: ("the tweet itself", "What was wanted.")}))
    shown = capsys.readouterr().out
    assert "tweet: the tweet itself" in shown
    assert f"{len(METRICS)} differences" in shown
    assert "…" not in shown, "figures are whole on a terminal of 80 columns"
    assert "good is better than copy" in shown


def test_no_verdict_is_given_by_a_metric_without_a_better_end() -> None:
    found = report(ROWS, {"good": PERFECT, "copy": COPY}, 100, 0)
    assert len(found["verdict"]) == 1
    assert "SARI" in found["verdict"][0]


def test_the_plot_has_a_panel_for_each_metric(tmp_path: Any) -> None:
    file = tmp_path / "compare.png"
    save_plot(report(ROWS, {"good": PERFECT, "copy": COPY}, 100, 0), file)
    assert file.read_bytes().startswith(b"\x89PNG")
