"""Every method takes a base of every family: it loads, learns, is stored, and answers in the engine as it did in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.chat import Message
from tests.support.model_families import FAMILIES, LAYERS, build_family
from tests.support.ranks import a_spec
from workers.base_models import loading
from workers.base_models.chat_template import chat_format
from workers.base_models.decoder import decoder_layers
from workers.base_models.files import BaseRecord, digest
from workers.inference.engine import Sampling
from workers.inference.local.engine import TransformersEngine
from workers.training.rank.methods import METHODS

PROMPTS = [
    (Message("system", "Summarize the tweet."), Message("user", text)) for text in ("The bus was late again", "Is the library open?")
]
SAMPLING = Sampling(max_new_tokens=8)


class Family:
    """A base on the disk, what it answers, and a warm engine that all methods are tried in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokenizer = loading.load_tokenizer(folder)
        self.ids = torch.tensor([chat_format(self.tokenizer).prompt_ids(PROMPTS[0])])
        self.record = BaseRecord(base=str(folder), sha256=digest(folder))
        self.engine = TransformersEngine(str(folder), device="cpu", dtype="float32")
        self.logits = self.logits_of(self.engine)

    def logits_of(self, engine: TransformersEngine) -> torch.Tensor:
        return self.of(engine._model)

    @torch.no_grad()
    def of(self, model: Any) -> torch.Tensor:
        return model.eval()(input_ids=self.ids).logits.clone()

    @torch.no_grad()
    def written_by(self, model: Any) -> list[str]:
        """The answers token by token, each time with all that came before: without a cache."""
        texts = []
        for prompt in PROMPTS:
            ids = chat_format(self.tokenizer).prompt_ids(prompt)
            new: list[int] = []
            for _ in range(SAMPLING.max_new_tokens):
                new.append(int(model(input_ids=torch.tensor([ids + new])).logits[0, -1].argmax()))
                if new[-1] == self.tokenizer.eos_token_id:
                    break
            texts.append(self.tokenizer.decode(new, skip_special_tokens=True).strip())
        return texts

    def load(self, method: str, **changes: Any) -> torch.nn.Module:
        torch.manual_seed(0)
        spec = a_spec(self.folder, method=method, **changes)
        return METHODS[method].load(spec, self.folder, self.tokenizer, dtype=torch.float32, attn_implementation="eager")

    def train_one_step(self, method: str, model: torch.nn.Module) -> None:
        trained = METHODS[method].trainable(model)
        optimizer = torch.optim.AdamW(trained.values(), lr=1e-2)
        model.train()(input_ids=self.ids, labels=self.ids).loss.backward()
        assert all(parameter.grad is not None for parameter in trained.values())
        optimizer.step()


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    return Family(build_family(request.param, tmp_path_factory.mktemp(request.param)))


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("full", {}),
        ("freeze", {"freeze_trainable_layers": 2}),
        ("expand", {"expand_layers": 2}),
        ("lora", {"use_dora": True, "use_rslora": True}),
    ],
    ids=["full", "freeze", "expand", "lora"],
)
def test_it_answers_in_a_warm_engine_as_it_did_in_training(family: Family, method: str, changes: dict[str, Any], tmp_path: Path) -> None:
    # Given a model that begins as its base and has learnt something
    model = family.load(method, **changes)
    torch.testing.assert_close(family.of(model), family.logits, atol=1e-4, rtol=1e-4)
    family.train_one_step(method, model)
    learnt = family.of(model)
    assert (learnt - family.logits).abs().max() > 1e-3
    # When it is stored and put on a base in memory
    METHODS[method].export(model, tmp_path / "tuned", family.record, METHODS[method].trainable(model).items())
    answers = family.engine.generate(PROMPTS, SAMPLING, tmp_path / "tuned")
    # Then it is the same there, caches included; the base is itself again afterwards, to the bit
    torch.testing.assert_close(family.logits_of(family.engine), learnt, atol=1e-4, rtol=1e-4)
    assert [generation.texts[0] for generation in answers] == family.written_by(model)
    family.engine.generate(PROMPTS, SAMPLING)
    assert torch.equal(family.logits_of(family.engine), family.logits)
    assert digest(family.folder) == family.record.sha256


def test_freeze_trains_the_last_layers_and_the_final_norm_or_the_first_layers(family: Family) -> None:
    last, first = (family.load("freeze", freeze_trainable_layers=count) for count in (1, -3))
    trained = {id(parameter) for parameter in METHODS["freeze"].trainable(last).values()}
    of_layers = {id(parameter) for parameter in decoder_layers(last)[-1].parameters()}
    assert of_layers < trained
    others = [name for name, parameter in METHODS["freeze"].trainable(last).items() if id(parameter) not in of_layers]
    assert {name.rpartition(".")[0] for name in others} <= {"model.norm", "transformer.ln_f"}, "and nothing but the final norm"
    assert others
    frozen = [any(parameter.requires_grad for parameter in layer.parameters()) for layer in decoder_layers(first)]
    assert frozen == [True, True, True, False]


def test_expand_spreads_its_layers_over_the_depth_and_trains_nothing_else(family: Family) -> None:
    model: Any = family.load("expand", expand_layers=2)
    layers = decoder_layers(model)
    assert model.config.num_hidden_layers == len(layers) == LAYERS + 2
    assert [place for place, layer in enumerate(layers) if any(each.requires_grad for each in layer.parameters())] == [2, 5]
    in_layers = sum(each.numel() for place in (2, 5) for each in layers[place].parameters())
    assert sum(each.numel() for each in METHODS["expand"].trainable(model).values()) == in_layers
