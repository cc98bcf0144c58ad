"""How the points of a curve stand in the ledger: which comparisons are their scores, and what the dataset's pairs took."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from sqlalchemy import Engine, text

from producers.curve import costs
from producers.curve.costs import FEWEST_REVIEWED, Costs, Pace
from producers.curve.prompting import ask
from producers.curve.report import drawn, planned
from producers.curve.run import status
from producers.curve.worth import Worth
from schemas.payloads import ComparisonSpec, Payload
from schemas.training import TrainingSpec
from tests.support.curated import add_pairs
from tests.support.reviews import add_dataset, plain_rows
from workers import database
from workers.catalog import curves

_JOB = """
INSERT INTO job (id, kind, queue, idempotency_key, payload, state, result, finished_at)
VALUES (cast(:id AS uuid), :kind, 'x', :id, cast(:payload AS jsonb), :state, cast(:result AS jsonb), now())
"""
_MODEL = """
INSERT INTO model (name, base, method, stage, job, details)
VALUES (:name, 'b', 'lora', 'summary', :job, cast(:details AS jsonb)) RETURNING id
"""

_TIMED = "INSERT INTO model (name, base, method, stage, details) VALUES ('timed', 'b', 'lora', 'summary', cast(:details AS jsonb))"

_DECIDE = """
UPDATE review SET verdict = :verdict, reviewer = 'ann', reviewed_at = now(), seconds = :seconds, rule = cast(:rule AS jsonb)
WHERE (dataset, key) IN (SELECT dataset, key FROM review WHERE dataset = :dataset AND verdict IS NULL ORDER BY key LIMIT :count)
"""


def add_job(engine: Engine, kind: str, payload: Payload | dict[str, Any], state: str = "done", result: dict[str, Any] | None = None) -> str:
    name = str(uuid.uuid4())
    stored = payload if isinstance(payload, dict) else payload.model_dump(mode="json")
    values = {"id": name, "kind": kind, "payload": json.dumps(stored), "state": state, "result": json.dumps(result)}
    with engine.begin() as connection:
        connection.execute(text(_JOB), values)
    return name


def add_point(engine: Engine, size: int, fingerprint: str = "f", prompts: str | None = "5", **recipe: Any) -> int:
    """A point whose model is made; the model's id."""
    spec = TrainingSpec(**{"name": f"m{size}", "base": "b", "dataset": "buses", "pairs": size, "curve": "grown", **recipe})
    job = add_job(engine, curves.TRAIN, spec, result={"seconds": 60.0, "steps": size})
    details = json.dumps({"dataset_fingerprint": fingerprint, "prompt_version": prompts})
    with engine.begin() as connection:
        return int(connection.execute(text(_MODEL), {"name": spec.name, "job": job, "details": details}).scalar_one())


def add_score(engine: Engine, model: int, name: str, score: float, state: str = "done", **asked: Any) -> None:
    spec = ComparisonSpec(**{"model_ids": (model,), "baselines": ("lead", "rules"), **asked})
    others = [baseline for baseline in spec.baselines if baseline != name]
    figure = {"sari": {"value": score, "low": score - 1, "high": score + 1, "n": spec.limit or 100}}
    pairs = [{"a": name, "b": other, "metric": "sari", "difference": 1.0, "low": 0.5, "high": 1.5, "n": 100} for other in others]
    result = {"systems": dict.fromkeys((name, *others), figure), "pairs": pairs}
    add_job(engine, curves.COMPARE, spec, state, result if state == "done" else None)


def scores(limit: int | None = None) -> list[float | None]:
    return [point.figures and point.figures["sari"]["value"] for point in status("grown", limit)[0]]


def test_scores_on_other_rows_are_none_of_a_curve(clean_database: Engine) -> None:
    small, large = add_point(clean_database, 25), add_point(clean_database, 50)
    add_score(clean_database, small, "m25", 40.0)
    add_score(clean_database, small, "m25", 41.0, limit=10)
    add_score(clean_database, large, "m50", 42.0, references="others")
    add_score(clean_database, large, "m50", 43.0, guard=False)
    add_score(clean_database, large, "m50", 44.0, model_ids=(large, small))

    assert scores() == [40.0, None]
    assert scores(limit=10) == [41.0, None]


def limit_of(curve: str) -> int | None:
    with database.session() as session:
        return curves.scored_limit(session, curve)


def test_the_rows_of_a_curve_are_those_of_most_points_whatever_one_is_compared_on_besides(clean_database: Engine) -> None:
    small, large = add_point(clean_database, 25), add_point(clean_database, 50)
    assert limit_of("grown") is None
    for model, name in ((small, "m25"), (large, "m50")):
        add_score(clean_database, model, name, 40.0, limit=100)
    add_score(clean_database, small, "m25", 40.0)
    assert limit_of("grown") == 100, "one model of two was compared on all rows"

    for model, name in ((small, "m25"), (large, "m50")):
        add_score(clean_database, model, name, 40.0, limit=10, baselines=("as_is",))
    assert limit_of("grown") == 100, "what is not beside the curve's baselines is no score"

    add_score(clean_database, large, "m50", 40.0)
    assert limit_of("grown") is None, "of limits with as many points the newest counts"
    assert limit_of("other") is None


def prompted(engine: Engine) -> list[int]:
    """Of which models a comparison of the base by prompts was asked for."""
    query = (
        "SELECT (payload->'model_ids'->>0)::int FROM job WHERE kind = 'evaluation.compare' AND payload->'baselines' @> '[\"zero_shot\"]'"
    )
    with engine.connect() as connection:
        return sorted(connection.execute(text(query)).scalars())


@pytest.mark.parametrize("changed", [{"base": "other"}, {"dataset": "trams"}, {"fingerprint": "rebuilt"}])
def test_the_base_is_asked_once_for_each_base_and_dataset_of_a_curve(clean_database: Engine, changed: dict[str, str]) -> None:
    add_dataset(clean_database, plain_rows(4))
    small, large = add_point(clean_database, 25), add_point(clean_database, 50)
    add_score(clean_database, small, "m25", 40.0)
    add_score(clean_database, large, "m50", 42.0)
    add_score(clean_database, small, "m25", 40.0, baselines=("zero_shot",))
    assert ask(status("grown", None)[0], None) == [], "one model's prompts stand for all"

    changed_point = add_point(clean_database, 10, name="changed", **changed)
    add_score(clean_database, changed_point, "changed", 41.0)
    assert len(ask(status("grown", None)[0], None)) == 1
    assert prompted(clean_database) == [small, changed_point]


def test_part_of_a_curve_is_held_against_all_baselines_of_its_base_and_dataset(clean_database: Engine) -> None:
    human, noise = add_point(clean_database, 50), add_point(clean_database, 25, name="noisy", origins=("noise",))
    add_score(clean_database, human, "m50", 42.0)
    add_score(clean_database, human, "m50", 47.0, baselines=("zero_shot",))
    add_score(clean_database, noise, "noisy", 40.0)
    other = add_point(clean_database, 50, name="larger", base="other")
    add_score(clean_database, other, "larger", 60.0)
    add_score(clean_database, other, "larger", 60.0, baselines=("few_shot",))

    points = status("grown", None)[0]
    answer = drawn("grown", points, Worth(), Costs(), {point.training for point in points if point.name == "noisy"})
    assert list(answer["series"]) == ["lora, noise"]
    assert set(answer["baselines"]) == {"lead", "rules", "zero_shot"}, "the other base's prompts are none of this one's"
    best = answer["series"]["lora, noise"]["against"][0]
    assert (best["baseline"], best["answer"], best["paired"]) == ("zero_shot", "worse", False)
    assert [each["model"] for each in answer["trained"]] == ["noisy"]


@pytest.mark.parametrize("other", [{"base": "other"}, {"dataset": "others"}, {"fingerprint": "rebuilt"}, {"prompts": None}])
def test_points_of_another_base_dataset_or_prompts_are_no_part_of_a_curve_that_is_shown(
    clean_database: Engine, other: dict[str, Any]
) -> None:
    old = add_point(clean_database, 25, name="old", **other)
    add_score(clean_database, old, "old", 90.0, baselines=("lead", "rules", "zero_shot"))
    for size in (50, 100):
        add_score(clean_database, add_point(clean_database, size), f"m{size}", 40.0)
    add_point(clean_database, 200)

    answer = drawn("grown", status("grown", None)[0], Worth(), Costs())
    assert [point["size"] for point in answer["series"]["lora, all"]["points"]] == [50, 100]
    assert (answer["left_out"], answer["failed"]) == (1, 1)
    assert set(answer["baselines"]) == {"lead", "rules"}


def test_what_several_comparisons_of_a_model_found_is_put_together(clean_database: Engine) -> None:
    model = add_point(clean_database, 25)
    add_score(clean_database, model, "m25", 40.0)
    add_score(clean_database, model, "m25", 40.0, baselines=("as_is",))

    (point,), _ = status("grown", None)
    assert set(point.systems) == {"m25", "lead", "rules", "as_is"}
    assert {pair["b"] for pair in point.pairs} == {"lead", "rules", "as_is"}
    assert (point.seconds, point.steps) == (60, 25)


def test_models_whose_score_nobody_asked_for_are_counted(clean_database: Engine) -> None:
    models = [add_point(clean_database, size) for size in (25, 50, 100, 200)]
    add_score(clean_database, models[0], "m25", 40.0)
    add_score(clean_database, models[1], "m50", 0.0, state="running")
    add_score(clean_database, models[2], "m100", 0.0, state="failed")

    progress = status("grown", None)[1]
    assert (progress.points, progress.trained, progress.done, progress.failed, progress.running, progress.not_asked) == (4, 4, 1, 1, 1, 1)


def test_with_one_seed_a_size_the_scores_say_how_far_they_may_be_off_and_thirty_pairs_are_unsure(clean_database: Engine) -> None:
    for size, score in ((10, 40.0), (20, 45.0), (30, 48.0)):
        add_score(clean_database, add_point(clean_database, size), f"m{size}", score)

    answer = drawn("grown", status("grown", None)[0], Worth(), Costs(usd_per_hour=3.6))
    human = answer["series"]["lora, all"]
    assert (human["verdict"], human["errors_from"]) == ("unsure", "points")
    assert [(each["low"], each["high"]) for each in human["points"]] == [(39, 41), (44, 46), (47, 49)]
    assert [each["answer"] for each in human["against"]] == ["better", "better"]
    assert human["another"]["cost"]["training"]["usd"] == pytest.approx(0.06), "60 seconds, whatever the steps"


@pytest.mark.parametrize(("reviewed", "source"), [(FEWEST_REVIEWED, "review"), (FEWEST_REVIEWED - 1, "assumed")])
def test_minutes_a_pair_are_the_median_of_enough_reviewed_rows(clean_database: Engine, reviewed: int, source: str) -> None:
    dataset = add_dataset(clean_database, plain_rows(FEWEST_REVIEWED + 10))
    with clean_database.begin() as connection:
        for verdict, seconds, rule, count in (
            ("edited", 90.0, None, reviewed),
            ("accepted", 1.0, {"before": "x"}, 3),
            ("skipped", 1.0, None, 3),
        ):
            values = {"verdict": verdict, "seconds": seconds, "rule": rule and json.dumps(rule), "dataset": dataset, "count": count}
            connection.execute(text(_DECIDE), values)

    found = costs.pace(None, "buses")
    assert found == (Pace(1.5, "review", reviewed) if source == "review" else Pace(2.0, "assumed"))
    assert costs.pace(4.0, "buses") == Pace(4.0, "given"), "what somebody says counts more"
    assert costs.pace(None, "there is none") == Pace()


def test_a_teacher_s_price_is_that_of_pairs_which_could_be_learnt_from(clean_database: Engine) -> None:
    add_dataset(clean_database, plain_rows(1))
    paid = {"model": "big", "asked": 100, "accepted": 160, "rejected": 40, "usd": 2.0, "seconds": 300.0}
    add_job(clean_database, "synthesis.synthesize", {"dataset": "buses"}, result={"teacher": paid})
    add_job(clean_database, "synthesis.synthesize", {"dataset": "buses"}, result={"teacher": paid | {"asked": 0, "usd": 0.0}})
    add_job(clean_database, "synthesis.synthesize", {"dataset": "others"}, result={"teacher": paid | {"usd": 99.0}})

    teacher = costs.known(None, "buses", None).teacher
    assert teacher is not None
    assert (teacher.model, teacher.asked) == ("big", 100)
    assert teacher.usd == pytest.approx(0.025), "two cents an answer, of which four in five are kept"
    assert teacher.seconds == pytest.approx(3.75)


@pytest.mark.parametrize("nodes", [1, 2])
def test_what_a_curve_will_cost_is_for_every_machine_that_trains(clean_database: Engine, nodes: int) -> None:
    dataset = add_pairs(clean_database, pairs=4, held_back=1)
    with clean_database.begin() as connection:
        connection.execute(text(_TIMED), {"details": json.dumps({"tokens_per_second": 0.1, "spec": {"world_size": 2}})})
    spec = TrainingSpec(name="grown", base="b", dataset=dataset, nodes=nodes, world_size=2)

    _, _, plan = planned(spec, 3600.0, sizes=[2, 4], seeds=1, origins=["human"], methods=["lora"], budget="epochs")
    assert plan["seconds"] > 0
    assert plan["usd"] == pytest.approx(plan["seconds"] * nodes), "a dollar a second and machine"


def test_without_a_teacher_there_is_no_price(clean_database: Engine) -> None:
    add_dataset(clean_database, plain_rows(1))
    assert costs.known(None, "buses", None).teacher is None
