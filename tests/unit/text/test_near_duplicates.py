"""Texts that say nearly the same share a cluster."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from workers.text.near_duplicates import clusters, jaccard, shingles
from workers.text.sentences import normalise

LONG = "the council will close the old harbour bridge for eleven weeks of repairs starting on monday morning"


def test_a_retweet_shares_the_cluster_of_what_it_repeats():
    assert clusters(
        ["Bridge is closed again today!", "RT @bo: bridge is closed again today http://t.co/x1", "Something else entirely"]
    ) == [0, 0, 1]


def test_one_word_changed_in_a_long_text_is_near_and_a_rewrite_is_not():
    near = LONG.replace("morning", "evening")
    far = "on monday the harbour bridge closes; repairs take eleven weeks"
    assert clusters([LONG, near, far], threshold=0.7) == [0, 0, 1]


def test_short_texts_are_near_only_to_their_equals():
    assert clusters(["So tired", "so TIRED!!", "so happy", "tired", "", "@a http://t.co/b", "@c http://t.co/d"]) == [0, 0, 1, 2, 3, 4, 5]


def test_a_chain_of_near_texts_is_one_cluster():
    words = [f"w{number}" for number in range(40)]
    chain = [" ".join(words[start : start + 30]) for start in range(5)]
    assert jaccard(shingles(chain[0]), shingles(chain[4])) < 0.8 < jaccard(shingles(chain[0]), shingles(chain[1]))
    assert set(clusters(chain, threshold=0.8)) == {0}


def test_links_join_texts_that_have_nothing_in_common():
    assert clusters(["one text here", "another thing there", "third matter altogether"], linked=[(0, 2)]) == [0, 1, 0]


def test_a_threshold_of_one_joins_equals_alone():
    assert clusters([LONG, LONG.upper(), LONG + " again"], threshold=1) == [0, 0, 1]


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=8).map(" ".join), max_size=12))
def test_clusters_number_from_zero_and_never_part_equal_texts(texts):
    numbers = clusters(texts)
    assert list(dict.fromkeys(numbers)) == list(range(len(set(numbers))))
    for one, other in itertools.combinations(range(len(texts)), 2):
        if normalise(texts[one]) == normalise(texts[other]):
            assert numbers[one] == numbers[other]


def test_nothing_is_joined_that_no_chain_of_near_texts_joins():
    rng = random.Random(3)
    texts = [" ".join(rng.choices("abcdefgh", k=12)) for _ in range(60)]
    texts += [text + " z" for text in texts[:20]]
    sets = [shingles(text) for text in texts]
    numbers = clusters(texts, 0.7)
    for number in set(numbers):
        inside = [place for place, other in enumerate(numbers) if other == number]
        assert all(any(jaccard(sets[a], sets[b]) >= 0.7 for b in inside if b != a) for a in inside if len(inside) > 1)


def test_pairs_well_above_the_threshold_are_found():
    rng = random.Random(5)
    vocabulary = [f"word{number}" for number in range(500)]
    originals = [rng.choices(vocabulary, k=30) for _ in range(200)]
    texts = [" ".join(words) for words in originals] + [" ".join([*words[:-1], "changed"]) for words in originals]
    numbers = clusters(texts, 0.7)
    assert sum(numbers[place] == numbers[place + 200] for place in range(200)) >= 198


def test_the_clusters_are_those_of_comparing_each_with_each():
    rng = random.Random(11)
    texts = [" ".join(rng.choices("abcdefghijkl", k=rng.randint(1, 14))) for _ in range(150)]
    for _ in range(250):
        words = rng.choice(texts).split()
        words[rng.randrange(len(words))] = rng.choice("abcdefghijklmnop")
        texts.append(" ".join(words) if rng.random() < 0.8 else " ".join(words).upper() + "!")
    sets = [shingles(normalise(text)) for text in texts]
    expected = list(range(len(texts)))
    for one, other in itertools.combinations(range(len(texts)), 2):
        near = normalise(texts[one]) == normalise(texts[other]) or jaccard(sets[one], sets[other]) >= 0.6
        if near and expected[one] != expected[other]:
            first, second = sorted((expected[one], expected[other]))
            expected = [first if number == second else number for number in expected]
    order = {number: place for place, number in enumerate(dict.fromkeys(expected))}
    # One in a hundred of those right at the threshold may be missed: here none is.
    assert clusters(texts, 0.6) == [order[number] for number in expected]
    assert len(order) < 350


def test_many_texts_of_one_template_that_differ_enough_are_left_apart():
    texts = [f"i rated {number} {number + 1} {number + 2} of ten stars on the film site today" for number in range(300)]
    assert len(set(clusters(texts, 0.7))) == 300


def test_a_great_cluster_of_texts_that_are_alike_is_one():
    texts = [f"{LONG} and {number}" for number in range(3000)]
    assert set(clusters(texts, 0.7)) == {0}


def test_pairs_just_below_the_threshold_are_left_apart():
    rng = random.Random(6)
    vocabulary = [f"word{number}" for number in range(500)]
    originals = [rng.choices(vocabulary, k=30) for _ in range(100)]
    texts = [" ".join(words) for words in originals] + [" ".join([*words[:23], "x", "y", "z"]) for words in originals]
    assert 0.6 < jaccard(shingles(texts[0]), shingles(texts[100])) < 0.7
    assert len(set(clusters(texts, 0.7))) == 200
