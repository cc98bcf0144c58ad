"""Which rows a reviewer sees first, and why; and how long they work at them."""

from __future__ import annotations

from producers.review.timing import PAUSE, Stopwatch, Tally, span
from schemas.payloads import Stage
from workers.review.ranking import FINDINGS, Candidate, Findings, Known, Words, objections, rank
from workers.text import checks

TWEET = "omg the bus to Oslo was 5 minutes late again"
TARGET = "The bus to Oslo was 5 minutes late again."
KNOWN = Known(Words([TARGET, TARGET]), Findings([]))


def candidate(target: str = TARGET, scores: dict[str, float] | None = None, alike: int = 1, stage: str = "summary") -> Candidate:
    return Candidate("k", stage, TWEET, target, scores, alike)


def value(row: Candidate) -> float:
    return rank(row, KNOWN).value


def test_what_the_checks_object_to_comes_first_and_is_told_in_words():
    wrong = rank(candidate("The bus to Bergen was 7 minutes late again."), KNOWN)

    assert wrong.value > value(candidate()) + 5
    assert "checks: the target has a number that the tweet lacks" in wrong.reasons
    assert rank(candidate(), KNOWN).reasons == ()


def test_what_the_checks_find_everywhere_says_little_of_one_row():
    number = candidate("The bus to Oslo was 7 minutes late again.")
    seldom, often = (Known(KNOWN.words, Findings([number] * count + [candidate()] * 50)) for count in (1, 40))

    assert rank(number, seldom).value > 2 * rank(number, often).value > 0
    assert Findings([number]).weight("new_number") > 0.5, "one row of a small dataset may well be wrong"


def test_every_finding_of_the_checks_has_words_for_it():
    assert set(FINDINGS) == {"promise", *checks._CHECKS}
    assert objections(TWEET, "late 😀", Stage.CLEAN) == ("still holds a handle, a link or an emoji, or no word at all",)


def test_a_teacher_that_says_something_else_each_time_comes_before_one_that_does_not():
    values = [value(candidate(scores={"agreement": agreement})) for agreement in (0.2, 0.9, 1.0)]

    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 3
    assert rank(candidate(scores={"agreement": 0.2}), KNOWN).reasons == ("teacher: its answers agree to 20%",)
    assert value(candidate(scores={"agreement": 1.0})) == value(candidate(scores={"cost": 3.0})) == value(candidate())


def test_words_that_stand_nowhere_else_and_a_small_cluster_count():
    words = Words([TARGET, TARGET, "The bus to Oslo was 5 minutes late yesterday."])
    fresh = rank(candidate("The bus to Oslo was 5 minutes late yesterday."), Known(words, Findings([])))

    assert any(reason.startswith("new: 1 of") for reason in fresh.reasons)
    assert value(candidate(alike=1)) > value(candidate(alike=10))


def test_a_pause_counts_as_work_only_for_a_while():
    moments = iter([0.0, 4.0, 4.0 + 3600, 4.0 + 3600 + 2])
    watch = Stopwatch(lambda: next(moments))
    watch.touch()
    watch.touch()

    assert watch.taken() == 4 + PAUSE + 2


def test_a_sitting_is_told_in_one_line():
    assert str(Tally()) == "0 rows"
    assert str(Tally([("accepted", 2.0), ("edited", 4.0), ("accepted", 3.0)], by_rules=7)) == (
        "3 rows: 2 accepted, 1 edited, 7 more by rules; 3.0 s a row"
    )
    assert [span(seconds) for seconds in (40, 700, 11_100)] == ["40 s", "12 min", "3 h 5 min"]


def test_what_was_kept_of_a_person_though_flagged_comes_before_all_else():
    doubted = rank(Candidate("k", "summary", TWEET, TARGET, None, 9, ["negation"]), KNOWN)
    worst = rank(candidate("Bergen, Paris and Lima lost 44, 55 and 66 zebras. No! @you", scores={"agreement": 0.0}), KNOWN)

    assert doubted.value > worst.value
    assert doubted.reasons == ("filters: the target has a negation more, less, or of something else; kept, since a person wrote it",)
