"""Writes tweets as a Parquet file with the prompt that each is asked with, for an engine elsewhere: Ray Data, vLLM, a fleet of servers.

What comes back is stored by `workers.ingest.summaries`. Memory is constant: rows are read by a cursor and written in row groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import and_, text
from sqlmodel import Session, col, select

from schemas.payloads import Stage
from schemas.tables.models import Model
from schemas.tables.summaries import Summary
from schemas.tables.tweets import Tweet
from workers import destinations
from workers.catalog.chains import CHAIN
from workers.catalog.summaries import NO_IDLE_TIMEOUT
from workers.errors import UserError
from workers.text.clean import rules
from workers.text.constraints import MAX_NEW_TOKENS
from workers.text.instructions import PROMPT_VERSION
from workers.text.prompts import served, tuned

COLUMNS = ("tweet", "text", "messages", "max_tokens", "prompt_version")
"""Of a row: the tweet's id and text, the chat as a server gets it, the tokens that an answer may have, and the prompt's version."""

_ROW_GROUP = 5_000  # rows
_ROWS_AT_ONCE = 1_000


@dataclass
class PromptExport:
    """What became of the tweets: `rows` were written, `known` have a summary of the model, `wordless` have no word to summarise."""

    rows: int = 0
    known: int = 0
    wordless: int = 0


def write_prompts(
    session: Session, file: Path, *, source: str | None = None, model: Model | None = None, limit: int | None = None
) -> PromptExport:
    """Write the tweets that have no summary of a model yet, in the order of their ids; the file is replaced as a whole or not at all.

    Args:
        session: one that stays open while rows are read.
        file: to write.
        source: only its tweets.
        model: for which they are; None: all tweets, with the prompt for a summary.
        limit: rows at most.

    Raises:
        UserError: there is nothing to write, pyarrow is not installed, or the model is a chain.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise UserError("to write Parquet takes pyarrow: pip install 'tweetmill[parquet]'") from None
    if model is not None and model.method == CHAIN:
        raise UserError(f"model {model.name} is a chain: its second model reads what the first one wrote. `tweetmill summarize` runs both")
    counted = PromptExport()
    stage = Stage(model.stage) if model is not None else Stage.SUMMARY
    rows = islice(_rows(session, source, model, stage, counted), limit)
    schema = _schema(pa)
    with destinations.open_binary(file) as out:
        with parquet.ParquetWriter(out, schema, compression="zstd") as writer:
            while group := list(islice(rows, _ROW_GROUP)):
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                counted.rows += len(group)
        if not counted.rows:
            raise UserError(_nothing(counted, source))
    return counted


def _schema(pa: Any) -> Any:
    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    types = (pa.string(), pa.string(), pa.list_(turn), pa.int32(), pa.string())
    return pa.schema(list(zip(COLUMNS, types, strict=True)))


def _rows(session: Session, source: str | None, model: Model | None, stage: Stage, counted: PromptExport) -> Iterator[dict[str, Any]]:
    """Yield a row for each tweet that is to be asked about, and count the others."""
    for tweet, body, known in _tweets(session, source, model):
        if known is not None:
            counted.known += 1
        elif not rules(body):
            counted.wordless += 1
        else:
            messages = [{"role": turn.role, "content": turn.content} for turn in served(tuned(body, stage))]
            yield dict(zip(COLUMNS, (tweet, body, messages, MAX_NEW_TOKENS[stage], PROMPT_VERSION), strict=True))


def _tweets(session: Session, source: str | None, model: Model | None) -> Iterator[tuple[str, str, str | None]]:
    """Yield tweets by id: id, text, and the version of the prompt if they have a summary of the model."""
    by_model = and_(
        col(Summary.tweet) == col(Tweet.id),
        col(Summary.model) == (model.id if model is not None else None),
        col(Summary.prompt_version) == PROMPT_VERSION,
    )
    query = select(Tweet.id, Tweet.text, col(Summary.prompt_version)).join(Summary, by_model, isouter=True).order_by(col(Tweet.id))
    if source is not None:
        query = query.where(Tweet.source == source)
    connection = session.connection()
    connection.execute(text(NO_IDLE_TIMEOUT))
    for row in connection.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE}):
        yield row.id, row.text, row.prompt_version


def _nothing(counted: PromptExport, source: str | None) -> str:
    whose = f"source {source}" if source is not None else "the catalog"
    if counted.known or counted.wordless:
        return f"{whose}: nothing to ask: {counted.known:,} tweets have their summary, {counted.wordless:,} have no word to summarise"
    return f"{whose} has no tweet: `tweetmill ingest` brings some in"
