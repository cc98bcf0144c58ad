"""A dataset from pairs, sentences and noise: nothing leaks, nothing is lost unsaid, and the seeds decide."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from schemas.payloads import Stage
from schemas.records import Pair
from schemas.synthesis import NoiseSource, SynthesisSpec
from tests.support.built import Built, build
from workers.errors import UserError
from workers.noise.fitting.rates import NoiseRates
from workers.noise.methods import Fixed
from workers.synthesis.imported_rows import Imported

CITIES = (
    *("Lima", "Oslo", "Rome", "Cairo", "Delhi", "Quito", "Paris", "Tokyo", "Perth", "Sofia"),
    *("Minsk", "Dakar", "Hanoi", "Kyiv", "Riga", "Turin", "Lagos", "Leeds", "Osaka", "Basel"),
)
TWEETS = {str(n): f"omg the trains to {city} r late AGAIN, waited {n + 20} minutes :(" for n, city in enumerate(CITIES)}
PAIRS = [
    Pair(
        tweet_id=str(n),
        clean=f"The trains to {city} are late again. I have waited {n + 20} minutes.",
        summary=f"The {city} trains are late again.",
    )
    for n, city in enumerate(CITIES)
]
SENTENCES = [f"Mayor of {city} opens bridge number {n} to walkers" for n, city in enumerate(CITIES)]


def spec(**changes: object) -> SynthesisSpec:
    values = {"dataset": "d", "pairs": "p", "sentences": "s", "noise": {"copies": 3, "seed": 1}, "test_size": 5, "near_duplicate": 1.0}
    return SynthesisSpec.model_validate({**values, **changes})


def rows(built: Built) -> str:
    return json.dumps([{**asdict(example), "key": example.example_key} for example in built.examples], sort_keys=True)


def test_the_same_inputs_give_the_same_bytes_and_another_seed_does_not():
    once = rows(build(spec(), TWEETS, PAIRS, SENTENCES, Fixed(NoiseRates())))
    assert once == rows(build(spec(), TWEETS, PAIRS, SENTENCES, Fixed(NoiseRates())))
    assert once != rows(build(spec(seed=9), TWEETS, PAIRS, SENTENCES, Fixed(NoiseRates())))
    assert once != rows(build(spec(noise=NoiseSource(copies=3, seed=2)), TWEETS, PAIRS, SENTENCES, Fixed(NoiseRates())))


def test_only_human_pairs_are_tested_on_and_nothing_made_of_them_is_learnt():
    built = build(spec(), TWEETS, PAIRS, SENTENCES, Fixed(NoiseRates()))
    tested = [example for example in built.examples if example.split == "test"]
    assert [example.origin for example in tested] == ["human"] * 5
    ids = {example.lineage["tweet_id"] for example in tested}
    learnt = [example for example in built.examples if example.split == "train"]
    assert not ids & {example.lineage.get("tweet_id") for example in learnt}
    assert not {example.cluster for example in tested} & {example.cluster for example in learnt}
    assert not {example.target_text for example in tested} & {example.target_text for example in learnt}


def test_a_sentence_near_a_held_back_pair_is_withheld():
    sentences = [pair.summary.upper() for pair in PAIRS]
    built = build(spec(), TWEETS, PAIRS, sentences, Fixed(NoiseRates()))
    assert built.counts["sentences_withheld"] == 5


def test_near_duplicate_tweets_stay_on_one_side():
    duplicates = {f"{key}b": text + " ugh" for key, text in TWEETS.items()}
    pairs = [*PAIRS, *(pair.model_copy(update={"tweet_id": f"{pair.tweet_id}b"}) for pair in PAIRS)]
    built = build(spec(near_duplicate=0.7, noise=None, test_size=10), TWEETS | duplicates, pairs, [], None)
    side = {str(example.lineage["tweet_id"]): example.split for example in built.examples}
    assert all(side[key] == side[f"{key}b"] for key in TWEETS)


def test_noise_teaches_the_summary_from_clean_texts_summaries_and_sentences():
    built = build(spec(), TWEETS, PAIRS, SENTENCES, Fixed(NoiseRates()))
    counts = built.counts
    assert (counts["noise_of_clean"], counts["noise_of_summary"], counts["noise_of_sentence"]) == (45, 15, 60)
    by_id = {pair.tweet_id: pair for pair in PAIRS}
    noisy = [example for example in built.examples if example.origin == "noise"]
    assert all(example.target_text == by_id[str(example.lineage["tweet_id"])].summary for example in noisy if "tweet_id" in example.lineage)
    assert {example.target_text for example in noisy if example.lineage["kind"] == "sentence"} == {f"{text}." for text in SENTENCES}


def test_the_stage_clean_learns_clean_texts():
    built = build(spec(stage="clean"), TWEETS, PAIRS, SENTENCES, Fixed(NoiseRates()))
    targets = {pair.clean for pair in PAIRS} | {f"{text}." for text in SENTENCES}
    assert {example.target_text for example in built.examples} <= targets
    assert {example.stage for example in built.examples} == {Stage.CLEAN}
    assert "noise_of_summary" not in built.counts


def test_both_stages_learn_both_answers_of_a_pair_which_stand_on_one_side():
    built = build(spec(stage="both"), TWEETS, PAIRS, [*SENTENCES, "One sentence is not enough here. There are two of them."], None)
    human = [row for row in built.examples if row.origin == "human"]
    sides: dict[str, set[tuple[Stage, str]]] = {key: set() for key in TWEETS}
    for row in human:
        sides[str(row.lineage["tweet_id"])].add((row.stage, row.split))
    assert (
        sorted(map(sorted, sides.values()))
        == [[("clean", "test"), ("summary", "test")]] * 5 + [[("clean", "train"), ("summary", "train")]] * 15
    )
    by_id = {pair.tweet_id: pair for pair in PAIRS}
    for row in human:
        pair = by_id[str(row.lineage["tweet_id"])]
        assert row.target_text == (pair.summary if row.stage is Stage.SUMMARY else pair.clean)
    # What is noised teaches either stage, but a summary no clean text, and two sentences no summary.
    kinds = {(row.stage, row.lineage["kind"]) for row in built.examples if row.origin == "noise"}
    assert kinds == {("summary", "clean"), ("summary", "summary"), ("summary", "sentence"), ("clean", "clean"), ("clean", "sentence")}
    twos = {row.stage for row in built.examples if row.target_text.startswith("One sentence")}
    assert twos == {Stage.CLEAN}


def test_either_stage_of_both_is_what_it_would_be_alone():
    def of(stage: Stage, built: Built) -> set[str]:
        return {row.example_key for row in built.examples if row.stage is stage}

    both = build(spec(stage="both"), TWEETS, PAIRS, SENTENCES, None)
    for stage in Stage:
        assert of(stage, both) == of(stage, build(spec(stage=stage.value), TWEETS, PAIRS, SENTENCES, None))


def test_of_both_stages_an_import_says_which_it_is():
    imports = {"file": "rows.jsonl:0123456789ab+cd", "form": "alpaca"}
    with pytest.raises(ValidationError, match=r"imports\.stage"):
        spec(stage="both", imports=imports)
    with pytest.raises(ValidationError, match="its stage is summary"):
        spec(imports={**imports, "stage": "clean"})
    rows = [Imported("line 1", "omg so l8", "I am so late.")]
    built = build(spec(stage="both", imports={**imports, "stage": "clean"}), TWEETS, PAIRS, [], None, rows)
    assert [row.stage for row in built.examples if row.origin == "import"] == [Stage.CLEAN]


def test_a_limit_is_shared_among_the_kinds_of_noise():
    counts = build(spec(noise={"copies": 3, "limit": 30}), TWEETS, PAIRS, SENTENCES, Fixed(NoiseRates())).counts
    assert (counts["noise_of_clean"], counts["noise_of_summary"], counts["noise_of_sentence"]) == (10, 10, 10)


def test_noise_of_clean_texts_alone_has_no_noised_summary_or_sentence():
    built = build(spec(noise={"of": ["clean"], "copies": 3, "seed": 1}), TWEETS, PAIRS, SENTENCES, Fixed(NoiseRates()))
    noisy = [example for example in built.examples if example.origin == "noise"]
    assert {example.lineage["kind"] for example in noisy} == {"clean"}
    assert (built.counts["noise_of_clean"], built.counts.get("noise_of_summary"), built.counts.get("noise_of_sentence")) == (45, None, None)
    # And a row that is left out changes none of the others
    everything = build(spec(noise={"copies": 3, "seed": 1}), TWEETS, PAIRS, SENTENCES, Fixed(NoiseRates()))
    assert {example.example_key for example in noisy} <= {example.example_key for example in everything.examples}


def test_a_limit_is_shared_among_the_kinds_that_were_asked_for():
    noise = {"of": ["summary", "sentence"], "copies": 3, "limit": 20}
    counts = build(spec(noise=noise), TWEETS, PAIRS, SENTENCES, Fixed(NoiseRates())).counts
    assert (counts.get("noise_of_clean"), counts["noise_of_summary"], counts["noise_of_sentence"]) == (None, 10, 10)


@pytest.mark.parametrize("of", [[], ["tweet"]])
def test_noise_of_nothing_or_of_something_unknown_is_refused(of):
    with pytest.raises(ValidationError, match=r"noise\.of"):
        spec(noise={"of": of})


def test_counts_add_up_and_keys_are_unique():
    built = build(spec(), TWEETS, PAIRS, SENTENCES, Fixed(NoiseRates()))
    assert built.counts["train"] + built.counts["test"] == len(built.examples) == len({e.example_key for e in built.examples})
    assert built.counts["noise"] + built.counts["pairs"] == len(built.examples)


def test_lineage_says_what_a_row_was_made_of():
    built = build(spec(), TWEETS, PAIRS, SENTENCES, Fixed(NoiseRates()))
    human = next(example for example in built.examples if example.origin == "human")
    noisy = next(example for example in built.examples if example.origin == "noise")
    assert human.lineage == {"tweet_id": "0"}
    assert {"source", "kind", "seed", "copy", "operations", "profile", "tweet_id"} == set(noisy.lineage)
    assert noisy.lineage["profile"] == {"name": "fixed", "fingerprint": Fixed(NoiseRates()).fingerprint}
    assert all(set(operation) == {"kind", "at"} for operation in noisy.lineage["operations"])


def test_pairs_that_cannot_be_used_are_named():
    pairs = [*PAIRS, Pair(tweet_id="404", clean="x", summary="x"), PAIRS[0], PAIRS[1].model_copy(update={"tweet_id": "duplicate"})]
    pairs.append(Pair(tweet_id="blank", clean=" ", summary="x"))
    built = build(spec(noise=None), {**TWEETS, "duplicate": TWEETS["1"].upper(), "blank": "hello you"}, pairs, [], None)
    assert [(row.key, row.reason.split(" has")[0]) for row in built.rejected] == [
        ("404", "tweet not ingested"),
        ("0", "an earlier pair is about the same tweet"),
        ("blank", "there is only white space"),
        ("duplicate", "tweet 1"),
    ]
    assert built.counts["pairs"] == len(PAIRS)


def test_sentences_alone_make_a_dataset_without_a_test():
    built = build(spec(pairs=None), {}, [], [*SENTENCES, "too short"], None)
    assert (built.counts["test"], built.counts["sentences_unfit"]) == (0, 1)
    assert built.counts["train"] > len(SENTENCES)


def test_a_test_larger_than_the_pairs_is_refused():
    with pytest.raises(UserError, match="only 20"):
        build(spec(test_size=21), TWEETS, PAIRS, [], None)


@pytest.mark.parametrize("recipe", sorted((Path(__file__).parents[3] / "recipes").glob("*synthesis*.yaml")), ids=lambda recipe: recipe.stem)
def test_every_recipe_is_a_valid_spec_and_opens_with_what_it_needs(recipe):
    text = recipe.read_text()
    SynthesisSpec.model_validate(yaml.safe_load(text))
    for heading in ("Requirements:", "Usage:", "See also:"):
        assert f"# {heading}" in text.split("\ndataset:")[0]
