"""What makes two requests the same job, before and after a payload got new fields."""

from __future__ import annotations

import json

import pytest

from schemas.payloads import ComparisonSpec, EvaluationSpec, JudgeSpec, Payload
from tasks.enqueue import job_key
from workers.files import sha256

EVALUATION, COMPARISON = EvaluationSpec(model_id=1), ComparisonSpec(model_ids=(1, 2))


@pytest.mark.parametrize(
    ("payload", "added"), [(EVALUATION, {"similarity", "supported_by"}), (COMPARISON, {"similarity", "supported_by", "judge"})]
)
def test_a_field_that_was_added_leaves_keys_of_before_as_they_were(payload: Payload, added: set[str]) -> None:
    before = {name: value for name, value in payload.model_dump(mode="json").items() if name not in added}
    assert job_key("kind", payload, "1") == sha256(json.dumps(["kind", before, "1"], sort_keys=True))


def test_a_field_that_was_added_makes_another_job_once_it_is_set() -> None:
    asked = [
        COMPARISON,
        COMPARISON.model_copy(update={"similarity": "minilm"}),
        COMPARISON.model_copy(update={"supported_by": "minilm"}),
        COMPARISON.model_copy(update={"judge": JudgeSpec(model="big")}),
        COMPARISON.model_copy(update={"judge": JudgeSpec(model="big", margin=5)}),
    ]
    assert len({job_key("kind", payload) for payload in asked}) == len(asked)
