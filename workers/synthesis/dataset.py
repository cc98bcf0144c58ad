"""A synthesis job: read what is needed from Postgres, build, store the examples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from sqlalchemy import Connection, text

from schemas.payloads import NoiseSource, SynthesisSpec
from schemas.records import Pair
from workers.attempt import Attempt, Outcome
from workers.errors import NotFound, UserError
from workers.store import transaction
from workers.synthesis import corpus
from workers.synthesis.build import build
from workers.synthesis.imported import Imported
from workers.synthesis.naming import claim_name
from workers.synthesis.noising import Noising, learn
from workers.synthesis.rows import Built, ExampleRow

# Rates settle long before: a sample keeps a corpus of millions cheap.
_TWEETS_FOR_RATES = 50_000


def synthesize(attempt: Attempt, spec: SynthesisSpec) -> Outcome:
    """Build the dataset of `spec` and store it in one transaction."""
    with transaction() as connection:
        pairs = list(_pairs(connection, spec.pairs)) if spec.pairs else []
        sentences = _sentences(connection, spec.sentences) if spec.sentences else []
        imports = list(_imports(connection, spec.imports.file)) if spec.imports else []
        tweets = _tweets(connection, [pair.tweet_id for pair in pairs])
        imitated = _tweets_to_imitate(connection, spec, spec.noise) if spec.noise else []
    attempt.progress(pairs=len(pairs), sentences=len(sentences), imports=len(imports))
    attempt.check()
    noising = learn(spec.noise.profile, imitated) if spec.noise else None
    attempt.check()
    built = build(spec, tweets, pairs, sentences, noising, imports)
    if not any(example.split == "train" for example in built.examples):
        asks = "Were the pairs' tweets ingested?" if spec.pairs else "`tweetmill rejected` says what was refused"
        raise UserError(f"dataset {spec.dataset}: nothing to learn from was left ({built.counts}). {asks}")
    attempt.check()
    counts = {**built.counts, "rejected": len(built.rejected)}
    fingerprint = _fingerprint(built.examples)
    return Outcome(
        result={"dataset": spec.dataset, "fingerprint": fingerprint, "counts": counts, "noise": _told(noising, imitated)},
        writes=lambda connection: _store(connection, attempt, spec, built, fingerprint),
    )


def _told(noising: Noising | None, imitated: list[str]) -> dict[str, object] | None:
    """Which noise it became: a corpus of a few tweets gets the fixed one, whatever the recipe says."""
    return None if noising is None else {"profile": noising.name, "fingerprint": noising.fingerprint, "tweets": len(imitated)}


def _pairs(connection: Connection, collection: str) -> Iterator[Pair]:
    rows = connection.execute(
        text("SELECT key, clean, summary FROM curated WHERE collection = :collection ORDER BY position"), {"collection": collection}
    ).all()
    if not rows:
        raise NotFound(f"collection {collection}: there is none. `tweetmill synthesize` brings a recipe's files in")
    for row in rows:
        yield Pair(tweet_id=row.key, clean=row.clean, summary=row.summary)


def _sentences(connection: Connection, collection: str) -> list[str]:
    rows = connection.execute(
        text("SELECT clean FROM curated WHERE collection = :collection ORDER BY position"), {"collection": collection}
    ).scalars()
    return [str(sentence) for sentence in rows]


def _imports(connection: Connection, collection: str) -> Iterator[Imported]:
    rows = connection.execute(
        text("SELECT key, text, summary FROM curated WHERE collection = :collection ORDER BY position"), {"collection": collection}
    ).all()
    if not rows:
        raise NotFound(f"collection {collection}: there is none. `tweetmill import` brings a file in")
    for row in rows:
        yield Imported(place=row.key, prompt=row.text, completion=row.summary)


def _tweets(connection: Connection, ids: list[str]) -> dict[str, str]:
    rows = connection.execute(text("SELECT id, text FROM tweet WHERE id = ANY(:ids)"), {"ids": ids})
    return {row.id: row.text for row in rows}


def _tweets_to_imitate(connection: Connection, spec: SynthesisSpec, noise: NoiseSource) -> list[str]:
    if noise.profile == "fixed":
        return corpus.tweets(connection, source=noise.source, apart=None, seed=spec.seed)
    paired = [pair.tweet_id for pair in _pairs(connection, spec.pairs)] if spec.pairs else []
    return corpus.beside(connection, paired, source=noise.source, seed=spec.seed)


def _fingerprint(examples: list[ExampleRow]) -> str:
    lines = sorted(f"{example.split} {example.example_key}" for example in examples)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


_INSERT_EXAMPLES = """
INSERT INTO example (dataset, key, stage, prompt_text, target_text, origin, tweet, lineage, split, cluster)
SELECT :dataset, row.key, row.stage, row.prompt, row.target, row.origin, row.tweet, row.lineage, row.split, row.cluster
FROM jsonb_to_recordset(cast(:rows AS jsonb))
  AS row(key text, stage text, prompt text, target text, origin text, tweet text, lineage jsonb, split text, cluster int)
ON CONFLICT DO NOTHING
"""
_INSERT_REJECTED = """
INSERT INTO rejected_row (job, origin, row_key, field, reason)
SELECT :job, :origin, row.key, row.field, row.reason
FROM jsonb_to_recordset(cast(:rows AS jsonb)) AS row(key text, field text, reason text)
ON CONFLICT DO NOTHING
"""
_ROWS_A_STATEMENT = 2000


def _store(connection: Connection, attempt: Attempt, spec: SynthesisSpec, built: Built, fingerprint: str) -> None:
    dataset = claim_name(connection, spec.dataset, spec.model_dump_json(), fingerprint)
    rows = [_row(example) for example in built.examples]
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        part = json.dumps(rows[start : start + _ROWS_A_STATEMENT])
        connection.execute(text(_INSERT_EXAMPLES), {"dataset": dataset, "rows": part})
    rejected = [{"key": row.key, "field": row.field, "reason": row.reason} for row in built.rejected]
    connection.execute(text(_INSERT_REJECTED), {"job": attempt.job, "origin": spec.dataset, "rows": json.dumps(rejected)})


def _row(example: ExampleRow) -> dict[str, object]:
    return {
        "key": example.example_key,
        "stage": example.stage,
        "prompt": example.prompt_text,
        "target": example.target_text,
        "origin": example.origin,
        "tweet": example.lineage.get("tweet_id"),
        "lineage": example.lineage,
        "split": example.split,
        "cluster": example.cluster,
    }
