"""Packed weights give the same products, of the weights as they are, and take no more memory than there is to spare."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from schemas.payloads import Stage
from tests.support.tiny_model import build_tiny_adapter, build_tiny_model
from workers.inference.engine import Sampling
from workers.inference.local import packing
from workers.inference.local.engine import TransformersEngine
from workers.inference.local.packing import PackedLayers
from workers.text.prompts import tuned

PROMPTS = [tuned(tweet, Stage.SUMMARY) for tweet in ("The bus was late.", "Do you know if the library is open?")]


@pytest.fixture(autouse=True)
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_SMALLEST", 1)


class Doubled(torch.nn.Linear):
    """A layer that does more than multiply."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs) * 2


@pytest.fixture
def layers() -> torch.nn.Sequential:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(96, 200), torch.nn.Linear(200, 33, bias=False), Doubled(33, 7)).eval()


@pytest.mark.parametrize("shape", [(1, 96), (64, 96), (3, 40, 96), (130, 1, 96)])
def test_products_are_the_same_until_and_after_it_is_undone(layers: torch.nn.Sequential, shape: tuple[int, ...]) -> None:
    inputs = torch.randn(shape)
    with torch.inference_mode():
        plain = layers(inputs)
        packed = PackedLayers(layers)
        assert len(packed) == 2, "all but the one that does more"
        torch.testing.assert_close(layers(inputs), plain)
        packed.undo()
        assert len(packed) == 0
        assert torch.equal(layers(inputs), plain)


def test_weights_that_changed_count_once_it_is_undone(layers: torch.nn.Sequential) -> None:
    inputs = torch.randn(5, 96)
    with torch.inference_mode():
        packed = PackedLayers(layers)
        before = layers(inputs)
        layers[0].weight.zero_()
        assert torch.equal(layers(inputs), before), "what is packed is a copy"
        packed.undo()
        changed = layers(inputs)
        assert not torch.allclose(changed, before)
        assert len(PackedLayers(layers)) == 2
        assert torch.allclose(layers(inputs), changed, atol=1e-6)


def test_copies_that_memory_has_no_room_for_are_not_made(layers: torch.nn.Sequential, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(layer.weight.nbytes for layer in layers[:2])
    monkeypatch.setattr(packing, "host_memory", lambda: 4 * size - 1)
    assert len(PackedLayers(layers)) == 0
    monkeypatch.setattr(packing, "host_memory", lambda: 4 * size)
    assert len(PackedLayers(layers)) == 2


def test_small_matrices_stay_as_they_are(layers: torch.nn.Sequential, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_SMALLEST", 96 * 200)
    assert len(PackedLayers(layers)) == 1


def test_other_types_stay_as_they_are(layers: torch.nn.Sequential) -> None:
    assert len(PackedLayers(layers.to(torch.bfloat16))) == 0


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.arange(3, 40).unsqueeze(0)).logits
    return found


def test_an_engine_packs_what_answers_whichever_model_that_is(tmp_path: Path) -> None:
    base = build_tiny_model(tmp_path / "base")
    adapter = build_tiny_adapter(base, tmp_path / "adapter")
    engine = TransformersEngine(str(base), device="cpu", dtype="float32")
    for asked in (None, adapter, None):
        plain = TransformersEngine(str(base), device="cpu", dtype="float32").model_of(asked)
        engine.generate(PROMPTS, Sampling(4), asked)
        answering = engine.model_of(asked)
        linear = [layer for layer in answering.modules() if type(layer) is torch.nn.Linear]
        assert linear
        assert all("forward" in vars(layer) for layer in linear)
        torch.testing.assert_close(logits(answering), logits(plain))
