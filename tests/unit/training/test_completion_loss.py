"""The loss of completions equals the textbook's, in every layout and for every family: no example sees another, nor padding."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.support.families import MODELS
from workers.errors import UserError
from workers.training.rank.completion_loss import CompletionLoss
from workers.training.rank.examples.conversations import TokenizedExample
from workers.training.rank.examples.rows import first_fit, lay_out
from workers.training.rank.step import check_packing

LENGTHS = [(9, 5), (4, 3), (17, 9), (6, 1), (12, 4)]
"""Tokens of each example, and of its completion."""


@pytest.fixture
def examples() -> list[TokenizedExample]:
    draw = np.random.default_rng(0)
    return [TokenizedExample(draw.integers(1, 96, length).astype(np.int32), answer) for length, answer in LENGTHS]


def textbook(model: Any, examples: list[TokenizedExample]) -> torch.Tensor:
    """One example at a time, from the logits of all of its tokens."""
    summed = torch.zeros(())
    for example in examples:
        logits = model(input_ids=torch.tensor(example.ids[None], dtype=torch.long)).logits[0]
        begin = len(example) - example.completion_length
        targets = torch.tensor(example.completion_ids, dtype=torch.long)
        summed = summed + cross_entropy(logits[begin - 1 : -1].float(), targets, reduction="sum")
    return summed


def with_gradients(model: Any, loss: torch.Tensor) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss.backward()
    return float(loss.detach()), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def differing(one: tuple[float, dict[str, torch.Tensor]], other: tuple[float, dict[str, torch.Tensor]]) -> list[str]:
    """What is not the same in two losses with their gradients: `loss`, or names of parameters."""
    names = sorted(one[1].keys() | other[1].keys())
    apart = [name for name in names if name not in one[1] or name not in other[1]]
    apart += [name for name in names if name not in apart and not torch.allclose(one[1][name], other[1][name], rtol=1e-3, atol=1e-4)]
    return apart if one[0] == pytest.approx(other[0], rel=1e-5) else ["loss", *apart]


@pytest.mark.parametrize(
    ("family", "attention"),
    [*((family, "eager") for family in MODELS), ("llama, tied embeddings", "sdpa"), ("gemma3, two masks", "sdpa")],
)
def test_padded_and_packed_rows_give_the_textbook_loss_and_gradients(family: str, attention: str, examples: list[TokenizedExample]) -> None:
    model = MODELS[family]()
    model.set_attn_implementation(attention)
    expected = with_gradients(model, textbook(model, examples))

    for row_length in (None, 24):
        loss = CompletionLoss(model)(model, lay_out(examples, 0, row_length))
        assert differing(with_gradients(model, loss), expected) == []


def test_no_logits_are_made_of_prompts_and_padding(examples: list[TokenizedExample]) -> None:
    model = MODELS["llama, tied embeddings"]()
    made: list[int] = []
    model.lm_head.register_forward_hook(lambda *call: made.append(call[2].numel()))

    CompletionLoss(model)(model, lay_out(examples, 0))

    assert made == [1]


def test_a_head_that_scales_its_logits_is_found_out_once(examples: list[TokenizedExample]) -> None:
    model = MODELS["granite, scaled logits"]()
    loss = CompletionLoss(model)
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))

    loss(model, lay_out(examples, 0))
    loss(model, lay_out(examples, 0))

    assert len(calls) == 3


def test_the_head_writes_logits_again_after_a_loss(examples: list[TokenizedExample]) -> None:
    model = MODELS["llama, tied embeddings"]()
    ids = torch.tensor([[5, 6, 7]])
    before = model(input_ids=ids).logits

    CompletionLoss(model)(model, lay_out(examples, 0))

    assert torch.equal(model(input_ids=ids).logits, before)


def test_many_targets_are_taken_in_chunks_with_the_same_loss_and_gradients() -> None:
    model = MODELS["llama, tied embeddings"]()
    draw = np.random.default_rng(1)
    many = [TokenizedExample(draw.integers(1, 96, 40).astype(np.int32), 30) for _ in range(4)]

    chunked = with_gradients(model, CompletionLoss(model)(model, lay_out(many, 0)))

    assert differing(chunked, with_gradients(model, textbook(model, many))) == []


def test_an_adapter_on_the_head_is_part_of_the_loss(examples: list[TokenizedExample]) -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(MODELS["qwen2, biases"](), LoraConfig(r=2, target_modules=["lm_head"], init_lora_weights=False))

    loss = CompletionLoss(model)(model, lay_out(examples, 0))

    assert differing(with_gradients(model, loss), with_gradients(model, textbook(model, examples))) == []


def test_packing_fills_rows_first_fit_and_loses_no_example(examples: list[TokenizedExample]) -> None:
    groups = first_fit(examples, 24)

    assert [[len(example) for example in group] for group in groups] == [[17, 6], [12, 9], [4]]


def test_without_packing_there_is_one_example_a_row_and_no_mask_to_build(examples: list[TokenizedExample]) -> None:
    rows = lay_out(examples, pad_id=0)

    assert rows.input_ids.shape == (5, 17)
    assert rows.position_ids is None
    assert rows.input_ids[1].tolist() == [*examples[1].ids.tolist(), *[0] * 13]


class Tattling(torch.nn.Module):
    """A model that is shown a row, and whose tokens see all before them, whatever their positions say: as recurrent ones do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = MODELS["llama, tied embeddings"]()
        self.config = self.inner.config

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.inner.lm_head

    def forward(self, position_ids: torch.Tensor | None = None, **inputs: Any) -> Any:
        return self.inner(**inputs)


@pytest.mark.parametrize("sees", [False, True])
def test_a_model_whose_packed_examples_see_each_other_is_refused(sees: bool, examples: list[TokenizedExample]) -> None:
    model: Any = Tattling() if sees else MODELS["llama, tied embeddings"]()
    object.__setattr__(model, "module", model)  # as an engine has it
    trainer: Any = SimpleNamespace(
        spec=SimpleNamespace(packing=True),
        model=model,
        loss=CompletionLoss(model),
        examples=examples,
        pad_id=0,
        precision=SimpleNamespace(dtype="float32"),
        accelerator=SimpleNamespace(device=torch.device("cpu")),
    )

    with pytest.raises(UserError, match="type llama, examples in a row see each other") if sees else nullcontext():
        check_packing(trainer)
