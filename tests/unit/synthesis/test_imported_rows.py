"""Imported pairs in a dataset: mixed with others, never on both sides of the split, nothing lost unsaid."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from schemas.records import Pair
from schemas.synthesis import SynthesisSpec
from tests.support.built import Built, build
from workers.synthesis.imported_rows import Imported

CITIES = ("Lima", "Oslo", "Rome", "Cairo", "Delhi", "Quito", "Paris", "Tokyo", "Perth", "Sofia")
TWEETS = {str(n): f"omg the trains to {city} r late AGAIN, waited {n + 20} minutes :(" for n, city in enumerate(CITIES)}
PAIRS = [
    Pair(tweet_id=str(n), clean=f"The trains to {city} are late. I waited {n + 20} minutes.", summary=f"The {city} trains are late.")
    for n, city in enumerate(CITIES)
]
ROWS = [
    Imported(f"line {n + 1}", f"gr8 food in {city} 2day, {n} stars!!", f"The food in {city} is great.") for n, city in enumerate(CITIES)
]


def spec(**changes: object) -> SynthesisSpec:
    imports = {"file": "rows.jsonl:0123456789ab+cd", "form": "alpaca", **dict(changes.pop("imports", {}))}
    return SynthesisSpec.model_validate({"dataset": "d", "imports": imports, "test_size": 0, "near_duplicate": 1.0, **changes})


def imported(built: Built) -> list[tuple[str, str, str]]:
    return [(row.prompt_text, row.target_text, row.split) for row in built.examples if row.origin == "import"]


def test_rows_become_examples_to_the_letter_with_their_lineage() -> None:
    built = build(spec(imports={"licence": "CC BY 4.0"}), {}, [], [], None, [Imported("item 3", " so\nlate ", "It is late. ")])
    assert imported(built) == [(" so\nlate ", "It is late. ", "train")]
    assert built.examples[0].lineage == {
        "file": "rows.jsonl",
        "file_sha256": "0123456789ab",
        "place": "item 3",
        "form": "alpaca",
        "human": False,
        "licence": "CC BY 4.0",
    }
    assert (built.counts["imports"], built.counts["imports_used"]) == (1, 1)


def test_a_row_that_says_another_one_to_the_letter_is_refused_by_name_and_one_that_is_alike_stays_beside_it() -> None:
    told = {"line 1": "so late", "line 2": "SO LATE!!", "line 9": "so late"}
    alike = [Imported(place, prompt, "It is late.") for place, prompt in told.items()]
    built = build(spec(), {}, [], [], None, alike)
    assert [row.prompt_text for row in built.examples] == ["so late", "SO LATE!!"]
    assert len({row.cluster for row in built.examples}) == 1
    assert [(row.key, row.reason) for row in built.rejected] == [("rows.jsonl line 9", "line 1 says the same to the letter")]


def test_rows_that_no_person_wrote_are_not_tested_on_and_not_learnt_beside_what_is() -> None:
    leak = [Imported(f"line {n}", TWEETS[str(n)].upper(), f"Trains {n} are late.") for n in range(10)]
    leak += [Imported(f"line {n + 10}", f"something else {n}", pair.summary) for n, pair in enumerate(PAIRS)]
    built = build(spec(pairs="p", test_size=4), TWEETS, PAIRS, [], None, [*ROWS, *leak])
    tested = {row.cluster for row in built.examples if row.split == "test"}
    learnt = [row for row in built.examples if row.split == "train"]
    assert {row.origin for row in built.examples if row.split == "test"} == {"human"}
    assert not tested & {row.cluster for row in learnt}
    held = {row.target_text for row in built.examples if row.split == "test"}
    assert not held & {row.target_text for row in learnt}
    withheld = [row for row in built.rejected if row.reason == "near to a pair that is held back for the test"]
    assert built.counts["imports_withheld"] == len(withheld) > 0
    assert built.counts["imports"] == built.counts["imports_used"] + len(built.rejected)


def test_rows_that_a_person_wrote_are_held_back_too_and_whole_clusters_of_them() -> None:
    duplicates = [Imported(f"line {n + 20}", f"RT @x: {row.prompt} http://t.co/{n}", row.completion) for n, row in enumerate(ROWS)]
    built = build(spec(imports={"human": True}, test_size=6), {}, [], [], None, [*ROWS, *duplicates])
    sides = {row.cluster: set[str]() for row in built.examples}
    for row in built.examples:
        sides[row.cluster].add(row.split)
    assert [len(side) for side in sides.values()] == [1] * 10
    assert built.counts["test"] == 6
    assert built.rejected == []


def test_noise_is_not_made_of_pairs_that_are_near_to_a_held_back_import() -> None:
    rows = [Imported(f"line {n}", TWEETS[str(n)], pair.summary) for n, pair in enumerate(PAIRS)]
    built = build(spec(pairs="p", noise={"copies": 2}, imports={"human": True}, test_size=10), TWEETS, PAIRS, [], None, rows)
    tested = {row.cluster for row in built.examples if row.split == "test"}
    assert not tested & {row.cluster for row in built.examples if row.split == "train"}
    assert built.counts["noise"] > 0


def test_a_limit_draws_by_the_seed_and_keeps_the_order() -> None:
    def places(**changes: object) -> list[object]:
        return [row.lineage["place"] for row in build(spec(imports={"limit": 5}, **changes), {}, [], [], None, ROWS).examples]

    assert len(places()) == 5
    assert places() == sorted(places(), key=lambda place: int(str(place).split()[1]))
    assert places() == places() != places(seed=1)


def test_the_same_rows_give_the_same_bytes() -> None:
    def once() -> str:
        return json.dumps([asdict(row) for row in build(spec(pairs="p", test_size=3), TWEETS, PAIRS, [], None, ROWS).examples])

    assert once() == once()


def test_without_imports_in_the_recipe_a_dataset_is_what_it_was() -> None:
    plain = SynthesisSpec(dataset="d", pairs="p", test_size=3)
    assert build(plain, TWEETS, PAIRS, [], None) == build(plain, TWEETS, PAIRS, [], None, ROWS)


@pytest.mark.parametrize("imports", [{"form": "parquet"}, {"map": {"tweet": "x"}}, {"limit": 0}])
def test_a_source_that_cannot_be_is_refused(imports: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"imports\."):
        spec(imports=imports)
