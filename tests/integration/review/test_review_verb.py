"""review: what it says without a terminal, how far it is, and the dataset that comes of it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from sqlalchemy import Engine, text

from producers.cli import main
from tests.integration.in_process import working
from tests.integration.verbs import answer, complaint, printed
from tests.support.reviews import Row, add_dataset, plain_rows, reviewed
from workers import database
from workers.review import bulk_edits, claims
from workers.review.bulk_edits import Rule
from workers.review.claims import RowFilter, Verdict

HUMAN = Row("the tram is late smh", "The tram are late.", tweet="1", cluster=50)
NOISE = [
    Row(f"teh tram are late {n}", HUMAN.target, "noise", cluster=50, lineage={"copy": n, "tweet_id": "1"}, tweet="1") for n in range(2)
]
TEST = Row("the ferry is late", "The ferry is late.", split="test", cluster=60, tweet="2")


def judge(engine: Engine, dataset: int, verdicts: dict[str, tuple[Verdict, str | None]]) -> None:
    """Say this of these rows, and nothing of the others."""
    with database.session(engine) as session:
        rows = []
        while (row := claims.claim_row(session, dataset, "ann", RowFilter())) is not None:
            rows.append(row)
        for row in rows:
            if row.key in verdicts:
                verdict, target = verdicts[row.key]
                claims.decide(session, row, verdict, 1.5, target)
        claims.release_rows(session, rows)


def examples(engine: Engine, name: str) -> dict[str, Any]:
    query = "SELECT example.* FROM example JOIN dataset ON dataset.id = example.dataset WHERE dataset.name = :name"
    with engine.connect() as connection:
        return {row.key: row for row in connection.execute(text(query), {"name": name})}


@pytest.fixture
def dataset(clean_database: Engine) -> int:
    """Ten rows about buses, a pair with a mistake in it and the noise made of it, and a test row."""
    return add_dataset(clean_database, [*plain_rows(10), HUMAN, *NOISE, TEST])


class TestApply:
    @pytest.fixture
    def built(self, clean_database: Engine, dataset: int, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
        """What `--apply` answers after an edit, a rejection and an acceptance."""
        rejected, accepted = plain_rows(2)
        judge(
            clean_database,
            dataset,
            {
                HUMAN.key: (Verdict.EDITED, "The tram is late."),
                rejected.key: (Verdict.REJECTED, None),
                accepted.key: (Verdict.ACCEPTED, None),
            },
        )
        with working(clean_database):
            result: dict[str, Any] = answer(capsys, "review", "buses", "--apply", "--json")
        return result

    def test_edits_targets_also_of_the_noise_made_of_them_and_leaves_out_what_was_rejected(
        self, clean_database: Engine, built: dict[str, Any]
    ) -> None:
        rows = examples(clean_database, "buses-reviewed")

        assert built["dataset"] == "buses-reviewed"
        assert built["counts"] == {"examples": 13, "accepted": 1, "edited": 3, "rejected": 1, "not_reviewed": 9}
        trams = [row for row in rows.values() if "tram" in row.target_text]
        assert {row.target_text for row in trams} == {"The tram is late."}
        assert sorted(row.prompt_text for row in trams) == sorted(row.prompt for row in (HUMAN, *NOISE))
        assert plain_rows(1)[0].key not in rows
        assert len(examples(clean_database, "buses")) == 14, "the old one stays"

    def test_keys_fingerprint_splits_and_clusters_are_those_of_a_dataset(self, clean_database: Engine, built: dict[str, Any]) -> None:
        rows = examples(clean_database, "buses-reviewed")

        for row in rows.values():
            assert row.key == Row(row.prompt_text, row.target_text, row.origin).key
        lines = sorted(f"{row.split} {row.key}" for row in rows.values())
        assert built["fingerprint"] == hashlib.sha256("\n".join(lines).encode()).hexdigest()
        assert built["fingerprint"] == "d8e932dedf9021621c88a1a98accd8615f38ab965c31eeb0ff92893b5387eac6", "it was given once, and stays"
        before = {row.prompt_text: (row.split, row.cluster) for row in examples(clean_database, "buses").values()}
        assert {row.prompt_text: (row.split, row.cluster) for row in rows.values()}.items() <= before.items()

    def test_what_was_rejected_is_kept_with_its_reason(self, clean_database: Engine, built: dict[str, Any]) -> None:
        with clean_database.connect() as connection:
            dropped = connection.execute(text("SELECT * FROM dropped")).one()

        assert (dropped.key, dropped.dataset, dropped.reasons) == (plain_rows(1)[0].key, "buses-reviewed", ["rejected_by_reviewer"])
        assert dropped.lineage["reviewer"] == "ann"
        assert str(dropped.job) == built["job"]

    def test_why_tells_the_reviewer_and_what_it_was_before(
        self, clean_database: Engine, built: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        edited = Row(HUMAN.prompt, "The tram is late.").key
        result = answer(capsys, "why", edited, "--json")

        assert result["reviewer"] == "ann"
        assert (result["review"]["verdict"], result["review"]["before"], result["review"]["key"]) == ("edited", HUMAN.target, HUMAN.key)
        assert "before: The tram are late." in printed(capsys, "why", edited)
        assert "to become: The tram is late." in printed(capsys, "why", HUMAN.key)
        assert answer(capsys, "why", plain_rows(2)[1].key, "--json")["reviewer"] == "ann"

    def test_the_same_verdicts_are_one_job_and_a_review_of_the_result_knows_them(
        self, clean_database: Engine, dataset: int, built: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with working(clean_database):
            assert answer(capsys, "review", "buses", "--apply", "--json")["job"] == built["job"]
            with database.session(clean_database) as session:
                bulk_edits.apply(session, dataset, "ann", Rule("bus", "coach"))
            again = answer(capsys, "review", "buses", "--apply", "--as", "coaches", "--json")
        assert again["job"] != built["job"]

        from tasks.review import open_review

        with clean_database.connect() as connection:
            new = connection.execute(text("SELECT id FROM dataset WHERE name = 'coaches'")).scalar_one()
        assert open_review(new, lambda done, rows: None).carried == 10
        verdicts = [row.verdict for row in reviewed(clean_database, new).values()]
        assert sorted(map(str, verdicts)) == ["None"] + ["accepted"] * 10
        some = next(row for row in examples(clean_database, "coaches").values() if "coach" in row.target_text)
        assert some.lineage["review"]["rule"] == {"replace": "bus", "by": "coach"}

    def test_without_a_verdict_there_is_nothing_to_build(
        self, clean_database: Engine, dataset: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert "no example is reviewed yet. `tweetmill review buses` does that" in complaint(capsys, 1, "review", "buses", "--apply")
        assert "there is none" in complaint(capsys, 1, "review", "trams", "--apply")
        judge(clean_database, dataset, {HUMAN.key: (Verdict.ACCEPTED, None)})
        assert "make a name" in complaint(capsys, 2, "review", "buses", "--apply", "--as", "a b")

    def test_when_all_is_rejected_there_is_nothing_to_learn_from(
        self, clean_database: Engine, dataset: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        judge(clean_database, dataset, dict.fromkeys(reviewed(clean_database, dataset), (Verdict.REJECTED, None)))

        with working(clean_database):
            assert "nothing to learn from is left" in complaint(capsys, 1, "review", "buses", "--apply")


class TestAnywhere:
    def test_without_a_terminal_it_says_what_to_do_and_ends_with_2(
        self, clean_database: Engine, capsys: pytest.CaptureFixture[str]
    ) -> None:
        add_dataset(clean_database, plain_rows(1), opened=False)

        message = complaint(capsys, 2, "review", "buses")

        assert "needs a terminal" in message
        assert "--status" in message

    def test_status_and_decisions_are_told_to_people_and_as_json(
        self, clean_database: Engine, dataset: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        judge(clean_database, dataset, {HUMAN.key: (Verdict.EDITED, "The tram is late.")})

        result = answer(capsys, "review", "buses", "--status", "--json")
        assert (result["rows"], result["left"], result["verdicts"]["edited"]) == (12, 11, 1)
        assert "11 of 12 rows are left" in printed(capsys, "review", "buses", "--status")
        decided = answer(capsys, "review", "buses", "--decisions", "--json")
        assert [(each["key"], each["target"], each["edited"], each["reviewer"]) for each in decided] == [
            (HUMAN.key, HUMAN.target, "The tram is late.", "ann")
        ]
        assert "edited  The tram is late." in printed(capsys, "review", "buses", "--decisions")

    def test_a_review_that_nobody_began_is_told(self, clean_database: Engine, capsys: pytest.CaptureFixture[str]) -> None:
        add_dataset(clean_database, plain_rows(1), opened=False)

        assert "Nobody has begun yet" in printed(capsys, "review", "buses", "--status")

    @pytest.mark.parametrize("options", [("--origin", "mars"), ("--stage", "mars"), ("--status", "--apply")])
    def test_a_wrong_option_is_bad_usage(self, options: tuple[str, ...]) -> None:
        assert main(["review", "buses", *options]) == 2
