"""Thoughts of models that think aloud, told from their answers."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from workers.text.thoughts import Spoken, split_thoughts

ANSWER = "The bus was late."


@pytest.mark.parametrize(
    "said",
    [
        f"<think>short</think>{ANSWER}",
        f"<think>\nshort\n</think>\n\n{ANSWER}\n",
        f"\n<thinking>hm</thinking> {ANSWER}",
        f"<THINK>hm</THINK>{ANSWER}",
        f"<reasoning>hm</reasoning>{ANSWER}",
        f"<thought>hm</thought>{ANSWER}",
        f"<seed:think>hm</seed:think>{ANSWER}",
        f'<think budget="low">hm</think>{ANSWER}',
        f"[THINK]hm[/THINK]{ANSWER}",
        f"◁think▷hm◁/think▷{ANSWER}",
        f"<|begin_of_thought|>hm<|end_of_thought|><|begin_of_solution|>{ANSWER}<|end_of_solution|>",
        f"<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>{ANSWER}<|END_RESPONSE|>",
        f"<unused94>thought\nhm<unused95>{ANSWER}",
        f"<|channel>thought\nhm<channel|>{ANSWER}",
        f"<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}<|return|>",
        f"<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final <|constrain|>JSON<|message|>{ANSWER}",
        f"<|channel|>analysis They want it short…<|channel|>final {ANSWER}",
        f"<|channel|>analysisThey want it short<|end|><|start|>assistant<|channel|>final <|constrain|>text {ANSWER}<|return|>",
        f"<|Channel|>Analysis<|Message|>hm<|end|><|Channel|>FINAL<|Message|>{ANSWER}",
        f"analysisThe user wants it short.assistantfinal{ANSWER}",
        f"The user wants it short.\n</think>\n\n{ANSWER}",
        f"hm</thinking>{ANSWER}",
        f"hm[/THINK]{ANSWER}",
        f"<think>one</think><think>two</think>{ANSWER}",
        f"<think>one <think> two</think> three</think>{ANSWER}",
        f"<think>no <reasoning> here</think>{ANSWER}",
        f"<think>hm</think><answer>{ANSWER}</answer>",
        f"{ANSWER}\n<think>was that right?</think>",
        f"<think></think>{ANSWER}",
    ],
)
def test_the_answer_is_what_stands_outside_of_the_thoughts(said: str) -> None:
    assert split_thoughts(said) == Spoken(ANSWER, thought=True, unfinished=False)


@pytest.mark.parametrize(
    "said",
    [
        "<think>and so on",
        "<thinking>\nand so on",
        "[THINK]and so on",
        "<|channel|>analysis<|message|>and so on",
        "<|channel|>analysis and so on",
        "<think>one</think><think>on",
    ],
)
def test_thoughts_without_an_end_leave_no_answer(said: str) -> None:
    assert split_thoughts(said) == Spoken("", thought=True, unfinished=True)


def test_what_begins_inside_a_thought_is_one_until_it_closes() -> None:
    assert split_thoughts("and so on", opened=True) == Spoken("", thought=True, unfinished=True)
    assert split_thoughts(f"so</think>{ANSWER}", opened=True) == Spoken(ANSWER, thought=True, unfinished=False)


@pytest.mark.parametrize(
    "said",
    [
        ANSWER,
        "They write <think> before they answer.",
        "I think the thinking is done.",
        "2 < 3 and <b>bold</b> stays.",
        "analysis of the bus: late.",
        "The answer is <answer> here.",
        "",
    ],
)
def test_an_answer_without_thoughts_stays_as_it_is(said: str) -> None:
    assert split_thoughts(said) == Spoken(said, thought=False, unfinished=False)


@given(strategies.text(alphabet="ab \n<>/|[]", max_size=60), strategies.sampled_from(["think", "thinking", "reasoning", "thought"]))
def test_whatever_is_thought_the_answer_is_found(thoughts: str, tag: str) -> None:
    assert split_thoughts(f"<{tag}>{thoughts}</{tag}>{ANSWER}") == Spoken(ANSWER, thought=True, unfinished=False)


@pytest.mark.parametrize("said", ["<think>" * 100_000 + "</think>" * 100_000 + ANSWER, "x<think>" * 100_000 + "</think>" + ANSWER])
def test_marks_by_the_thousand_are_read(said: str) -> None:
    assert split_thoughts(said).text == ANSWER


def test_an_object_of_json_stays_whole_and_its_marks_are_those_of_a_value() -> None:
    said = '{"text": "<think>hm</think>' + ANSWER + '"}'
    assert split_thoughts(f" {said}\n") == Spoken(said, thought=False, unfinished=False)
    assert split_thoughts(f"{{hm}}</think>{ANSWER}").text == ANSWER
