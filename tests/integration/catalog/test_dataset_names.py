"""A dataset's name: the newest build has it, and an older one of the same name stays as it is under another."""

from __future__ import annotations

from sqlalchemy import Engine

from workers import database
from workers.catalog import datasets
from workers.catalog.examples.dataset_names import claim_name

RECIPE = {"stage": "summary", "seed": 7}


def claim(engine: Engine, fingerprint: str) -> int:
    with engine.begin() as connection:
        return claim_name(connection, "buses", RECIPE, fingerprint)


def names(engine: Engine) -> dict[str, int]:
    with database.session(engine) as session:
        return {each["name"]: datasets.resolve(session, each["name"]).id for each in datasets.listed(session)}


def test_the_same_examples_are_the_same_dataset(clean_database: Engine) -> None:
    first = claim(clean_database, "a" * 64)

    assert claim(clean_database, "a" * 64) == first
    assert names(clean_database) == {"buses": first}
    with database.session(clean_database) as session:
        assert datasets.resolve(session, "buses").recipe == RECIPE


def test_other_examples_take_the_name_and_the_first_ones_take_it_back(clean_database: Engine) -> None:
    first, second = claim(clean_database, "a" * 64), claim(clean_database, "b" * 64)

    assert names(clean_database) == {"buses": second, f"buses@{'a' * 12}": first}
    assert claim(clean_database, "a" * 64) == first
    assert names(clean_database) == {"buses": first, f"buses@{'b' * 12}": second}
