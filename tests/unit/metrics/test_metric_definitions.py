"""Every metric has a head, a caption, a unit and a direction, written in one place."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from schemas.metrics import DEFINITIONS, metrics_of
from workers.metrics.scores import METRICS, score


def test_every_score_is_defined_in_the_order_of_the_table() -> None:
    assert tuple(metric.key for metric in metrics_of(METRICS)) == METRICS
    assert set(DEFINITIONS) == {*METRICS, "err", "similarity", "supported"}, "and those of words and of optional scorers"


def test_units_are_those_of_the_scores() -> None:
    scores = score(["so late", "soup! @ noon"], ["So late.", "Soup at noon."], [("So late.",), ("There is soup at noon.",)])
    for metric, values in scores.items():
        top = {"points": 100, "%": 1, "words": np.inf}[DEFINITIONS[metric].unit]
        assert (values >= 0).all()
        assert (values <= top).all(), metric


def test_how_short_and_how_copied_an_output_is_has_no_better_end() -> None:
    assert {key for key, metric in DEFINITIONS.items() if metric.better == "neither"} == {"compression", "coverage", "density"}
    assert all("neither more nor less is better" in metric.caption for metric in DEFINITIONS.values() if metric.better == "neither")


def test_what_is_checked_of_words_is_not_called_truth() -> None:
    head, caption = DEFINITIONS["faithful"].head, DEFINITIONS["faithful"].caption_line
    assert "faithful" not in f"{head} {caption}".lower()
    assert caption == "words kept: no number, name or link that the tweet lacks; a check of words, not of truth"


def test_the_command_line_may_import_them() -> None:
    code = "import sys, schemas.metrics; print(*{'numpy', 'nltk', 'sacrebleu', 'pydantic', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []
