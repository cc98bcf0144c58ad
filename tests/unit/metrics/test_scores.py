"""Scores are in row order and in their units, and the table carries intervals."""

from __future__ import annotations

import numpy as np
import pytest

from workers.metrics.scores import METRICS, score, table

TWEETS = [
    "cant believe @BlueJet cancelled my flite AGAIN!!! 3rd time this month smh #fail http://t.co/x",
    "do u know if the 5pm bus still runs on sundays?? need 2 get to work ugh",
    "my sister just won the regional chess cup in Oslo!!! so proud of her right now :)",
]
WANTED = [
    "BlueJet cancelled my flight for the 3rd time this month.",
    "Do you know if the 5pm bus still runs on Sundays?",
    "My sister won the regional chess cup in Oslo.",
]
REFERENCES = [(text,) for text in WANTED]


def test_outputs_equal_to_their_references_reach_the_top_of_every_scale() -> None:
    scores = score(TWEETS, WANTED, REFERENCES)
    assert tuple(scores) == METRICS
    assert (scores["sari"] > 98).all()
    for metric in ("rouge1", "rouge2", "rougeL", "chrf"):
        assert scores[metric] == pytest.approx(np.full(3, 100.0)), metric
    assert (scores["meteor"] > 99.9).all()
    for metric in ("promise", "faithful"):
        assert scores[metric].tolist() == [1, 1, 1]


def test_copies_flatter_rouge_and_not_sari() -> None:
    copies, invented = score(TWEETS, TWEETS, REFERENCES), score(TWEETS, ["Nothing of it at all."] * 3, REFERENCES)
    assert copies["rougeL"].mean() > 40 > copies["sari"].mean()
    assert copies["promise"].tolist() == [0, 0, 0]
    assert copies["chrf"].mean() > invented["chrf"].mean()


def test_rows_are_scored_in_order() -> None:
    outputs = [WANTED[0], "", "Anna won 4 cups in Paris."]
    scores = score(TWEETS, outputs, REFERENCES)
    assert scores["promise"].tolist() == [1, 0, 1]
    assert scores["faithful"].tolist() == [1, 1, 0]
    assert scores["rougeL"][0] == pytest.approx(100)
    assert scores["rougeL"][1] == 0


def test_the_table_has_every_metric_with_its_interval() -> None:
    figures = table(TWEETS, [WANTED[0], TWEETS[1], TWEETS[2]], REFERENCES, resamples=200)
    assert tuple(figures) == METRICS
    assert figures["promise"].value == pytest.approx(1 / 3)
    assert all(figure.low <= figure.value <= figure.high and figure.n == 3 for figure in figures.values())


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ValueError, match="3 tweets, 2 outputs"):
        score(TWEETS, WANTED[:2], REFERENCES)


def test_the_nearest_of_several_references_counts_and_their_order_does_not() -> None:
    far, near = "Something else entirely.", WANTED[0]
    alone = score(TWEETS[:1], WANTED[:1], [(near,)])
    for references in ((far, near), (near, far)):
        both = score(TWEETS[:1], WANTED[:1], [references])
        for metric in ("rouge1", "rouge2", "rougeL", "chrf", "meteor"):
            assert both[metric] == alone[metric]
        assert both["sari"] == score(TWEETS[:1], WANTED[:1], [(near, far)])["sari"]


def test_sari_weighs_all_references_and_not_the_best_alone() -> None:
    # One annotator keeps "now", the other drops it: leaving it is half right, where the first reference alone would call it wrong.
    tweet, output = "it rains now", "it rains now"
    dropped, both = (score([tweet], [output], [references])["sari"][0] for references in (("it rains",), ("it rains", "it rains now")))
    assert dropped < both < 100


def test_a_row_without_a_reference_is_named() -> None:
    with pytest.raises(ValueError, match="at least one reference"):
        score(TWEETS[:1], WANTED[:1], [()])


def test_rouge_counts_words_pairs_and_the_longest_sequence() -> None:
    # Of "the bus was late" and "late the bus was": 4 of 4 words, 2 of 3 pairs, and 3 of 4 words in sequence.
    found = score(["x"], ["late the bus was"], [("the bus was late",)])
    assert [found[metric][0] for metric in ("rouge1", "rouge2", "rougeL")] == pytest.approx([100, 200 / 3, 75])


def test_rouge_knows_no_other_script_and_the_others_do() -> None:
    russian = "автобус снова опоздал 😀"
    found = score([russian], [russian], [(russian,)])
    assert [found[metric][0] for metric in ("rouge1", "rouge2", "rougeL")] == [0, 0, 0]
    assert found["chrf"][0] == pytest.approx(100)
    assert found["meteor"][0] > 99
    assert (found["coverage"][0], found["compression"][0], found["density"][0]) == (1, 1, 3)


def test_an_empty_output_reaches_the_bottom_of_every_scale() -> None:
    found = score(TWEETS, [""] * 3, REFERENCES)
    for metric in ("rouge1", "rouge2", "rougeL", "chrf", "meteor", "promise", "compression", "coverage", "density"):
        assert found[metric].tolist() == [0, 0, 0], metric
    assert (found["sari"] < 40).all()
