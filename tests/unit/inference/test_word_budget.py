"""A row that has its words may finish the last one or end, and begin no other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tests.support.tiny_model import build_tiny_model
from workers.inference.local.word_budget import WordBudget, tokens_that_begin_a_word

END, SUFFIX, MARK, THE, BUS = range(5)
BEGINS_WORD = torch.tensor([False, False, False, True, True])
PROMPT = [BUS, BUS, BUS]
SCORES = torch.arange(5.0)


def allowed(written: list[int], max_words: int = 2) -> set[int]:
    """The tokens that may follow `written`."""
    budget = WordBudget(BEGINS_WORD, prompt_width=len(PROMPT), max_words=max_words)
    scores = budget(torch.tensor([PROMPT + written]), SCORES.unsqueeze(0))[0]
    kept = {token for token in range(5) if scores[token] == SCORES[token]}
    assert kept | {token for token in range(5) if scores[token] == float("-inf")} == set(range(5)), "a score is kept or forbidden"
    return kept


@pytest.mark.parametrize("written", [[], [THE], [THE, SUFFIX, SUFFIX, MARK], [SUFFIX]])
def test_below_the_bound_everything_may_follow(written: list[int]) -> None:
    assert allowed(written) == {END, SUFFIX, MARK, THE, BUS}


@pytest.mark.parametrize("written", [[THE, BUS], [THE, SUFFIX, BUS, SUFFIX], [SUFFIX, BUS], [SUFFIX, SUFFIX, THE, MARK]])
def test_at_the_bound_a_row_may_finish_its_word_or_end_but_begin_no_other(written: list[int]) -> None:
    assert allowed(written) == {END, SUFFIX, MARK}


def test_the_first_token_begins_a_word_whether_or_not_a_space_stands_before_it() -> None:
    assert allowed([SUFFIX], max_words=1) == allowed([THE], max_words=1) == {END, SUFFIX, MARK}


def test_the_words_of_the_prompt_do_not_count() -> None:
    assert BUS in allowed([], max_words=1)


def test_each_row_has_a_budget_of_its_own() -> None:
    budget = WordBudget(BEGINS_WORD, prompt_width=len(PROMPT), max_words=2)
    scores = budget(torch.tensor([[*PROMPT, THE, SUFFIX], [*PROMPT, THE, BUS]]), SCORES.repeat(2, 1))
    assert torch.isinf(scores).any(dim=1).tolist() == [False, True]


def test_a_byte_level_vocabulary_marks_words_by_their_space(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(build_tiny_model(tmp_path))
    begins = tokens_that_begin_a_word(tokenizer, len(tokenizer), "cpu")
    holds_space = {token for token in range(len(tokenizer)) if any(map(str.isspace, tokenizer.decode([token])))}
    assert set(torch.nonzero(begins).flatten().tolist()) == holds_space
    ids = tokenizer(" The bus was late", add_special_tokens=False)["input_ids"]
    assert int(begins[ids].sum()) == 4


def test_a_sentencepiece_vocabulary_marks_them_by_its_own_sign_and_padding_begins_nothing() -> None:
    words = {"▁the": 0, "s": 1, ".": 2, "▁": 3, "<unk>": 4}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<unk>")))
    assert tokens_that_begin_a_word(tokenizer, 8, "cpu").tolist() == [True, False, False, True, False, False, False, False]
