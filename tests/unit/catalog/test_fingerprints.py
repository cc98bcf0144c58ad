"""Keys and fingerprints are names on which jobs, models and reviews rely: these were given once and must never change."""

from __future__ import annotations

from collections import Counter

from schemas.payloads import Stage
from workers.catalog.examples.fingerprints import dataset_fingerprint, example_key
from workers.synthesis.row_store import RowStore
from workers.synthesis.rows import ExampleRow

ROWS = (
    ExampleRow(Stage.SUMMARY, 'teh bus wz late 😡 "again"', "The bus was late again.", "human", {}, "train", 0),
    ExampleRow(Stage.SUMMARY, "da bus no 95 is l8", "The bus is late.", "noise", {}, "train", 0),
    ExampleRow(Stage.SUMMARY, "la caffè è buona", "The coffee is good.", "teacher", {}, "test", 0),
    ExampleRow(Stage.SUMMARY, "ok", "OK.", "import", {}, "train", 0),
)
KEYS = (
    "2d76fe9158dc7440d3eff87febfc71937b1b2d9865e0021eb9f7a6897edd31a7",
    "97fa731c31f2a79a3bcc3b89af07cd60a08e47ece9641dfd56ffb0cd12bef100",  # a zero byte at its end
    "8972d28a400aadf20a86e2492a566dc11cf862abab2fc116061bd65f0efdc8f6",
    "98047112eec5054c61a658cbbd4f52c1bd60fcfaffffee2a56ad42b875d2c007",
)
FINGERPRINT = "64f2ac7e2945a483e44ba4088dd13ff7029669f3d4491393727ef622e9b86c15"


def test_the_key_of_an_example_stays() -> None:
    assert tuple(example_key(row.stage.value, row.prompt_text, row.target_text, row.origin) for row in ROWS) == KEYS
    assert tuple(row.example_key for row in ROWS) == KEYS


def test_the_fingerprint_of_a_dataset_stays() -> None:
    members = sorted(zip((row.split for row in ROWS), KEYS, strict=True))

    assert dataset_fingerprint(members) == FINGERPRINT


def test_an_example_that_comes_twice_counts_once() -> None:
    members = sorted(zip((row.split for row in ROWS), KEYS, strict=True))

    assert dataset_fingerprint(sorted(members * 2)) == FINGERPRINT


def test_a_synthesised_dataset_has_this_fingerprint() -> None:
    gathered = RowStore()
    for row in (*ROWS, ROWS[0]):
        gathered.add(row)
    gathered.distinct(Counter())

    assert gathered.fingerprint() == FINGERPRINT
