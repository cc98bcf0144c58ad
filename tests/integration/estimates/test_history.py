"""What an estimate takes from Postgres: the tokens of a dataset, and the rate of the last training like it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine, text

from schemas.training import TrainingSpec
from tests.support.trainings import add_dataset
from workers import database
from workers.estimates import history

_MODEL = "INSERT INTO model (name, base, method, stage, details) VALUES (:name, '/there/tiny', :method, 'summary', cast(:details AS jsonb))"


def a_spec(**changes: Any) -> TrainingSpec:
    return TrainingSpec(**{"name": "m", "base": "/here/tiny", "dataset": "small"} | changes)


def add_model(engine: Engine, name: str, rate: float | None, method: str = "lora", **details: Any) -> None:
    about = {"tokens_per_second": rate, **details} if rate else details
    with engine.begin() as connection:
        connection.execute(text(_MODEL), {"name": name, "method": method, "details": json.dumps(about)})


def test_the_tokens_of_a_dataset_go_by_its_characters(clean_database: Engine) -> None:
    with database.session() as session:
        assert history.size_of(session, a_spec()) is None
    add_dataset(clean_database, examples=48)
    with database.session() as session:
        size = history.size_of(session, a_spec())
    assert size is not None
    assert size.lines == 48
    assert 48 * 30 < size.tokens < 48 * 120
    assert history.tokens_of_run(a_spec(num_train_epochs=2), size) == 2 * size.tokens
    one_step = history.tokens_of_run(a_spec(max_steps=1, per_device_train_batch_size=12), size)
    assert one_step == pytest.approx(size.tokens / 4, rel=0.01)


def test_the_last_training_like_it_gives_the_rate(clean_database: Engine) -> None:
    with database.session() as session:
        assert history.last_rate(session, a_spec()) is None
    add_model(clean_database, "older", 100.0, spec={"world_size": 1})
    add_model(clean_database, "newer", None, spec={"world_size": 1}, tokens=3000, seconds=20.0)
    add_model(clean_database, "wider", 300.0, spec={"world_size": 2})
    add_model(clean_database, "whole", 50.0, "full", spec={"world_size": 1})
    with database.session() as session:
        assert history.last_rate(session, a_spec()) == 150.0
        assert history.last_rate(session, a_spec(world_size=2)) == 300.0
        assert history.last_rate(session, a_spec(method="full")) == 50.0
        assert history.last_rate(session, a_spec(base="/here/other")) is None
