"""Datasets to be reviewed, of invented texts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, text

from schemas.payloads import Stage
from tasks.review import open_review
from workers.synthesis.rows import ExampleRow


@dataclass(frozen=True)
class Row:
    """An example; a tweet that says exactly its target gives the checks nothing to find."""

    prompt: str
    target: str
    origin: Any = "human"
    split: Any = "train"
    cluster: int = 0
    lineage: dict[str, object] = field(default_factory=dict)
    tweet: str | None = None
    stage: Stage = Stage.SUMMARY

    @property
    def key(self) -> str:
        return ExampleRow(self.stage, self.prompt, self.target, self.origin, {}, self.split, self.cluster).example_key


def plain_rows(count: int) -> list[Row]:
    """Rows of which none is more telling than another."""
    return [
        Row(f"the bus number {number} is late again", f"The bus number {number} is late again.", cluster=number) for number in range(count)
    ]


_INSERT = """
INSERT INTO example (dataset, key, stage, prompt_text, target_text, origin, tweet, lineage, split, cluster)
SELECT :dataset, row.key, row.stage, row.prompt, row.target, row.origin, row.tweet, row.lineage, row.split, row.cluster
FROM jsonb_to_recordset(cast(:rows AS jsonb))
  AS row(key text, stage text, prompt text, target text, origin text, tweet text, lineage jsonb, split text, cluster int)
"""
_TWEETS = """
INSERT INTO tweet (id, source, text, text_hash) SELECT id, 'invented', id, id FROM unnest(cast(:ids AS text[])) AS id ON CONFLICT DO NOTHING
"""
_DATASET = 'INSERT INTO dataset (name, recipe, fingerprint) VALUES (:name, \'{"stage": "summary"}\', :name) RETURNING id'


def add_dataset(engine: Engine, rows: Iterable[Row], name: str = "buses", opened: bool = True) -> int:
    """A dataset of these rows; its id."""
    rows = list(rows)
    with engine.begin() as connection:
        connection.execute(text(_TWEETS), {"ids": [row.tweet for row in rows if row.tweet]})
        dataset = connection.execute(text(_DATASET), {"name": name}).scalar_one()
        values = [{**vars(row), "key": row.key} for row in rows]
        connection.execute(text(_INSERT), {"dataset": dataset, "rows": json.dumps(values)})
    if opened:
        open_review(dataset, lambda done, of: None)
    return int(dataset)


def reviewed(engine: Engine, dataset: int) -> dict[str, Any]:
    """The rows of `review`, by key."""
    with engine.connect() as connection:
        return {row.key: row for row in connection.execute(text("SELECT * FROM review WHERE dataset = :dataset"), {"dataset": dataset})}
