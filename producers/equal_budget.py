"""Reads recipes of models that are to be compared, and gives each system the same budget: optimizer steps of one global batch.

A system is one recipe, or two joined by `+` whose models become a chain, `clean.yaml+summary.yaml`; these share the steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from producers.recipes import read_training
from schemas.payloads import Stage
from schemas.training import TrainingSpec
from workers.errors import UserError

# What a chain's two models learn.
_PARTS = ({"stage": Stage.CLEAN, "learn_from": "tweet"}, {"stage": Stage.SUMMARY, "learn_from": "clean"})


@dataclass(frozen=True)
class Entrant:
    """What is trained for one system: `specs` of one model, or of a chain's two, as the files `named` say."""

    named: str
    specs: tuple[TrainingSpec, ...]

    @property
    def is_chain(self) -> bool:
        """Whether the two models become one."""
        return len(self.specs) == 2


def read_entrants(named: Sequence[str], overrides: Sequence[str]) -> list[Entrant]:
    """Return the systems that are to be trained. Whatever their recipes say, the first of a pair cleans, the second summarises clean texts.

    Args:
        named: recipes, or two of them joined by `+`.
        overrides: `key=value`, for each recipe.

    Raises:
        RecipeError: a recipe can't be used.
        UserError: the systems would not be comparable, and why.
    """
    entrants = []
    for each in named:
        files = [each] if Path(each).exists() else each.split("+")
        if len(files) > 2:
            raise UserError(f"{each}: a chain is made of two recipes, clean.yaml+summary.yaml")
        specs = [read_training(file, overrides) for file in files]
        if len(specs) == 2:
            specs = [spec.model_copy(update=part) for spec, part in zip(specs, _PARTS, strict=True)]
        entrants.append(Entrant(each, tuple(specs)))
    _check(entrants)
    return entrants


def shared_out(entrants: Sequence[Entrant], steps: int | None, examples: Callable[[TrainingSpec], int]) -> list[Entrant]:
    """Return the systems with `steps` optimizer steps each; a chain's two models share them, the summariser gets an odd one.

    Args:
        entrants: the systems.
        steps: of each; None for as many as the first one's recipe makes.
        examples: returns how many lines a recipe's model is trained on in an epoch.

    Raises:
        UserError: there are too few steps for a chain.
    """
    if steps is None:
        steps = sum(_planned(spec, examples) for spec in entrants[0].specs)
    if steps < max(len(entrant.specs) for entrant in entrants):
        raise UserError(f"--steps {steps}: a chain's two models share them, and each needs one at least")
    return [Entrant(entrant.named, _limited(entrant.specs, steps)) for entrant in entrants]


def _limited(specs: tuple[TrainingSpec, ...], steps: int) -> tuple[TrainingSpec, ...]:
    if len(specs) == 1:
        return (specs[0].model_copy(update={"max_steps": steps}),)
    return tuple(spec.model_copy(update={"max_steps": share}) for spec, share in zip(specs, (steps // 2, steps - steps // 2), strict=True))


def _planned(spec: TrainingSpec, examples: Callable[[TrainingSpec], int]) -> int:
    if spec.max_steps > 0:
        return spec.max_steps
    return max(1, math.ceil(examples(spec) * spec.num_train_epochs / spec.global_batch))


def _check(entrants: Sequence[Entrant]) -> None:
    """Refuse what would compare more than the recipes: other data, other examples a step, other answers."""
    first = entrants[0].specs[-1]
    for entrant in entrants:
        for spec in entrant.specs:
            if spec.dataset != first.dataset:
                raise UserError(
                    f"{entrant.named}: its dataset is {spec.dataset}, and that of {entrants[0].named} is {first.dataset}: recipes are"
                    " compared on one dataset. Give dataset=NAME for all; a chain needs one of `stage: both`"
                )
            if spec.global_batch != first.global_batch:
                raise UserError(
                    f"{entrant.named}: a step learns from {spec.global_batch} examples, in {entrants[0].named} from {first.global_batch}:"
                    " equal steps would not be an equal budget. Set per_device_train_batch_size, gradient_accumulation_steps or world_size"
                )
            if spec.early_stopping_patience:
                raise UserError(f"{entrant.named}: early_stopping_patience may end it before its budget: give early_stopping_patience=0")
        if entrant.specs[-1].stage != first.stage:
            raise UserError(f"{entrant.named}: it writes {entrant.specs[-1].stage.value}, {entrants[0].named} {first.stage.value}")
        if entrant.is_chain and entrant.specs[0].base != entrant.specs[1].base:
            raise UserError(f"{entrant.named}: its two bases differ, and a chain's models share one")
    specs = [entrant.specs for entrant in entrants]
    if any(each in specs[:place] for place, each in enumerate(specs)):
        raise UserError("two of the recipes say the same: there is nothing to compare")
