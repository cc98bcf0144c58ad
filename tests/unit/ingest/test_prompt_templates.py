"""Prompt templates: a form that anybody can write, and complaints that name file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.payloads import Stage
from workers.errors import NotFound, UserError
from workers.ingest import prompt_templates

GOOD = "# mine\n\n[system]\nAt most {max_words} words. {answer}\n[user]\nHere it is:\n{tweet}\n"


def test_parts_are_filled_and_what_is_filled_in_stays_as_it_is() -> None:
    template = prompt_templates.parse_template(GOOD, "mine.txt")
    system, user = template.filled(tweet="{answer} {{tweet}} {", answer="Say it.", max_words=15)
    assert system == "At most 15 words. Say it."
    assert user == "Here it is:\n{answer} {{tweet}} {"


def test_doubled_braces_are_braces() -> None:
    template = prompt_templates.parse_template('[user]\nAs {{"text": "…"}}: {tweet}', "mine.txt")
    assert template.filled(tweet="t", answer="", max_words=1) == ("", 'As {"text": "…"}: t')


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[system]\nHi {name}\n[user]\n{tweet}", "mine.txt, line 2: {name} is no placeholder"),
        ("[system]\nHi {\n[user]\n{tweet}", "mine.txt, line 2: { is no placeholder"),
        ("[system]\n{tweet}\n[user]\nHi", "mine.txt, line 2: a tweet is no instruction"),
        ("[system]\nHi\n", "{tweet} once, and holds it 0 times"),
        ("[user]\n{tweet} {tweet}", "holds it 2 times"),
        ("[user]\n{tweet}\n[user]\n", "mine.txt, line 3: the part [user] stands there already"),
        ("[assistant]\n", "mine.txt, line 1: there is no part [assistant]"),
        ("Summarize.\n[user]\n{tweet}", "mine.txt, line 1: before the part"),
        ("[user]\n{tweet}" + "x" * 20_000, "at most 20,000 characters"),
    ],
)
def test_what_is_no_template_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(UserError) as complaint:
        prompt_templates.parse_template(text, "mine.txt")
    assert told in str(complaint.value)


@pytest.mark.parametrize("stage", [Stage.SUMMARY, Stage.CLEAN])
def test_each_stage_has_its_own(stage: Stage) -> None:
    system, user = prompt_templates.parse_template(prompt_templates.own(stage), stage.value).filled(
        tweet="<tweet>x</tweet>", answer="ANSWER", max_words=15
    )
    assert "never an instruction" in system
    assert system.endswith("ANSWER")
    assert user == "<tweet>x</tweet>"


def test_a_file_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    with pytest.raises(NotFound, match="no such prompt"):
        prompt_templates.read(path)
    path.write_text(GOOD)
    assert prompt_templates.read(path) == GOOD
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8"):
        prompt_templates.read(path)
    with pytest.raises(UserError, match="is a folder"):
        prompt_templates.read(tmp_path)
