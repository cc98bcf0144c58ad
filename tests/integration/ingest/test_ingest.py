"""The bulk ways into Postgres: nothing is lost, nothing comes twice, and what was interrupted goes on where it stood."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, Row, text

from producers.sources.lines import Line, RejectedTweet
from schemas.records import TweetRecord
from workers.database import get_engine, session
from workers.errors import NotFound, UserError
from workers.evaluation.rows import of_references
from workers.ingest.counts import Counts
from workers.ingest.curated import import_collection
from workers.ingest.file_cursor import FileCursor
from workers.ingest.tweets import copy_tweets

AWKWARD = "tab\there, newline\nhere, backslash \\ and \\N and \\., quote \" and ', emoji 🎉, e\u0301, \x07 bell"


def tweets(count: int, start: int = 1) -> list[Line]:
    return [Line(number, TweetRecord(id=str(number), text=f"tweet {number}", source="s")) for number in range(start, start + count)]


def rows(engine: Engine, statement: str) -> list[Row]:
    with engine.connect() as connection:
        return list(connection.execute(text(statement)))


def count(engine: Engine, table: str) -> int:
    return int(rows(engine, f"SELECT count(*) AS n FROM {table}")[0].n)  # noqa: S608


class TestTweets:
    def test_arrive_byte_for_byte_with_every_field(self, clean_database: Engine) -> None:
        moment = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
        tweet = TweetRecord(id="a\tb\\c", text=AWKWARD, source="s\n1", author="\\N", lang="", created_at=moment)

        copy_tweets([Line(1, tweet)], origin="file")

        stored = rows(clean_database, "SELECT * FROM tweet")[0]
        assert TweetRecord(**{name: getattr(stored, name) for name in TweetRecord.model_fields}) == tweet
        assert stored.text_hash == hashlib.sha256(AWKWARD.encode()).hexdigest()

    def test_what_is_not_given_stays_null(self, clean_database: Engine) -> None:
        copy_tweets(tweets(1), origin="file")

        stored = rows(clean_database, "SELECT author, lang, created_at, received_at FROM tweet")[0]
        assert (stored.author, stored.lang, stored.created_at) == (None, None, None)
        assert stored.received_at is not None

    def test_of_equal_ids_the_first_stays_within_a_file_and_between_files(self, clean_database: Engine) -> None:
        def said(text_: str) -> Line:
            return Line(1, TweetRecord(id="7", text=text_, source="s"))

        assert copy_tweets([said("first"), said("second")], origin="a") == Counts(read=2, inserted=1, collisions=1)
        assert copy_tweets([said("third")], origin="b") == Counts(read=1, collisions=1)
        assert copy_tweets([said("first")], origin="b") == Counts(read=1, duplicates=1)
        assert [row.text for row in rows(clean_database, "SELECT text FROM tweet")] == ["first"]

    def test_more_than_a_batch_is_counted_as_it_goes(self, clean_database: Engine) -> None:
        told: list[Counts] = []

        counts = copy_tweets(tweets(12_001), origin="file", on_progress=told.append)

        assert counts == told[-1] == Counts(read=12_001, inserted=12_001)
        assert len(told) >= 3
        assert count(clean_database, "tweet") == 12_001

    def test_refused_lines_are_kept_once_with_line_field_and_reason(self, clean_database: Engine) -> None:
        lines = [
            *tweets(1),
            Line(2, rejected=RejectedTweet(2, "text", "the text is empty")),
            Line(3, rejected=RejectedTweet(3, None, "not JSON")),
        ]

        assert copy_tweets(lines, origin="file.jsonl") == Counts(read=3, inserted=1, rejected=2)
        copy_tweets(lines, origin="file.jsonl")

        kept = rows(clean_database, "SELECT origin, row_key, field, reason FROM rejected_row ORDER BY id")
        assert [tuple(row) for row in kept] == [("file.jsonl", "2", "text", "the text is empty"), ("file.jsonl", "3", None, "not JSON")]

    def test_what_was_read_before_a_source_breaks_is_stored(self, clean_database: Engine) -> None:
        def breaking() -> Iterator[Line]:
            yield from tweets(3)
            raise UserError("the archive is damaged")

        with pytest.raises(UserError, match="damaged"):
            copy_tweets(breaking(), origin="file")
        assert count(clean_database, "tweet") == 3


class TestFileCursor:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "tweets.jsonl"
        path.write_text('{"id": "1", "text": "x"}\n')
        return path

    def test_an_interrupted_ingest_goes_on_where_it_stood(self, clean_database: Engine, file: Path) -> None:
        def killed() -> Iterator[Line]:
            yield from tweets(5_000)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            copy_tweets(killed(), origin="file", cursor=FileCursor(file))

        # The last line may have held more tweets than one: it is looked at again.
        assert FileCursor(file).position() == 4_999

    def test_the_cursor_and_the_rows_are_one_transaction(self, clean_database: Engine, file: Path) -> None:
        unstorable = Line(5_001, TweetRecord.model_construct(id="x", text="nul \x00", source="s", author=None, lang=None, created_at=None))

        with pytest.raises(Exception, match="NUL"):
            copy_tweets([*tweets(5_000), unstorable], origin="file", cursor=FileCursor(file))

        assert count(clean_database, "tweet") == 5_000
        assert FileCursor(file).position() == 4_999

    def test_a_file_read_to_its_end_is_read_from_its_beginning_next_time(self, clean_database: Engine, file: Path) -> None:
        copy_tweets(tweets(10), origin="file", cursor=FileCursor(file))

        assert FileCursor(file).position() == 0

    def test_another_file_under_the_same_name_starts_anew(self, clean_database: Engine, file: Path) -> None:
        with clean_database.begin() as connection:
            FileCursor(file).advance(connection, 42)
        assert FileCursor(file).position() == 42

        file.write_text('{"id": "2", "text": "another"}\n')

        assert FileCursor(file).position() == 0

    def interrupted(self, path: Path, read: int) -> None:
        """An ingest that was killed when so many bytes of the file were read."""
        cursor = FileCursor(path)
        with path.open("rb", buffering=0) as raw, get_engine().begin() as connection:
            cursor.watch(raw)
            raw.read(read)
            cursor.advance(connection, 7)

    @pytest.mark.parametrize(
        ("after", "position"),
        [
            (b"a" * 100_000 + b"b" * 100_000, 7),
            (b"a" * 100_000 + b"b" * 100_000 + b"more", 7),
            # Not read yet, so nothing of it is done.
            (b"a" * 100_000 + b"b" * 50_000 + b"c" * 80_000, 7),
            (b"a" * 100_000 + b"b" * 49_999 + b"c" * 50_001, 0),
            (b"a" * 100_000 + b"c" + b"b" * 99_999, 0),
            (b"a" * 100_000, 0),
            (b"", 0),
        ],
    )
    def test_what_was_read_must_still_stand_there(self, clean_database: Engine, tmp_path: Path, after: bytes, position: int) -> None:
        path = tmp_path / "tweets.jsonl"
        path.write_bytes(b"a" * 100_000 + b"b" * 100_000)
        self.interrupted(path, 150_000)

        path.write_bytes(after)

        assert FileCursor(path).position() == position

    def test_how_far_it_was_read_is_known_when_an_error_has_closed_the_file(self, clean_database: Engine, file: Path) -> None:
        file.write_bytes(b"a" * 100_000)
        cursor = FileCursor(file)
        with file.open("rb", buffering=0) as raw:
            cursor.watch(raw)
            raw.read(90_000)
        with clean_database.begin() as connection:
            cursor.advance(connection, 7)
        assert FileCursor(file).position() == 7

        file.write_bytes(b"a" * 80_000 + b"b" * 20_000)

        assert FileCursor(file).position() == 0


PAIR = {"tweet_id": "1", "clean": "I am late.", "summary": "I am late."}
REFERENCE = {"id": "1", "text": "im late lol", "summary": "I am late."}


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), encoding="utf-8")
    return path


class TestCollections:
    def test_pairs_are_brought_in_under_the_files_name_and_content(self, clean_database: Engine, tmp_path: Path) -> None:
        path = write(tmp_path / "pairs.jsonl", PAIR, "", PAIR | {"tweet_id": 2})

        name = import_collection(path, "pairs")

        assert name == f"pairs.jsonl:{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
        stored = rows(clean_database, "SELECT collection, position, key, text, clean, summary FROM curated ORDER BY position")
        assert [tuple(row) for row in stored] == [
            (name, 1, "1", None, "I am late.", "I am late."),
            (name, 3, "2", None, "I am late.", "I am late."),
        ]

    def test_bringing_in_the_same_content_again_changes_nothing(self, clean_database: Engine, tmp_path: Path) -> None:
        path, told = write(tmp_path / "pairs.jsonl", PAIR, "{"), []

        first = import_collection(path, "pairs", told.append)
        second = import_collection(path, "pairs", told.append)

        assert first == second
        assert told == [Counts(read=2, inserted=1, rejected=1), Counts(read=2, duplicates=1, rejected=1)]
        assert (count(clean_database, "curated"), count(clean_database, "rejected_row")) == (1, 1)

    def test_another_content_is_another_collection(self, clean_database: Engine, tmp_path: Path) -> None:
        first = import_collection(write(tmp_path / "pairs.jsonl", PAIR), "pairs")
        second = import_collection(write(tmp_path / "pairs.jsonl", PAIR | {"clean": "Late."}), "pairs")

        assert first != second

    def test_references_keep_the_tweet(self, clean_database: Engine, tmp_path: Path) -> None:
        import_collection(write(tmp_path / "references.jsonl", REFERENCE | {"annotator": "b"}), "references")

        assert tuple(rows(clean_database, "SELECT key, text, summary FROM curated")[0]) == ("1", "im late lol", "I am late.")

    def test_references_keep_each_of_their_summaries_and_a_bad_list_costs_its_line(self, clean_database: Engine, tmp_path: Path) -> None:
        several = REFERENCE | {"summary": ["I am late.", "I'll be late. 😀", "遅れます。"]}
        path, told = write(tmp_path / "references.jsonl", several, REFERENCE | {"summary": ["I am late.", " "]}, REFERENCE), []

        name = import_collection(path, "references", told.append)

        assert told == [Counts(read=3, inserted=2, rejected=1)]
        (refused,) = rows(clean_database, "SELECT row_key, field, reason FROM rejected_row")
        assert tuple(refused) == ("2", "summary", "number 2 of 2 is blank: give each reference in words")
        with session() as opened:
            scored = of_references(opened, name)
        assert [row.references for row in scored] == [tuple(several["summary"]), ("I am late.",)]

    @pytest.mark.parametrize(
        ("name", "lines"),
        [
            ("plain.txt", ["The bus was late.", "", "It rains."]),
            ("table.csv", ["id,sentence", "1,The bus was late.", '2,"It rains."']),
        ],
    )
    def test_sentences_come_from_plain_text_and_from_a_column(
        self, clean_database: Engine, tmp_path: Path, name: str, lines: list[str]
    ) -> None:
        import_collection(write(tmp_path / name, *lines), "sentences")

        assert [row.clean for row in rows(clean_database, "SELECT clean FROM curated ORDER BY position")] == [
            "The bus was late.",
            "It rains.",
        ]

    @pytest.mark.parametrize(
        ("bad", "field", "reason"),
        [
            ("{not json", None, "not valid JSON"),
            ([1], None, "no object"),
            ({"tweet_id": "1", "clean": "x"}, "summary", "required"),
            (PAIR | {"clean": ""}, "clean", "at least 1"),
            (PAIR | {"sumary": "x"}, "sumary", "not permitted"),
            (PAIR | {"a\x00b": "x"}, "ab", "not permitted"),
            (PAIR | {"clean": "a\x00b"}, "clean", "NUL"),
            (PAIR | {"clean": "\ud83d"}, "clean", "unicode"),
        ],
    )
    def test_a_bad_line_is_kept_with_line_field_and_reason(
        self, clean_database: Engine, tmp_path: Path, bad: object, field: str | None, reason: str
    ) -> None:
        path = write(tmp_path / "pairs.jsonl", PAIR, bad)

        import_collection(path, "pairs")

        kept = rows(clean_database, "SELECT origin, row_key, field, reason FROM rejected_row")[0]
        assert (kept.origin, kept.row_key, kept.field) == (str(path), "2", field)
        assert reason in kept.reason

    def test_bytes_that_are_no_text_cost_their_line_alone(self, clean_database: Engine, tmp_path: Path) -> None:
        path = tmp_path / "sentences.txt"
        path.write_bytes("\ufeffThe café is open.\n".encode() + b"caf\xe9\n" + b"x" * (2**20 + 5) + b"\nIt rains.\n")

        import_collection(path, "sentences")

        stored = rows(clean_database, "SELECT position, clean FROM curated ORDER BY position")
        assert [tuple(row) for row in stored] == [(1, "The café is open."), (4, "It rains.")]
        assert [row.row_key for row in rows(clean_database, "SELECT row_key FROM rejected_row ORDER BY id")] == ["2", "3"]

    def test_a_file_without_one_usable_line_says_the_first_reason(self, clean_database: Engine, tmp_path: Path) -> None:
        path = write(tmp_path / "pairs.jsonl", {"tweet_id": "1", "clean": "x"}, "{")

        with pytest.raises(UserError, match=r"none of 2 lines .* line 1, summary: Field required"):
            import_collection(path, "pairs")
        assert count(clean_database, "rejected_row") == 2

    def test_a_file_of_the_wrong_kind_is_no_collection(self, clean_database: Engine, tmp_path: Path) -> None:
        path = write(tmp_path / "pairs.jsonl", PAIR)

        for kind in ("references", "sentences"):
            with pytest.raises(UserError, match="none of 1 lines"):
                import_collection(path, kind)
        assert count(clean_database, "curated") == 0

    def test_a_missing_file_an_empty_one_and_a_folder_are_told_apart(self, clean_database: Engine, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="no such file"):
            import_collection(tmp_path / "nothing", "pairs")
        with pytest.raises(UserError, match="empty"):
            import_collection(write(tmp_path / "empty"), "pairs")
        with pytest.raises(UserError, match="folder"):
            import_collection(tmp_path, "pairs")

    def test_a_csv_without_a_sentence_column_says_which_names_are_known(self, clean_database: Engine, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="sentence or clean or text"):
            import_collection(write(tmp_path / "t.csv", "a,b", "1,2"), "sentences")
