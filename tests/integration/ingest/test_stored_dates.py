"""Dates that are in the database already and that Python cannot hold: they cost themselves, and no synthesis."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from workers.synthesis import inputs
from workers.synthesis.split import threads

_INSERT = "INSERT INTO tweet (id, source, text, author, created_at, text_hash) VALUES (:id, 's', :id, 'ann', cast(:at AS timestamptz), :id)"


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
@pytest.mark.parametrize(
    "beyond",
    ["0001-12-31 10:00+00 BC", "0001-01-01 00:00+00", "4713-01-01 00:00+00 BC", "9999-12-31 23:59:59+00", "20000-01-01 00:00+00",
     "infinity", "-infinity"],
)  # fmt: skip
def test_a_stored_date_that_python_cannot_hold_is_none(clean_database: Engine, zone: str, beyond: str) -> None:
    dates = {"1": "2024-05-04 12:00+00", "2": beyond, "3": "2024-05-04 12:10+00"}
    with clean_database.begin() as connection:
        connection.execute(text(f"SET LOCAL TIME ZONE '{zone}'"))
        for key, at in dates.items():
            connection.execute(text(_INSERT), {"id": key, "at": at})

        found = list(inputs.tweets_with_threads(connection, ["1", "2", "3"]))

    assert [each.created_at is None for each in found] == [False, True, False]
    assert (0, 2) in list(threads.links(found, minutes=60))
