"""`tweetmill curve fit`: points of anybody's in, a verdict and intervals out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from producers.cli import main
from producers.render.curve import dot_line

RISING = "size,value\n" + "".join(f"{size},{value}\n" for size, value in [(25, 40), (50, 45), (100, 50), (200, 55), (400, 60)])


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["curve", "fit", *arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def a_file(folder: Path, content: str) -> str:
    path = folder / "points.csv"
    path.write_text(content)
    return str(path)


def answer_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code, out, _ = run(capsys, *arguments, "--json")
    assert code == 0
    answer: dict[str, Any] = json.loads(out)
    return answer


def test_the_answer_for_machines_has_verdict_family_and_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = answer_of(capsys, a_file(tmp_path, RISING))
    assert answer["verdict"] == "continue"
    assert answer["family"] in answer["weights"]
    assert [each["size"] for each in answer["predictions"]] == [800, 1600]
    assert answer["predictions"][0]["low"] < 65 < answer["predictions"][0]["high"]
    assert answer["predictions"][0]["refused"] is None


def test_sizes_to_foretell_are_the_user_s(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [each["size"] for each in answer_of(capsys, a_file(tmp_path, RISING), "--at", "600,1200,2400")["predictions"]] == [
        600,
        1200,
        2400,
    ]


def test_a_loss_falls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    losses = "size;value;se\n25;4;0.01\n50;3.5;0.01\n100;3;0.01\n200;2.5;0.01\n400;2;0.01\n"
    answer = answer_of(capsys, a_file(tmp_path, losses), "--lower-is-better")
    assert answer["verdict"] == "continue"
    assert answer["predictions"][0]["value"] < 2


def test_people_read_a_table_and_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, a_file(tmp_path, RISING))
    assert code == 0
    assert "foretold" in out
    assert "Continue: more pairs are worth it." in out


def test_a_bad_row_is_named_and_costs_itself_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = a_file(tmp_path, RISING + "many,3\n800,\n-5,1\n")
    code, out, err = run(capsys, path, "--json")
    assert code == 0
    rejected = json.loads(out)["rejected"]
    assert [(each["place"], each["field"]) for each in rejected] == [("7", "size"), ("8", "value"), ("9", "size")]
    assert "7: size is no finite number" in err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("count,score\n1,2\n", "names no column size"),
        ("size,value\nx,y\n", "no row could be used: 2: size is no finite number"),
        ("", "no row"),
    ],
)
def test_a_file_without_points_says_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, words: str) -> None:
    code, _, err = run(capsys, a_file(tmp_path, content))
    assert code in (1, 2)
    assert words in " ".join(err.split())


def test_sizes_that_are_none_are_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, a_file(tmp_path, RISING), "--at", "0,-3")[0] == 2
    assert run(capsys, a_file(tmp_path, RISING), "--at", "1e300")[0] == 2


def test_a_gain_is_weighed_against_the_hours_that_the_pairs_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = a_file(tmp_path, RISING)  # 400 pairs more bring about five points
    quick = answer_of(capsys, path, "--worth", "0.1sari/hour", "--minutes-a-pair", "3")
    assert [quick["cost"][key] for key in ("pairs", "minutes_a_pair", "minutes_from", "hours")] == [400, 3, "given", 20]
    assert quick["cost"]["gain_an_hour"] == pytest.approx(quick["gain"]["value"] / 20)
    assert (quick["worth"], quick["verdict"]) == (pytest.approx(2), "continue")
    assert answer_of(capsys, path, "--worth", "0.1/hour", "--minutes-a-pair", "30")["verdict"] == "stop", "twenty points would count"
    assert answer_of(capsys, path, "--worth", "2")["worth"] == 2


def test_it_is_said_what_another_hundred_pairs_bring_and_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = a_file(tmp_path, RISING)
    another = answer_of(capsys, path)["another"]
    assert (another["pairs"], another["size"]) == (100, 500)
    assert another["low"] < 1.61 < another["high"], "the points gain five with each doubling"
    assert another["cost"]["hours"] == pytest.approx(100 * 2 / 60)
    assert another["cost"]["minutes_from"] == "assumed"
    assert "100 pairs are 3 h 20 m of your time (2 min each, a guess)" in run(capsys, path)[1]


def test_another_hundred_pairs_are_refused_where_they_are_beyond_four_times_the_largest_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = a_file(tmp_path, "size,value\n2,50\n4,51\n8,52\n10,53\n")
    another = answer_of(capsys, path)["another"]
    assert another["refused"] == "it is more than 4 times the largest size"
    assert another["cost"]["gain_an_hour"] is None, "what is not to be relied on is no price"
    told = " ".join(run(capsys, path)[1].split())
    assert re.search(r"Another 100 pairs would bring \S+ \([^)]*\): not to be relied on, it is more than 4 times the largest size\.", told)


def test_another_hundred_pairs_have_to_bring_what_counts_for_their_own_hours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = a_file(tmp_path, "size,value,se\n50,50,3\n100,49,3\n200,53,3\n400,48,3\n")
    answer = answer_of(capsys, path, "--worth", "0.02/hour", "--minutes-a-pair", "6")
    assert answer["worth"] == pytest.approx(0.8), "forty hours for twice the pairs"
    assert -0.8 < answer["another"]["low"] < -0.2 < 0.2 < answer["another"]["high"] < 0.8, "0.2 count for the ten hours of a hundred"
    assert answer["another"]["refused"] == "it may as well be worse as better by more than what counts"


def test_four_times_the_pairs_have_to_bring_what_counts_for_their_own_hours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = a_file(tmp_path, "size,value,se\n50,50,3\n100,49,3\n200,53,3\n400,48,3\n")
    answer = answer_of(capsys, path, "--worth", "0.03/hour", "--minutes-a-pair", "6")
    assert answer["worth"] == pytest.approx(1.2), "forty hours for twice the pairs"
    twice, four_times = answer["predictions"]
    assert twice["refused"] == "it may as well be worse as better by more than what counts"
    assert four_times["refused"] is None, "3.6 count for 120 hours, and neither end of its interval is as far"


def test_a_flat_curve_promises_nothing_and_not_a_billionth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(
        capsys, a_file(tmp_path, RISING.replace("40\n", "50\n").replace("45", "50").replace("55", "50").replace("60", "50.00000000001"))
    )
    assert "would bring" in out
    assert re.search(r"[+-][\d.]+e-\d", out) is None


def test_no_gain_is_told_of_fewer_sizes_than_a_law_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, a_file(tmp_path, "size,value,se\n10,50,3\n20,53,3\n30,55,3\n"))
    assert "Unsure: 3 sizes are too few: at least 4 are needed." in out
    assert "would bring" not in out
    assert "60 and 120 pairs: not to be relied on." in out


def test_a_repeated_size_makes_errors_that_are_named_no_less_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = "size,value,se\n25,40,0.5\n50,45,0.5\n100,50,0.5\n200,55,0.5\n400,60,0.5\n"
    once, twice = (answer_of(capsys, a_file(tmp_path, content)) for content in (known, known + "400,60.2,0.5\n"))
    assert [once["errors_from"], twice["errors_from"]] == ["points", "points"]
    assert twice["points"][0]["high"] - twice["points"][0]["low"] == pytest.approx(2 * 1.96 * 0.5)
    assert (once["verdict"], twice["verdict"]) == ("continue", "continue")


def test_a_blank_error_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = a_file(tmp_path, RISING.replace("value\n", "value,se\n").replace("0\n", "0, \n").replace("5\n", "5,\n"))
    answer = answer_of(capsys, path)
    assert (answer["rejected"], answer["errors_from"]) == ([], None)


NUMBERS = [
    ("size", "1e30"),
    ("size", "1e-30"),
    ("value", "1e200"),
    ("value", "-1e200"),
    ("value", "1" + 400 * "0"),
    ("se", "1e200"),
    ("se", "1e-200"),
]


@pytest.mark.parametrize(("field", "number"), NUMBERS)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_number_whose_square_no_computer_holds_is_refused_by_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, field: str, number: str
) -> None:
    rows = [dict(zip(("size", "value"), line.split(","), strict=True)) for line in RISING.splitlines()[1:]]
    rows.append({"size": "800", "value": "65", field: number})
    cells = [{name: row.get(name, "1") for name in ("size", "value", "se")} for row in rows]
    written = {
        "csv": "size,value,se\n" + "".join(f"{','.join(row.values())}\n" for row in cells),
        "jsonl": "".join("{" + ", ".join(f'"{name}": {cell}' for name, cell in row.items()) + "}\n" for row in cells),
    }
    path = tmp_path / f"points.{form}"
    path.write_text(written[form])
    code, out, err = run(capsys, str(path), "--json")
    answer = json.loads(out, parse_constant=pytest.fail)
    place = "7" if form == "csv" else "6"
    assert (code, [(bad["place"], bad["field"]) for bad in answer["rejected"]]) == (0, [(place, field)])
    assert answer["rejected"][0]["reason"].startswith(f"{field} is ")
    assert f"points.{form}: {place}: {field} is " in " ".join(err.split())


@pytest.mark.parametrize("worth", ["much", "-1", "0.5/week", "0.5chrf", ""])
def test_a_worth_that_is_none_is_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str], worth: str) -> None:
    assert run(capsys, a_file(tmp_path, RISING), f"--worth={worth}")[0] == 2


def test_the_interval_is_a_line_on_the_scale_of_all_points() -> None:
    assert dot_line(5, 5, 5, 0, 10, width=11) == "     ●"
    assert dot_line(6, 3, 10, 0, 10, width=11) == "   ├──●───┤"
    assert dot_line(0, 0, 0, 0, 0) == "●"


def test_a_plot_is_an_image_of_the_form_that_its_ending_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = a_file(tmp_path, RISING)
    assert run(capsys, path, "--plot", str(tmp_path / "curve.svg"))[0] == 0
    assert "<svg" in (tmp_path / "curve.svg").read_text()
    assert run(capsys, path, "--plot", str(tmp_path / "curve.doc"))[0] == 2
    assert not (tmp_path / "curve.doc").exists()
