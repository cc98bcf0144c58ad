"""Models in service: put there, taken back, listed, kept from being removed, and one alone for each stream whoever hurries."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from schemas.payloads import CanaryPart
from tests.integration.verbs import answer, complaint, printed
from workers import database
from workers.catalog import models, service
from workers.catalog.shard_models import Assigned, InService
from workers.errors import NotFound, TweetmillError

Add = Callable[..., int]


@pytest.fixture
def add(clean_database: Engine, tmp_path: Path) -> Add:
    """Add a model with its files; return its id."""

    def added(name: str, stage: str = "summary", method: str = "lora") -> int:
        folder = tmp_path / "adapters" / name
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
        new = "INSERT INTO model (name, base, method, stage, adapter_uri) VALUES (:name, '/base', :method, :stage, :folder) RETURNING id"
        with clean_database.begin() as connection:
            values = {"name": name, "method": method, "stage": stage, "folder": str(folder)}
            return int(connection.execute(text(new), values).scalar_one())

    return added


def promote(model: str, stream: str | None = None, **options: object) -> service.Change:
    with database.session() as session:
        return service.promote(session, models.resolve(session, model), stream, **options)  # type: ignore[arg-type]


def rollback(stream: str | None = None) -> service.Change:
    with database.session() as session:
        return service.rollback(session, stream)


def serving(stream: str | None = None) -> InService:
    with database.session() as session:
        return service.in_service(session, stream)


def states() -> list[tuple[str | None, str, str]]:
    with database.session() as session:
        return [(row.stream, row.name, row.state) for row in reversed(service.history(session))]


class TestPromote:
    def test_a_stream_has_its_own_model_or_follows_the_default(self, add: Add) -> None:
        first, second = add("first"), add("second")
        with pytest.raises(NotFound, match="no model is in service for news: `tweetmill promote MODEL`"):
            serving("news")

        promote("first")
        assert (serving(), serving("news")) == (InService(first), InService(first))

        assert promote("second", "news") == service.Change("news", "first", "second")
        assert (serving(), serving("news"), serving("other")) == (InService(first), InService(second), InService(first))

    def test_history_is_kept_with_what_ended_each(self, add: Add) -> None:
        for name in ("first", "second"):
            add(name)
            promote(name)

        assert states() == [(None, "first", "replaced"), (None, "second", "in_service")]
        with database.session() as session:
            newest, oldest = service.history(session)
        assert (oldest.reason, oldest.command, newest.reason) == ("second was promoted", "promote", None)
        assert oldest.ended_at is not None
        assert newest.previous == oldest.id

    def test_a_canary_is_assigned_its_share_beside_the_model_in_service(self, add: Add) -> None:
        first, second = add("first"), add("second")
        promote("first")

        promote("second", share=10)

        found = serving("any")
        assert (found.model_id, found.candidate_id, found.share) == (first, second, 10)
        assert found.promotion is not None
        assert found.of_shard(8) == Assigned(first, CanaryPart(promotion=found.promotion, block=0, candidate=False))
        assert found.of_shard(9) == Assigned(second, CanaryPart(promotion=found.promotion, block=0, candidate=True))

    def test_a_canary_of_one_stream_concerns_no_other(self, add: Add) -> None:
        first, second = add("first"), add("second")
        promote("first")
        promote("second", "news", share=50)

        assert serving("news").candidate_id == second
        assert serving("other") == serving() == InService(first)

    def test_a_promotion_in_full_ends_the_canary(self, add: Add) -> None:
        add("first")
        second = add("second")
        promote("first")
        promote("second", share=10)
        promote("second")

        assert serving() == InService(second)
        assert states() == [(None, "first", "replaced"), (None, "second", "replaced"), (None, "second", "in_service")]

    def test_a_canary_ends_when_another_model_takes_the_place_of_what_it_is_compared_with(self, add: Add) -> None:
        for name in ("first", "second", "third"):
            add(name)
        promote("first")
        promote("second", "news", share=10)
        promote("third")

        assert serving("news").candidate_id is None
        assert ("news", "second", "replaced") in states()

    @pytest.mark.parametrize(
        ("model", "options", "said"),
        [
            ("cleaner", {}, "writes summaries: promote one of the stage summary"),
            ("gone", {}, "are gone. Train it again"),
            ("first", {}, "is in service by default already"),
            ("first", {"share": 10}, "a canary is another model"),
            ("second", {"share": 60}, "a canary gets 1 to 50"),
        ],
    )
    def test_what_can_not_be_in_service_is_refused_and_changes_nothing(
        self, add: Add, tmp_path: Path, model: str, options: dict[str, object], said: str
    ) -> None:
        for name in ("first", "second", "gone"):
            add(name)
        add("cleaner", stage="clean")
        (tmp_path / "adapters" / "gone" / "adapter_model.safetensors").unlink()
        promote("first")
        before = states()

        with pytest.raises(TweetmillError, match=said):
            promote(model, **options)
        assert states() == before

    def test_a_canary_needs_something_to_be_compared_with(self, add: Add) -> None:
        add("first")
        with pytest.raises(TweetmillError, match="promote one without --share first"):
            promote("first", "news", share=10)

    @pytest.mark.parametrize(("began_with", "refused"), [("first", True), ("in-service", False)])
    def test_a_canary_of_a_stream_that_names_its_model_needs_that_in_service_first(
        self, clean_database: Engine, add: Add, began_with: str, refused: bool
    ) -> None:
        add("first")
        second = add("second")
        promote("first")
        with clean_database.begin() as connection:
            new = "INSERT INTO stream (name, address, model, state) VALUES ('news', 'x', :model, 'stopped')"
            connection.execute(text(new), {"model": began_with})

        if refused:
            with pytest.raises(TweetmillError, match="`tweetmill promote first --for news` first, then the canary"):
                promote("second", "news", share=10)
            promote("first", "news")
        promote("second", "news", share=10)
        assert serving("news").candidate_id == second

    def test_a_chain_is_promoted_when_the_files_of_both_parts_are_there(self, clean_database: Engine, add: Add, tmp_path: Path) -> None:
        parts = [add("cleaner", stage="clean"), add("summarizer")]
        chain = "INSERT INTO model (name, base, method, stage, details) VALUES ('both', '/base', 'chain', 'summary', :details) RETURNING id"
        with clean_database.begin() as connection:
            both = connection.execute(text(chain), {"details": f'{{"parts": {parts}}}'}).scalar_one()

        promote("both")
        assert serving() == InService(both)
        (tmp_path / "adapters" / "cleaner" / "adapter_model.safetensors").unlink()
        with pytest.raises(TweetmillError, match="model cleaner: its files"):
            promote("both", "news")

    def test_of_many_who_promote_at_once_one_is_in_service_and_all_are_in_the_history(self, add: Add) -> None:
        names = [f"model-{number}" for number in range(8)]
        for name in names:
            add(name)
        threads = [threading.Thread(target=promote, args=(name, "news")) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        kept = states()
        assert sorted(name for _, name, _ in kept) == names
        assert [state for _, _, state in kept].count("in_service") == 1


class TestRollback:
    def test_goes_back_one_model_after_the_other(self, add: Add) -> None:
        ids = {name: add(name) for name in ("first", "second", "third")}
        for name in ids:
            promote(name)

        assert rollback() == service.Change(None, "third", "second")
        assert serving() == InService(ids["second"])
        assert rollback() == service.Change(None, "second", "first")
        assert serving() == InService(ids["first"])
        with pytest.raises(TweetmillError, match="model first is the first in service by default"):
            rollback()
        assert serving() == InService(ids["first"])

    def test_a_running_canary_is_stopped_and_nothing_else(self, add: Add) -> None:
        first = add("first")
        add("second")
        promote("first")
        promote("second", share=10)

        assert rollback() == service.Change(None, "second", "first", stopped_canary="second")
        assert serving() == InService(first)
        assert states()[-1] == (None, "second", "stopped")

    def test_a_stream_whose_only_model_is_taken_back_follows_the_default_again(self, add: Add) -> None:
        first = add("first")
        add("second")
        promote("first")
        promote("second", "news")

        assert rollback("news").after == "first"
        assert serving("news") == InService(first)
        with pytest.raises(TweetmillError, match="no model of its own is in service for news: it follows the default"):
            rollback("news")

    def test_a_model_that_was_removed_since_is_named_and_nothing_changes(self, clean_database: Engine, add: Add) -> None:
        add("first")
        second = add("second")
        promote("first")
        promote("second")
        with clean_database.begin() as connection:
            connection.execute(text("DELETE FROM model WHERE name = 'first'"))

        with pytest.raises(TweetmillError, match="model first was in service before and has been removed since"):
            rollback()
        assert serving() == InService(second)
        assert states()[0] == (None, "first", "replaced"), "history outlives the model"


class TestVerbs:
    def test_promote_and_rollback_say_what_they_did(self, add: Add, capsys: pytest.CaptureFixture[str]) -> None:
        add("first")
        add("second")
        assert "`tweetmill promote MODEL` puts one there" in complaint(capsys, 0, "promotions")

        assert printed(capsys, "promote", "first").startswith("Model first is in service by default from the next shard on.")
        told = printed(capsys, "promote", "second", "--for", "news", "--share", "10")
        assert "Model second is a canary for news: 10 of 100 shards, the others are first's." in told
        assert answer(capsys, "rollback", "--for", "news", "--json") == {
            "stream": "news",
            "before": "second",
            "after": "first",
            "share": None,
            "stopped_canary": "second",
        }
        table = printed(capsys, "promotions")
        assert "news" in table
        assert "stopped 10%" in table
        assert "rolled back" in table
        assert [row["state"] for row in answer(capsys, "promotions", "--json")] == ["stopped", "in_service"]

    def test_models_show_where_they_are_in_service(self, add: Add, capsys: pytest.CaptureFixture[str]) -> None:
        add("first")
        add("second")
        for arguments in (("first",), ("second", "--for", "news"), ("second", "--share", "25")):
            printed(capsys, "promote", *arguments)

        told = {row["name"]: row["in_service"] for row in answer(capsys, "models", "--json")}
        assert told == {"first": ["default"], "second": ["default 25%", "news"]}
        assert "default 25%, news" in printed(capsys, "model", "second")
        assert "in service" in printed(capsys, "models")

    def test_a_model_in_service_is_not_removed_until_another_takes_its_place(
        self, clean_database: Engine, add: Add, capsys: pytest.CaptureFixture[str]
    ) -> None:
        add("first")
        add("second")
        printed(capsys, "promote", "first")
        printed(capsys, "promote", "second", "--for", "news")

        assert "is in service (default): promote another one in its place" in complaint(capsys, 1, "rm", "first", "--yes")
        assert "`tweetmill rollback --for news`, first" in complaint(capsys, 1, "rm", "second", "--yes")
        printed(capsys, "rollback", "--for", "news")
        printed(capsys, "rm", "second", "--yes")

    def test_summarize_takes_what_is_in_service_where_no_model_is_named(
        self, clean_database: Engine, add: Add, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first, second = add("first"), add("second")
        assert "no model is in service by default: `tweetmill promote MODEL`" in complaint(capsys, 2, "summarize")
        assert "no model is in service by default" in complaint(capsys, 1, "summarize", "--model", "in-service")
        printed(capsys, "promote", "first")
        printed(capsys, "promote", "second", "--share", "50")

        for arguments in ((), ("--model", "in-service"), ("--model", "second")):
            printed(capsys, "summarize", *arguments)

        with clean_database.connect() as connection:
            asked = connection.execute(text("SELECT payload->>'model_id' FROM job ORDER BY created_at")).scalars().all()
        assert asked == [str(first), str(first), str(second)], "a job that was asked for has one model, a canary or not"

    def test_bad_usage_is_told(self, add: Add, capsys: pytest.CaptureFixture[str]) -> None:
        add("first")
        assert "it goes with --share" in complaint(capsys, 2, "promote", "first", "--auto")
        assert "less than or equal to 50" in complaint(capsys, 2, "promote", "first", "--share", "100")
        assert "model nobody: there is none" in complaint(capsys, 1, "promote", "nobody")
