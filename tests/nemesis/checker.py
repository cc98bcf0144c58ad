"""Check the record of a storm: pure functions, each of which yields the violations of one rule.

A rule is entered in `RULES`; it yields subject and detail of each violation. The rules assume: a claim is an event whose commit
has a stamp, so is every row; a process that a sample names lived at the same moment as all others of that sample.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from schemas.states import FINAL_STATES, JobState
from tests.nemesis.record import Record, Row

Found = Iterator[tuple[str, str]]
FINAL = frozenset(state.value for state in FINAL_STATES)
# After these an attempt holds its job no more.
ENDS = FINAL | {"released", "failure", "lease expired"}


@dataclass(frozen=True)
class Violation:
    """A rule that was broken."""

    rule: str
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}: {self.detail}"


def check(record: Record) -> list[Violation]:
    """Every violation of every rule."""
    from tests.nemesis.checker_of_checkpoints import CHECKPOINT_RULES
    from tests.nemesis.checker_of_processes import PROCESS_RULES

    rules = {**RULES, **PROCESS_RULES, **CHECKPOINT_RULES}
    return [Violation(name, subject, detail) for name, rule in rules.items() for subject, detail in rule(record)]


# Jobs


def nothing_is_lost(record: Record) -> Found:
    """What a producer asked for and got an answer is in the ledger, and has ended."""
    known = {job["key"] for job in record.jobs}
    for key in record.due().keys() - known:
        yield key, "was asked for and is not in the ledger"
    for job in record.jobs:
        if job["state"] not in FINAL:
            yield job["key"], f"has not ended: {job['state']} at attempt {job['attempt']}"


def nothing_is_made_up(record: Record) -> Found:
    """Every job was asked for, or is a shard of one that was."""
    asked = record.asked()
    by_id = {job["id"]: job for job in record.jobs}
    for job in record.jobs:
        parent = by_id.get(job["parent"] or "")
        if job["key"] not in asked and (parent is None or parent["key"] not in asked):
            yield job["key"], f"nobody asked for this {job['kind']}"


def jobs_end_as_they_should(record: Record) -> Found:
    """Done, where nothing says otherwise; quarantined, where the work is poison; cancelled, where somebody asked for that."""
    asked, cancelled = record.asked(), record.cancelled()
    by_id = {job["id"]: job for job in record.jobs}
    for job in record.jobs:
        whole = by_id.get(job["parent"] or "", job)
        allowed = set(asked.get(whole["key"], {}).get("ends", ["done"]))
        if whole["key"] in cancelled:
            allowed |= {"cancelled", "failed"} if job["remaining"] is not None else {"cancelled"}
        if job["state"] in FINAL and job["state"] not in allowed:
            why = (job["error"] or {}).get("message", "")
            yield job["key"], f"{job['state']}, not {' or '.join(sorted(allowed))}: {why}"


def parents_agree_with_their_shards(record: Record) -> Found:
    """A parent counts no unfinished shard in the end, and is done exactly if all of them are."""
    shards: dict[str, list[Row]] = defaultdict(list)
    for job in record.jobs:
        if job["parent"]:
            shards[job["parent"]].append(job)
    for job in record.jobs:
        if job["remaining"] is None or job["state"] not in FINAL:
            continue
        unfinished = sum(shard["state"] not in FINAL for shard in shards[job["id"]])
        all_done = all(shard["state"] == "done" for shard in shards[job["id"]])
        if job["remaining"] != unfinished:
            yield job["key"], f"counts {job['remaining']} unfinished shards, there are {unfinished}"
        if (job["state"] == "done") != all_done and job["state"] != "cancelled":
            yield job["key"], f"is {job['state']}, its shards are {sorted(Counter(shard['state'] for shard in shards[job['id']]).items())}"


def attempts_are_bounded(record: Record) -> Found:
    """Every attempt is paid for: by a failure, by a preemption, or by the end. No failure beyond the permitted ones."""
    for job in record.jobs:
        if job["remaining"] is not None:
            continue
        attempt, paid = job["attempt"], job["failures"] + job["preemptions"]
        attempts = f"attempt {attempt}, {job['failures']} failures of {job['max_failures']}, {job['preemptions']} preemptions"
        if job["failures"] > job["max_failures"] or not paid <= attempt <= paid + 1:
            yield job["key"], attempts
        elif job["state"] == "done" and attempt != paid + 1:
            yield job["key"], f"is done without an attempt for it: {attempts}"
        elif job["state"] == "quarantined" and job["failures"] != job["max_failures"]:
            yield job["key"], f"was quarantined too early: {attempts}"


# Claims


def claims_of(record: Record) -> dict[str, list[Row]]:
    """The claims of each job, in the order they were recorded."""
    claims: dict[str, list[Row]] = defaultdict(list)
    for move in record.moves:
        if move["event"] == "claimed":
            claims[move["job"]].append(move)
    return claims


def attempts_are_claimed_once_and_in_order(record: Record) -> Found:
    """Attempt 1, 2, 3, …: none twice, none left out."""
    claims = claims_of(record)
    for job in record.jobs:
        numbers = [claim["attempt"] for claim in claims[job["id"]]]
        if job["remaining"] is None and numbers != list(range(1, job["attempt"] + 1)):
            yield job["key"], f"claims of attempts {numbers}, the row says {job['attempt']}"


def an_end_is_the_end(record: Record) -> Found:
    """No job is claimed after it was done, failed, cancelled or quarantined."""
    ended: dict[str, str] = {}
    for move in record.moves:
        if move["event"] == "claimed" and move["job"] in ended:
            yield move["job"], f"attempt {move['attempt']} was claimed after {ended[move['job']]}"
        final = move["event"] if move["event"] in FINAL else (move["detail"] or "").rpartition(": now ")[2]
        if final in FINAL and move["event"] in ENDS:
            ended[move["job"]] = final


def a_lease_has_one_holder(record: Record) -> Found:
    """An attempt is claimed when the one before has ended or its lease, as far as it was seen, has run out."""
    ended = {(move["job"], move["attempt"]) for move in record.moves if move["event"] in ENDS}
    until: dict[tuple[str, int], float] = {}
    for event in record.events_of("leases"):
        for job, attempt, _, lease_until, _ in event["held"] or ():
            until[job, attempt] = max(lease_until, until.get((job, attempt), 0.0))
    for job, claims in claims_of(record).items():
        for claim in claims:
            before = (job, claim["attempt"] - 1)
            if before not in ended and until.get(before, 0.0) > claim["at"]:
                early = until[before] - claim["at"]
                yield job, f"attempt {claim['attempt']} was claimed {early:.2f} s before the lease of the one before ran out"


# Results


def work_leaves_its_rows_once(record: Record) -> Found:
    """A done job has exactly the rows that were asked for; another has no row that was not."""
    asked = record.asked()
    rows: dict[str, list[int]] = defaultdict(list)
    for row in record.rows:
        rows[row["job"]].append(row["step"])
    for job in record.jobs:
        expected = asked.get(job["key"], {})
        if expected.get("what") != "work":
            continue
        wanted, steps = list(range(expected["rows"])), sorted(rows[job["id"]])
        if job["state"] == "done" and steps != wanted:
            yield job["key"], f"is done with rows {steps} instead of {wanted}"
        elif steps != wanted[: len(steps)]:
            yield job["key"], f"has rows {steps} of {wanted}"


def tweets_are_summarised_once(record: Record) -> Found:
    """When a whole job is done, each tweet that it selected has one summary, written by one of its shards."""
    asked = record.asked()
    parents = {job["id"]: job["parent"] for job in record.jobs}
    written: dict[str, list[str]] = defaultdict(list)
    for row in record.summaries:
        written[row["tweet"]].append(parents.get(row["job"]) or row["job"])
    selected: dict[str, list[str]] = defaultdict(list)
    for row in record.selections:
        selected[row["job"]].append(row["tweet"])
    for job in record.jobs:
        expected = asked.get(job["key"], {})
        if expected.get("what") != "summaries":
            continue
        tweets = selected[job["id"]]
        if len(set(tweets)) != expected["tweets"] or len(tweets) != expected["tweets"]:
            yield job["key"], f"selected {len(tweets)} tweets, {len(set(tweets))} of them different, not {expected['tweets']}"
        for tweet in tweets:
            if len(written[tweet]) > 1 or (job["state"] == "done" and written[tweet] != [job["id"]]):
                yield job["key"], f"{tweet} was summarised by {written[tweet]}"


def late_writers_are_fenced(record: Record) -> Found:
    """No row of an attempt is committed after the next attempt was claimed, nor after the job's end."""
    claimed = {(move["job"], move["attempt"]): move["stamp"] for move in record.moves if move["event"] == "claimed"}
    ends = {move["job"]: move["stamp"] for move in record.moves if move["event"] in FINAL}
    for row in [*record.rows, *record.summaries]:
        where = f"{row['job']} attempt {row['attempt']}"
        started, following = claimed.get((row["job"], row["attempt"])), claimed.get((row["job"], row["attempt"] + 1))
        if started is None or row["stamp"] < started:
            yield where, "a row was written by an attempt that had not claimed the job"
        if following is not None and row["stamp"] > following:
            yield where, f"a row was written {row['stamp'] - following:.3f} s after the next attempt was claimed"
        if row["stamp"] > ends.get(row["job"], row["stamp"]):
            yield where, "a row was written after the job had ended"


def done_trainings_left_a_model(record: Record) -> Found:
    """A done training made every step and has one model."""
    asked = record.asked()
    models = Counter(model["job"] for model in record.models)
    last = {row["job"]: row["last"] for row in record.steps}
    for job in record.jobs:
        expected = asked.get(job["key"], {})
        if expected.get("what") != "training":
            continue
        if models[job["id"]] != int(job["state"] == JobState.DONE):
            yield job["key"], f"is {job['state']} and has {models[job['id']]} models"
        if job["state"] == JobState.DONE and last.get(job["id"]) != expected["steps"]:
            yield job["key"], f"is done at step {last.get(job['id'])} of {expected['steps']}"


def the_harness_worked(record: Record) -> Found:
    """A fault that could not be made or healed proves nothing."""
    for event in record.events_of("harness failed"):
        yield str(event["what"]), str(event["error"])


RULES: dict[str, Callable[[Record], Found]] = {
    rule.__name__: rule
    for rule in (
        nothing_is_lost,
        nothing_is_made_up,
        jobs_end_as_they_should,
        parents_agree_with_their_shards,
        attempts_are_bounded,
        attempts_are_claimed_once_and_in_order,
        an_end_is_the_end,
        a_lease_has_one_holder,
        work_leaves_its_rows_once,
        tweets_are_summarised_once,
        late_writers_are_fenced,
        done_trainings_left_a_model,
        the_harness_worked,
    )
}
