"""Review on the real Postgres: who gets which row, what a verdict needs, what undo takes back, and what a rule changes."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text

from schemas import roles
from tasks.review import open_review
from tests.support.reviews import Row, add_dataset, plain_rows, reviewed
from workers import database
from workers.errors import UserError
from workers.review import bulk_edits, claims, queries, queue
from workers.review.bulk_edits import Rule
from workers.review.claims import ClaimLost, RowClaim, RowFilter, Verdict

ALL = RowFilter()


def claim(engine: Engine, dataset: int, reviewer: str = "ann", row_filter: RowFilter = ALL, seconds: float = 600) -> RowClaim | None:
    with database.session(engine) as session:
        return claims.claim_row(session, dataset, reviewer, row_filter, seconds)


def claimed(engine: Engine, dataset: int, reviewer: str = "ann", seconds: float = 600) -> RowClaim:
    found = claim(engine, dataset, reviewer, seconds=seconds)
    assert found is not None
    return found


def decide(engine: Engine, row: RowClaim, verdict: Verdict = Verdict.ACCEPTED, target: str | None = None) -> None:
    with database.session(engine) as session:
        claims.decide(session, row, verdict, 2.0, target)


def undo(engine: Engine, dataset: int, reviewer: str = "ann") -> claims.Undone | None:
    with database.session(engine) as session:
        return claims.undo(session, dataset, reviewer)


def apply(engine: Engine, dataset: int, rule: Rule, reviewer: str = "ann") -> int:
    with database.session(engine) as session:
        return bulk_edits.apply(session, dataset, reviewer, rule)


class TestOpening:
    def test_the_most_telling_row_comes_first_and_says_why(self, clean_database: Engine) -> None:
        wrong = Row("the tram is 5 minutes late", "The ferry to Oslo is 9 minutes early.", cluster=99)
        dataset = add_dataset(clean_database, [*plain_rows(20), wrong])

        first = claimed(clean_database, dataset)

        assert first.key == wrong.key
        assert "checks: the target has a number that the tweet lacks" in first.reasons

    def test_a_text_that_a_person_wrote_once_is_looked_at_once(self, clean_database: Engine) -> None:
        human = Row("the bus is late smh", "The bus is late.", tweet="1")
        noise = [
            Row(f"teh bus is late {n}", "The bus is late.", "noise", lineage={"copy": n, "tweet_id": "1"}, tweet="1") for n in range(3)
        ]
        sentence = [Row(f"teh tram is here {n}", "The tram is here.", "noise", lineage={"copy": n}) for n in range(3)]
        taught = [Row(f"the ferry left {n}", "The ferry left.", "teacher", lineage={"scores": {"agreement": 0.5}}) for n in range(2)]

        dataset = add_dataset(clean_database, [human, *noise, *sentence, *taught])

        assert set(reviewed(clean_database, dataset)) == {human.key, sentence[0].key, taught[0].key, taught[1].key}

    def test_it_happens_once_also_when_two_begin_together(self, clean_database: Engine) -> None:
        dataset = add_dataset(clean_database, plain_rows(50), opened=False)

        with ThreadPoolExecutor(4) as pool:
            opened = list(pool.map(lambda _: open_review(dataset, lambda done, rows: None).rows, range(4)))

        assert opened == [50] * 4
        assert len(reviewed(clean_database, dataset)) == 50

    def test_a_dataset_without_examples_is_told(self, clean_database: Engine) -> None:
        with pytest.raises(UserError, match="nothing to review"):
            add_dataset(clean_database, [])

    def test_verdicts_are_carried_over_to_a_dataset_with_the_same_rows(self, clean_database: Engine) -> None:
        rows = plain_rows(6)
        first = add_dataset(clean_database, rows, "first")
        accepted, edited, skipped = (claimed(clean_database, first) for _ in range(3))
        decide(clean_database, accepted)
        decide(clean_database, edited, Verdict.EDITED, "The bus is late once more.")
        decide(clean_database, skipped, Verdict.SKIPPED)

        again = reviewed(clean_database, second := add_dataset(clean_database, [*rows, *plain_rows(9)[6:]], "second"))

        given = {key: (row.verdict, row.reviewer, row.target_text, row.seconds) for key, row in again.items() if row.verdict}
        assert given == {
            accepted.key: ("accepted", "ann", None, None),
            edited.key: ("edited", "ann", "The bus is late once more.", None),
        }
        assert undo(clean_database, second) is None, "it was not said here"


class TestClaims:
    def test_many_reviewers_never_get_the_same_row(self, clean_database: Engine) -> None:
        dataset = add_dataset(clean_database, plain_rows(200))

        def work(reviewer: int) -> list[str]:
            keys = []
            # Two terminals of one person are two reviewers, too.
            while (row := claim(clean_database, dataset, f"reviewer {reviewer // 2}")) is not None:
                keys.append(row.key)
                decide(clean_database, row)
            return keys

        with ThreadPoolExecutor(12) as pool:
            shares = list(pool.map(work, range(12)))

        got = Counter(key for share in shares for key in share)
        assert len(got) == 200
        assert set(got.values()) == {1}
        assert sum(map(bool, shares)) > 1, "one did it all: nothing was tried"

    def test_a_claim_that_ran_out_is_anybodys_and_a_verdict_on_it_is_refused(self, clean_database: Engine) -> None:
        dataset = add_dataset(clean_database, plain_rows(1))
        mine = claimed(clean_database, dataset, "ann", seconds=0)

        theirs = claimed(clean_database, dataset, "ben")

        assert theirs.key == mine.key
        with pytest.raises(ClaimLost, match="went to another reviewer"):
            decide(clean_database, mine, Verdict.REJECTED)
        decide(clean_database, theirs)
        assert reviewed(clean_database, dataset)[mine.key].verdict == "accepted"

    def test_a_claim_that_ran_out_still_counts_while_nobody_took_the_row(self, clean_database: Engine) -> None:
        dataset = add_dataset(clean_database, plain_rows(1))

        decide(clean_database, claimed(clean_database, dataset, seconds=0))

        assert claim(clean_database, dataset) is None

    def test_a_claim_is_prolonged_and_given_back(self, clean_database: Engine) -> None:
        dataset = add_dataset(clean_database, plain_rows(1))
        row = claimed(clean_database, dataset, seconds=0)
        with database.session(clean_database) as session:
            until = claims.renew_claim(session, row)
        assert until is not None
        assert claim(clean_database, dataset, "ben") is None

        with database.session(clean_database) as session:
            assert claims.renew_claim(session, row) is None, "that was its end of before"
            claims.release_rows(session, [RowClaim(**{**vars(row), "until": until})])
        assert claim(clean_database, dataset, "ben") is not None

    def test_only_rows_of_an_origin_are_claimed(self, clean_database: Engine) -> None:
        taught = Row("the ferry left", "The ferry left.", "teacher")
        dataset = add_dataset(clean_database, [*plain_rows(3), taught])

        assert [row and row.key for row in (claim(clean_database, dataset, row_filter=RowFilter("teacher")) for _ in range(2))] == [
            taught.key,
            None,
        ]


class TestUndo:
    def test_goes_back_step_by_step_and_gives_the_row_and_the_edit_back(self, clean_database: Engine) -> None:
        dataset = add_dataset(clean_database, plain_rows(3))
        first, second = claimed(clean_database, dataset), claimed(clean_database, dataset)
        decide(clean_database, first)
        decide(clean_database, second, Verdict.EDITED, "The bus is back.")
        decide(clean_database, claimed(clean_database, dataset, "ben"))

        steps = [undo(clean_database, dataset) for _ in range(3)]

        assert [step and (step.verdict, step.claim and step.claim.key, step.claim and step.claim.draft) for step in steps] == [
            ("edited", second.key, "The bus is back."),
            ("accepted", first.key, None),
            None,
        ]
        assert claim(clean_database, dataset, "ben") is None, "what is taken back is before its reviewer"
        assert steps[1] is not None
        assert steps[1].claim is not None
        decide(clean_database, steps[1].claim, Verdict.REJECTED)

    def test_takes_a_rule_back_with_all_its_rows_as_they_were(self, clean_database: Engine) -> None:
        dataset = add_dataset(clean_database, plain_rows(5))
        accepted, edited = claimed(clean_database, dataset), claimed(clean_database, dataset)
        decide(clean_database, accepted)
        decide(clean_database, edited, Verdict.EDITED, "A bus is late again.")
        before = reviewed(clean_database, dataset)
        assert apply(clean_database, dataset, Rule("late again", "back")) == 5
        assert {row.verdict for row in reviewed(clean_database, dataset).values()} == {"edited"}

        undone = undo(clean_database, dataset)

        assert undone is not None
        assert (undone.claim, undone.rows) == (None, 5)
        after = reviewed(clean_database, dataset)
        assert {key: row.verdict for key, row in after.items()} == {key: row.verdict for key, row in before.items()}
        for key in (accepted.key, edited.key):
            assert after[key] == before[key]


class TestRules:
    def test_the_preview_counts_what_applying_changes_and_leaves_alone_what_is_somebodys(self, clean_database: Engine) -> None:
        dataset = add_dataset(clean_database, plain_rows(12))
        decide(clean_database, claimed(clean_database, dataset), Verdict.REJECTED)
        theirs = claimed(clean_database, dataset, "ben")
        rule = Rule("bus", "coach")

        with database.session(clean_database) as session:
            found, some = bulk_edits.preview(session, dataset, "ann", rule, shown=3)

        assert (found, len(some)) == (10, 3)
        assert some[0].after == some[0].before.replace("bus", "coach")
        assert apply(clean_database, dataset, rule) == 10
        decide(clean_database, theirs)
        rows = reviewed(clean_database, dataset)
        assert Counter(row.verdict for row in rows.values()) == {"edited": 10, "rejected": 1, "accepted": 1}
        edited = next(row for row in rows.values() if row.verdict == "edited")
        assert (edited.rule["replace"], edited.rule["by"], edited.reviewer) == ("bus", "coach", "ann")

    def test_a_second_rule_goes_on_from_the_first(self, clean_database: Engine) -> None:
        dataset = add_dataset(clean_database, plain_rows(2))
        apply(clean_database, dataset, Rule("bus", "coach"))
        apply(clean_database, dataset, Rule("coach number", "coach"))

        assert all(row.target_text.startswith("The coach ") for row in reviewed(clean_database, dataset).values())
        undo(clean_database, dataset)
        assert all(row.target_text.startswith("The coach number ") for row in reviewed(clean_database, dataset).values())
        undo(clean_database, dataset)
        assert all(row.target_text is None for row in reviewed(clean_database, dataset).values())


class TestStatus:
    def test_tells_verdicts_reviewers_seconds_and_what_is_left(self, clean_database: Engine) -> None:
        dataset = add_dataset(clean_database, plain_rows(5))
        for reviewer, verdict in (("ann", Verdict.ACCEPTED), ("ann", Verdict.SKIPPED), ("ben", Verdict.REJECTED)):
            decide(clean_database, claimed(clean_database, dataset, reviewer), verdict)
        claim(clean_database, dataset)

        with database.session(clean_database) as session:
            found = queries.status(session, dataset, ALL)
            of_teachers = queries.status(session, dataset, RowFilter("teacher"))
            assert claims.requeue_skipped(session, dataset) == 1
            given = queries.decisions(session, dataset)

        assert (found["rows"], found["left"], found["claimed"], found["seconds_a_row"]) == (5, 2, 1, 2.0)
        assert of_teachers["rows"] == 0
        assert found["verdicts"] == {"accepted": 1, "edited": 0, "rejected": 1, "skipped": 1}
        assert [(each["reviewer"], each["rows"]) for each in found["reviewers"]] == [("ann", 2), ("ben", 1)]
        assert [(each["verdict"], each["reviewer"]) for each in given] == [("accepted", "ann"), ("rejected", "ben")]

    def test_a_producers_login_may_do_all_of_it(self, clean_database: Engine) -> None:
        dataset = add_dataset(clean_database, plain_rows(3), opened=False)
        with clean_database.connect() as connection, database.session_on(connection) as session:
            roles.apply(connection)
            connection.execute(text(f"SET LOCAL ROLE {roles.PRODUCER}"))

            assert queue.open_review(session, dataset, lambda done, rows: None).rows == 3
            row = claims.claim_row(session, dataset, "ann", ALL)
            assert row is not None
            claims.decide(session, row, Verdict.ACCEPTED, 1.0)
            assert bulk_edits.apply(session, dataset, "ann", Rule("bus", "coach")) == 3
            assert claims.undo(session, dataset, "ann") is not None
            connection.rollback()
