"""Forgetting: what was made of a tweet goes with it, from every table; what learnt from it is named; and it does not come back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from sqlalchemy import Connection, Engine, text
from sqlmodel import Session

from schemas.records import TweetRecord
from schemas.tables.models import Model
from tests.integration.ingest.test_ingest import Line
from tests.support.everywhere import (
    AUTHOR,
    HOLDS_NONE,
    HOLDS_TEXT,
    MARKER,
    SAYS,
    TWEET,
    add_example,
    add_job,
    add_tweet,
    insert,
    plant,
    tables_with_text,
    where,
)
from workers.catalog.removal import forgetting, taken_back
from workers.catalog.removal.foreseen import would_forget
from workers.catalog.removal.forgetting import Forgotten, allow_again, forget, forget_all
from workers.catalog.removal.taken_back import Loss
from workers.ingest.curated import import_collection
from workers.ingest.tweets import copy_tweets


@pytest.fixture
def connection(clean_database: Engine) -> Iterator[Connection]:
    """A transaction that is rolled back."""
    with clean_database.connect() as opened:
        yield opened


def ids(connection: Connection, table: str = "tweet", column: str = "id") -> list[Any]:
    return list(connection.execute(text(f"SELECT {column} FROM {table} ORDER BY 1")).scalars())  # noqa: S608


def ingest(*tweets: TweetRecord) -> Any:
    return copy_tweets((Line(number, tweet) for number, tweet in enumerate(tweets, 1)), origin="again.jsonl")


class TestWhatGoes:
    def test_every_table_with_text_is_one_that_is_forgotten_or_one_of_which_is_said_why_not(self):
        assert tables_with_text() == HOLDS_TEXT | set(HOLDS_NONE)

    def test_no_table_holds_it_any_more(self, connection):
        plant(connection)
        assert where(connection) == HOLDS_TEXT
        done = forget(connection, [TWEET])
        assert where(connection) == set()
        loss = Loss("summaries", 4, models=("tuned",))
        assert done == Forgotten(1, 1, 1, examples=4, reviews=1, dropped=2, teachings=1, curated=2, losses=(loss,))
        assert ids(connection, "selection", "tweet") == []

    def test_what_others_wrote_stays(self, connection):
        there = plant(connection)
        add_tweet(connection, "other", "the ferry is late", "somebody")
        kept = add_example(connection, there["dataset"], "the ferry is late", "The ferry is late.", "other")
        sentence = add_example(connection, there["dataset"], "ferries r late", "Ferries are late.", origin="noise")
        forget(connection, [TWEET])
        assert ids(connection) == ["other"]
        assert ids(connection, "example", "key") == sorted([kept, sentence])

    def test_all_tweets_of_an_author_go(self, connection):
        for number in range(3):
            add_tweet(connection, f"a{number}", f"late {number}", "somebody")
        add_tweet(connection, "b", "late", "somebody else")
        assert forget(connection, authors=["somebody", "nobody"]).tweets == 3
        assert ids(connection) == ["b"]

    def test_the_same_words_under_another_id_stay_and_are_counted(self, connection):
        there = plant(connection)
        add_tweet(connection, "copy", SAYS, "somebody else")
        mine = add_example(connection, there["dataset"], SAYS, "It was late.", "copy")
        done = forget(connection, [TWEET])
        assert (done.tweets, done.copies) == (1, 1)
        assert (ids(connection), ids(connection, "example", "key")) == (["copy"], [mine])

    def test_the_same_tweet_of_a_dump_without_ids_goes_too(self, connection):
        from producers.sources.fields import id_of_text

        add_tweet(connection, TWEET, SAYS, AUTHOR)
        add_tweet(connection, id_of_text(SAYS), SAYS)
        insert(connection, "curated", collection="c", position=1, key=id_of_text(SAYS), clean="It was late.", summary="Late.")
        done = forget(connection, [TWEET])
        assert (done.tweets, done.curated) == (2, 1)
        assert ids(connection) == ids(connection, "curated", "key") == []

    def test_a_reference_that_has_the_id_and_another_text_is_about_another_tweet(self, connection):
        plant(connection)
        insert(connection, "curated", collection="errors", position=1, key=TWEET, text="gr8 ferry", clean="Great ferry.")
        forget(connection, [TWEET])
        assert ids(connection, "curated", "collection") == ["errors"]

    def test_what_is_not_there_is_no_error(self, connection):
        assert forget(connection, ["never", "seen"], ["nobody"]) == Forgotten()
        assert ids(connection, "forgotten", "kind") == []

    def test_more_than_one_statement_takes_goes_too(self, connection):
        many = "INSERT INTO tweet (id, source, text, text_hash, author) SELECT 't' || n, 's', 'x' || n, md5('x' || n), 'a' FROM "
        connection.execute(text(f"{many} generate_series(1, 12001) AS n"))
        assert forget(connection, (f"t{number}" for number in range(1, 6_001))).tweets == 6_000
        assert forget(connection, authors=["a"]).tweets == 6_001


class TestAnAuthorOfMany:
    def test_is_forgotten_some_thousand_tweets_a_transaction(self, clean_database, monkeypatch):
        monkeypatch.setattr(forgetting, "_AT_ONCE", 4)
        with clean_database.begin() as connection:
            for number in range(10):
                add_tweet(connection, f"a{number}", f"late {number}", "somebody")
        sizes: list[int] = []
        before = [0]

        def committed(_connection: Any) -> None:
            with clean_database.connect() as other:
                gone = 10 - other.execute(text("SELECT count(*) FROM tweet")).scalar_one()
            if gone > before[0]:
                sizes.append(gone - before[0])
                before[0] = gone

        done = forget_all([], ["somebody"], on_progress=committed)
        assert (done.tweets, sizes) == (10, [4, 4, 2])
        assert ingest(TweetRecord(id="later", text="and again", source="s", author="somebody")).forgotten == 1


class TestWhatWouldGo:
    @pytest.mark.parametrize("named", [{"tweets": [TWEET, "copy", "never"]}, {"authors": [AUTHOR, "somebody", "nobody"]}])
    def test_is_what_goes_and_is_counted_without_a_lock(self, clean_database, named):
        from producers.sources.fields import id_of_text

        with clean_database.begin() as connection:
            there = plant(connection)
            add_tweet(connection, "copy", SAYS, "somebody")
            add_tweet(connection, "third", SAYS, "a third")
            add_tweet(connection, id_of_text(SAYS), SAYS)
            add_example(connection, there["dataset"], SAYS, "It was late.", "copy")
            other = insert(connection, "dataset", name="others", fingerprint="cafe")
            add_example(connection, other, SAYS, "Late.", origin="import")
            insert(connection, "curated", collection="c", position=1, key="never", clean="It was late.", summary="Late.")
            insert(connection, "curated", collection="c", position=2, key=id_of_text(SAYS), clean="It was late.", summary="Late.")
        with clean_database.begin() as holding, clean_database.begin() as connection:
            holding.execute(text("SELECT id FROM tweet FOR UPDATE"))
            connection.execute(text("SET LOCAL lock_timeout = '1s'"))
            foreseen = would_forget(connection, **named)
        with clean_database.begin() as connection:
            assert forget(connection, **named) == foreseen
        assert (foreseen.tweets, foreseen.copies, len(foreseen.losses)) == (3, 1, 2)

    def test_is_nothing_where_nothing_is(self, connection):
        assert would_forget(connection, ["never"], ["nobody"]) == Forgotten()


class TestManyAtOnce:
    """As soon as they came: what the planner knows of the tables is from when they held a row."""

    MANY = 3_000
    COLUMNS: ClassVar = {
        "tweet": ("id, source, text, text_hash", "'t' || n, 's', 'says ' || n, md5('says ' || n)"),
        "example": (
            "dataset, key, stage, prompt_text, target_text, origin, split, cluster",
            "(SELECT max(id) FROM dataset), 'k' || n, 'summary', 'says ' || n, 't', 'human', 'train', n",
        ),
        "curated": ("collection, position, key, text", "'c', n, 'k' || n, 'says ' || n"),
    }

    def fill(self, engine: Engine, first: int, last: int) -> None:
        with engine.begin() as connection:
            for table, (columns, values) in self.COLUMNS.items():
                connection.execute(text(f"INSERT INTO {table} ({columns}) SELECT {values} FROM generate_series({first}, {last}) AS n"))  # noqa: S608

    @pytest.mark.parametrize("removes", [would_forget, forget])
    def test_each_row_is_read_a_few_times(self, clean_database: Engine, removes: Any):
        with clean_database.begin() as connection:
            insert(connection, "dataset", name="d", fingerprint="f")
        self.fill(clean_database, 1, 1)
        with clean_database.begin() as connection:
            connection.execute(text("ANALYZE"))
        self.fill(clean_database, 2, self.MANY)
        read = text("SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables WHERE relname = ANY(:tables)")
        with clean_database.begin() as connection:
            gone = removes(connection, [f"t{number}" for number in range(1, self.MANY + 1)])
            rows = connection.execute(read, {"tables": list(self.COLUMNS)}).scalar_one()
        assert (gone.tweets, gone.examples, gone.curated) == (self.MANY,) * 3
        assert rows < 30 * self.MANY


class TestWhatLearnt:
    def test_a_dataset_keeps_its_fingerprint_and_counts_what_went(self, connection):
        there = plant(connection)
        forget(connection, [TWEET])
        assert ids(connection, "dataset", "fingerprint") == ["f00d"]
        with Session(connection) as session:
            assert taken_back.of_dataset(session, there["dataset"]) == 4
            assert taken_back.of_dataset(session, there["dataset"], split="test") == 1

    def test_a_model_that_was_trained_before_may_have_learnt_it_and_one_that_is_trained_after_has_not(self, connection):
        there = plant(connection)
        forget(connection, [TWEET])
        details = {taken_back.BEFORE: 3, "spec": {}}
        later = insert(
            connection, "model", name="later", base="b", method="lora", stage="summary", dataset=there["dataset"], details=details
        )
        named = {"tuned": there["model"], "later": later}
        with Session(connection) as session:
            of = {name: taken_back.of_model(session, session.get_one(Model, number)) for name, number in named.items()}
        assert of == {"tuned": 3, "later": 0}

    def test_a_chain_may_have_learnt_what_its_parts_have(self, connection):
        there = plant(connection)
        chain = insert(connection, "model", name="c", base="b", method="chain", stage="summary", details={"parts": [there["model"]]})
        forget(connection, [TWEET])
        with Session(connection) as session:
            assert taken_back.of_model(session, session.get_one(Model, chain)) == 3

    def test_a_training_that_runs_is_named(self, connection):
        plant(connection)
        running = add_job(connection, "training.train", "running", payload={"dataset": "summaries"})
        add_job(connection, "training.train", "queued", payload={"dataset": "summaries"})
        add_job(connection, "training.train", "running", payload={"dataset": "others"})
        (loss,) = forget(connection, [TWEET]).losses
        assert loss.trainings == (str(running),)

    def test_what_went_at_two_times_adds_up(self, connection):
        there = plant(connection)
        add_tweet(connection, "second", "the ferry is late")
        add_example(connection, there["dataset"], "the ferry is late", "The ferry is late.", "second")
        done = forget(connection, [TWEET]) + forget(connection, ["second"])
        assert done.losses == (Loss("summaries", 5, models=("tuned",)),)
        with Session(connection) as session:
            assert taken_back.total(session) == 5


class TestThatItStaysAway:
    def test_a_forgotten_tweet_is_not_ingested_again_and_counted(self, clean_database):
        with clean_database.begin() as connection:
            plant(connection)
            forget(connection, [TWEET])
        counts = ingest(TweetRecord(id=TWEET, text=SAYS, source="s"), TweetRecord(id="new", text="a ferry", source="s"))
        assert (counts.read, counts.inserted, counts.forgotten, counts.duplicates) == (2, 1, 1, 0)
        with clean_database.connect() as connection:
            assert ids(connection) == ["new"]

    def test_nor_is_it_without_its_id(self, clean_database):
        from producers.sources.fields import id_of_text

        with clean_database.begin() as connection:
            plant(connection)
            forget(connection, [TWEET])
        assert ingest(TweetRecord(id=id_of_text(SAYS), text=SAYS, source="s")).forgotten == 1

    def test_nor_is_another_tweet_of_a_forgotten_author(self, clean_database):
        with clean_database.begin() as connection:
            plant(connection)
            forget(connection, authors=[AUTHOR])
        assert ingest(TweetRecord(id="later", text="and again", source="s", author=AUTHOR)).forgotten == 1

    def test_the_same_words_of_somebody_else_are(self, clean_database):
        with clean_database.begin() as connection:
            plant(connection)
            forget(connection, [TWEET])
        assert ingest(TweetRecord(id="theirs", text=SAYS, source="s", author="somebody else")).inserted == 1

    def test_nor_does_a_file_of_pairs_or_references_bring_it_back(self, clean_database, tmp_path):
        with clean_database.begin() as connection:
            plant(connection)
            forget(connection, [TWEET])
        pairs, references = tmp_path / "pairs.jsonl", tmp_path / "references.jsonl"
        pairs.write_text(
            f'{{"tweet_id": "{TWEET}", "clean": "{MARKER}.", "summary": "{MARKER}."}}\n'
            '{"tweet_id": "8", "clean": "It is late.", "summary": "It is late."}\n'
        )
        references.write_text(
            f'{{"id": "1", "text": "{SAYS}", "summary": "Late."}}\n{{"id": "2", "text": "a ferry", "summary": "Late."}}\n'
        )
        for file, kind in ((pairs, "pairs"), (references, "references")):
            import_collection(file, kind)
        with clean_database.connect() as connection:
            assert where(connection) == set()
            assert len(ids(connection, "curated", "key")) == 2
            assert {reason.split(":")[0] for reason in ids(connection, "rejected_row", "reason")} == {"its tweet was forgotten"}

    def test_until_it_is_allowed_again(self, clean_database):
        with clean_database.begin() as connection:
            plant(connection)
            forget(connection, [TWEET])
            assert allow_again(connection, [TWEET, "never"]) == 1
            assert ids(connection, "forgotten", "kind") == []
        assert ingest(TweetRecord(id=TWEET, text=SAYS, source="s")).inserted == 1

    def test_what_a_person_names_is_kept_out_though_it_was_never_here(self, clean_database):
        forget_all(["never seen"], ["nobody"])
        counts = ingest(TweetRecord(id="never seen", text="x", source="s"), TweetRecord(id="2", text="y", source="s", author="nobody"))
        assert counts.forgotten == 2

    def test_an_ingest_that_is_under_way_does_not_bring_it_back(self, clean_database):
        """A batch that looked for forgotten ids before there were any, and is committed after."""
        import threading

        with clean_database.begin() as under_way:
            add_tweet(under_way, TWEET, SAYS)
            forgetting = threading.Thread(target=forget_all, args=([TWEET],))
            forgetting.start()
            forgetting.join(0.5)
            assert forgetting.is_alive(), "it waits for what began before"
        forgetting.join(30)
        with clean_database.connect() as connection:
            assert ids(connection) == []
