"""What all rows of an import have in common: older formats' marks leave, an instruction is told, and one person's habits stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from producers.cli import main
from schemas.forms import Form
from schemas.synthesis import Columns
from tests.integration.verbs import complaint
from workers.ingest.counts import Counts
from workers.ingest.curated import import_pairs

TWEETS = ("gr8 day at the quay", "my phone died AGAIN", "no milk in the shop", "@bo so wet today")
ANSWERS = ("It was a great day at the quay.", "My phone died again.", "The shop has no milk.", "It is very wet today.")


@pytest.fixture
def brought_in(clean_database: Engine, tmp_path: Path):
    """Bring rows in: the pairs that come of them, and what is told."""

    def bring(
        rows: list[dict[str, Any]], form: Form = Form.PROMPT_COMPLETION, *, strip: bool = False
    ) -> tuple[list[tuple[str, str]], Counts]:
        path = tmp_path / f"rows-{len(list(tmp_path.iterdir()))}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        told: list[Counts] = []
        name = import_pairs(path, Form.PROMPT_COMPLETION, Columns(), told.append, strip_instruction=strip)
        with clean_database.connect() as connection:
            found = connection.execute(text("SELECT text, summary FROM curated WHERE collection = :name ORDER BY position"), {"name": name})
            return [(row.text, row.summary) for row in found], told[0]

    return bring


def rows(prompt: str = "{}", completion: str = "{}", number: int = 4) -> list[dict[str, str]]:
    pairs = list(zip(TWEETS, ANSWERS, strict=True))[:number]
    return [{"prompt": prompt.replace("{}", tweet), "completion": completion.replace("{}", answer)} for tweet, answer in pairs]


def pairs(number: int = 4) -> list[tuple[str, str]]:
    return list(zip(TWEETS, ANSWERS, strict=True))[:number]


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [
        ("{}\n\n###\n\n", " {} END"), ("{} ->", " {}\n"), ("{}\n\n---\n\n", " {}###"), ("{}", "{}</s>"), ("{}", "{}<|im_end|>"),
        ("{} =>", "{}\nEND"), ("{}", " {}<|endoftext|>"), ("{}\n\n###\n\n", "{}"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("number", [1, 4])
def test_marks_of_older_formats_are_taken_off_where_every_row_bears_them(brought_in, prompt: str, completion: str, number: int) -> None:
    found, counts = brought_in(rows(prompt, completion, number))
    assert [(tweet, answer.rstrip("\n")) for tweet, answer in found] == pairs(number)
    assert ["was taken off" in remark for remark in counts.remarks] == [True]


@pytest.mark.parametrize(
    ("prompt", "completion"), [("{} :)", "{} Ended."), ("{}?", " {}"), ("@ship {}", "{}"), ("the {}", "{}"), ("  {}\n", "{}\n")]
)
def test_what_is_a_text_stays_to_the_letter(brought_in, prompt: str, completion: str) -> None:
    given = rows(prompt, completion)
    found, counts = brought_in(given)
    assert found == [(row["prompt"], row["completion"]) for row in given]
    assert counts.remarks == ()


def test_a_mark_that_one_row_lacks_stays_in_all(brought_in) -> None:
    given = [*rows("{}\n\n###\n\n"), {"prompt": "bare", "completion": "Bare."}]
    assert brought_in(given)[0] == [(row["prompt"], row["completion"]) for row in given]


@pytest.mark.parametrize(
    "prompt",
    [
        "Summarize the following tweet.\n\nTweet: {}", "Shorten the tweet: {}", "Summarize: {}", "Tweet: {}\n\nSummary:",
        "### Instruction:\nSay it shorter.\n\n### Input:\n{}\n\n### Response:", "Please rewrite in plain English: {}",
    ],
)  # fmt: skip
def test_an_instruction_in_every_prompt_is_told_and_taken_off_when_asked(brought_in, prompt: str) -> None:
    found, counts = brought_in(rows(prompt))
    assert found == [(row["prompt"], row["completion"]) for row in rows(prompt)]
    assert len(counts.remarks) == 1
    assert "is learnt as a part of the tweet: --strip-instruction takes it off" in counts.remarks[0]
    assert not any(tweet in remark for tweet in TWEETS for remark in counts.remarks)

    found, counts = brought_in(rows(prompt), strip=True)
    assert found == pairs()
    assert "were taken off" in counts.remarks[0]


def test_one_row_is_known_by_the_words_of_an_instruction_alone(brought_in) -> None:
    assert "--strip-instruction" in brought_in(rows("Summarize: {}", number=1))[1].remarks[0]
    assert brought_in(rows("The ferry: {}", number=1))[1].remarks == ()


def test_one_row_many_times_shares_no_instruction(brought_in) -> None:
    found, counts = brought_in(rows("so late again and again {}", number=1) * 50)
    assert (len(found), counts.remarks) == (50, ())


def test_a_row_of_which_nothing_is_left_is_refused(clean_database: Engine, brought_in) -> None:
    given = [*rows("Shorten the tweet: {}"), {"prompt": "Shorten the tweet: ", "completion": "Nothing."}]
    found, counts = brought_in(given, strip=True)
    assert (found, counts.rejected) == (pairs(), 1)


def test_thoughts_are_taken_off_and_counted(brought_in) -> None:
    given = [*rows("{}", "<think>short, then</think>\n\n{}"), *rows("{}!", "{}"), {"prompt": "x", "completion": "<think>and so on"}]
    found, counts = brought_in(given)
    assert found == [*pairs(), *[(f"{tweet}!", answer) for tweet, answer in pairs()]]
    assert (counts.rejected, counts.remarks) == (1, ("A model's thoughts were taken off 4 answers.",))


def test_a_person_is_told(clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows("Shorten the tweet: {}", "{} END")))
    asked = ["import", str(path), "--form", "prompt-completion", "--dataset", "d", "--no-wait"]

    assert main(asked) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "Every row has a stop of 4 characters after the answer, as older training formats want it: it was taken off." in said
    assert "Every prompt (of 4) begins with the same 19 characters. Where that is an instruction" in said
    assert main([*asked, "--strip-instruction"]) == 0
    assert "begins with the same 19 characters: they were taken off." in " ".join(capsys.readouterr().err.split())
    path.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    assert "--map completion=chosen" in complaint(capsys, 1, *asked)
    assert main([*asked, "--map", "completion=chosen"]) == 0
