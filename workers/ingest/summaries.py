"""Imports summaries that an engine elsewhere wrote for exported tweets: each is checked against its tweet, and stored with its flags.

The same file again changes nothing: what is stored already is counted. Memory is constant, whatever the size of the file.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, text

from schemas.payloads import Stage
from schemas.tables.models import Model
from workers.database import transaction
from workers.errors import UserError
from workers.ingest import rejected_rows
from workers.ingest.counts import Counts, Reasons
from workers.ingest.readers import rows
from workers.ingest.readers.errors import RowError, SourceError
from workers.ingest.readers.row import Row, key
from workers.ingest.readers.rows import Reading
from workers.ingest.readers.text import check_characters, check_text
from workers.ingest.summary_rows import SummaryRow, insert_summaries
from workers.text.checks import check
from workers.text.clean import rules
from workers.text.instructions import PROMPT_VERSION
from workers.text.spreadsheets import cell_of
from workers.text.thoughts import split_thoughts

FIELDS = ("tweet", "summary", "prompt_version", "tokens_in", "tokens_out")
"""What is read of a row. The counts of tokens may be missing."""

_NEEDED = FIELDS[:3]
_ROWS_AT_ONCE = 1_000
_MOST_TOKENS = 2**31 - 1
_COLLIDES = "the tweet has another summary of this model and version of the prompt, which stays"

# Raw: one statement looks up a thousand rows.
_LOOK_UP = """
SELECT asked.place - 1 AS place, tweet.text, tweet.text_hash, summary.summary
FROM unnest(cast(:tweets AS text[]), cast(:versions AS text[])) WITH ORDINALITY AS asked(tweet, version, place)
JOIN tweet ON tweet.id = asked.tweet
LEFT JOIN summary ON summary.tweet = asked.tweet AND summary.model = :model AND summary.prompt_version = asked.version
"""


class _Answer(NamedTuple):
    """One row that can be read."""

    row: Row
    tweet: str
    summary: str
    version: str
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True)
class ImportedSummaries:
    """What became of the rows of a file, and how many of the stored ones have each flag of the guard."""

    counts: Counts = field(default_factory=Counts)
    flags: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: ImportedSummaries) -> ImportedSummaries:
        """Add up both."""
        return ImportedSummaries(self.counts + other.counts, self.flags + other.flags)


def import_summaries(
    path: Path,
    model: Model,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    on_progress: Callable[[ImportedSummaries], None] = lambda _: None,
) -> ImportedSummaries:
    """Store the summaries of a file under a model. Rows that can't be used are kept in `rejected_row` with their reason.

    A summary is stored as it is, without the guard's second try or stand-in; what the checks find is in its flags.

    Args:
        path: Parquet, JSON or a table with a header.
        model: that wrote them.
        columns: names of the columns by the fields of `FIELDS`, where they differ.
        encoding: of a text file; None: UTF-8.
        on_progress: called after every thousand rows with the counts so far.

    Raises:
        UserError: the file can't be read as a whole. What came before the trouble is stored.
        Unavailable: Postgres does not answer. What was stored stays.
    """
    names = {name: name for name in FIELDS} | dict(columns or {})
    done = ImportedSummaries()
    reading = Reading(lambda header, _: _check_header(header, names), encoding=encoding)
    try:
        stream = rows.read(path, reading)
        while batch := list(islice(stream, _ROWS_AT_ONCE)):
            done += _import_batch(batch, model, names, str(path))
            on_progress(done)
    except SourceError as error:
        raise UserError(f"{path}: {error}") from None
    return done


def _check_header(header: Sequence[str], names: Mapping[str, str]) -> None:
    lacking = [names[name] for name in _NEEDED if names[name] not in header]
    if lacking:
        raise SourceError(
            f"its first line names no column {' and no '.join(lacking)}: --map tweet=COLUMN,summary=COLUMN says which they are"
        )


def _import_batch(batch: Sequence[Row], model: Model, names: Mapping[str, str], origin: str) -> ImportedSummaries:
    sorted_ = _Sorted()
    answers = list(_answers(batch, names, sorted_))
    with transaction() as connection:
        found = _look_up(connection, answers, model)
    for place, answer in enumerate(answers):
        tweet, stored_one = found.get(place, (None, None))
        sorted_.sort(answer, tweet, stored_one, names["tweet"])
    # Outside of a transaction: a thousand checks take a second or two.
    stored = [_as_stored(answer, tweet, Stage(model.stage)) for answer, tweet in sorted_.new.values()]
    collided = [(key(row.number, row.unit, row.item), names["tweet"], _COLLIDES) for row in sorted_.collided]
    refused = [(key(row.number, row.unit, row.item), error.field, error.reason) for row, error in sorted_.refused]
    with transaction() as connection:
        worker = f"import {Path(origin).name}"
        inserted = insert_summaries(connection, stored, model=model.id, worker=worker) if stored else 0
        rejected_rows.keep(connection, origin, [*refused, *collided])
    counts = Counts(
        read=len(batch),
        inserted=inserted,
        duplicates=sorted_.duplicates + len(stored) - inserted,
        collisions=len(collided),
        rejected=len(refused),
        reasons=Reasons((row.place, error.field, error.reason) for row, error in sorted_.refused),
    )
    return ImportedSummaries(counts, Counter(flag for row in stored for flag in row.flags))


class _Tweet(NamedTuple):
    """A tweet's text as it is now."""

    text: str
    text_hash: str


class _Sorted:
    """The rows of a batch by what becomes of them."""

    def __init__(self) -> None:
        self.new: dict[tuple[str, str], tuple[_Answer, _Tweet]] = {}
        self.duplicates = 0
        self.collided: list[Row] = []
        self.refused: list[tuple[Row, RowError]] = []

    def sort(self, answer: _Answer, tweet: _Tweet | None, stored: str | None, column: str) -> None:
        """Decide on a row.

        Args:
            answer: the row.
            tweet: as it is stored; None where there is no such tweet.
            stored: the summary that it has already; None where it has none.
            column: that names the tweet.
        """
        if tweet is None:
            self.refused.append((answer.row, RowError(column, "no tweet of this id is stored: ingest it first")))
            return
        if stored is None and (before := self.new.get((answer.tweet, answer.version))) is not None:
            stored = before[0].summary
        if stored is None and not rules(tweet.text):
            self.refused.append((answer.row, RowError(column, "the tweet has no word to summarise")))
        elif stored is None:
            self.new[answer.tweet, answer.version] = (answer, tweet)
        elif stored == answer.summary:
            self.duplicates += 1
        else:
            self.collided.append(answer.row)


def _look_up(connection: Connection, answers: Sequence[_Answer], model: Model) -> dict[int, tuple[_Tweet, str | None]]:
    """Return for each answer whose tweet is stored the tweet, and the summary that it has of the same version of the prompt."""
    values = {"tweets": [each.tweet for each in answers], "versions": [each.version for each in answers], "model": model.id}
    return {row.place: (_Tweet(row.text, row.text_hash), row.summary) for row in connection.execute(text(_LOOK_UP), values)}


def _as_stored(answer: _Answer, tweet: _Tweet, stage: Stage) -> SummaryRow:
    flags = check(tweet.text, answer.summary, stage).flags
    written = SummaryRow(answer.tweet, tweet.text_hash, answer.version, rules(tweet.text), answer.summary, flags)
    return replace(written, tokens_in=answer.tokens_in, tokens_out=answer.tokens_out)


def _answers(batch: Iterable[Row], names: Mapping[str, str], sorted_: _Sorted) -> Iterator[_Answer]:
    for row in batch:
        try:
            yield _answer(row, names)
        except RowError as error:
            sorted_.refused.append((row, error))


def _answer(row: Row, names: Mapping[str, str]) -> _Answer:
    """Return what a row says.

    Raises:
        RowError: a field is missing or is not what it should be.
    """
    if row.refused is not None:
        raise row.refused
    if not isinstance(row.value, dict):
        raise RowError(None, f"the {row.unit} is no object")
    values = {name: _cell(row.value.get(column), row) for name, column in names.items()}
    spoken = split_thoughts(_text(values["summary"], names["summary"]))
    if not spoken.text:
        raise RowError(names["summary"], "the answer is nothing but thoughts" if spoken.thought else "the answer is empty")
    check_text(names["summary"], spoken.text)
    tweet = _text(values["tweet"], names["tweet"])
    check_characters(names["tweet"], tweet)
    counted = (_count(values[name]) for name in ("tokens_in", "tokens_out"))
    return _Answer(row, tweet, spoken.text, _version(values["prompt_version"], names["prompt_version"]), *counted)


def _cell(value: object, row: Row) -> object:
    return cell_of(value) if row.is_table and isinstance(value, str) else value


def _text(value: object, column: str) -> str:
    if value is None:
        raise RowError(column, f"{column} is missing: --map says which column it is in")
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise RowError(column, f"{column} is no text")
    return str(value)


def _version(value: object, column: str) -> str:
    version = _text(value, column)
    if version not in map(str, range(1, int(PROMPT_VERSION) + 1)):
        raise RowError(
            column, f"there is no such version of the prompt: `tweetmill export tweets` writes the column, now with {PROMPT_VERSION}"
        )
    return version


def _count(value: object) -> int:
    """Return a count of tokens; 0 for what is none: it costs the count alone."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) else 0.0
    except (ValueError, OverflowError):
        return 0
    return int(number) if math.isfinite(number) and 0 <= number <= _MOST_TOKENS else 0
