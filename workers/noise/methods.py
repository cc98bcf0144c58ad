"""Chooses the noise of a dataset: one observed style for each text, or fixed operations at the corpus's rates."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, Protocol

from workers.files import sha256
from workers.noise.fitting import profile
from workers.noise.fitting.rates import NoiseRates, measure
from workers.noise.operations import fixed_rates
from workers.noise.operations.fitted_style import Fitted
from workers.noise.operations.fixed_rates import Noisy


class Noising(Protocol):
    """A noise that is ready to be applied."""

    @property
    def name(self) -> str:
        """`fitted` or `fixed`."""

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of all that it learnt."""

    def apply(self, sentence: str, rng: random.Random) -> Noisy:
        """Apply noise to one clean text; the same generator state gives the same noise."""


class Fixed:
    """Each operation by itself, at the corpus's mean rate."""

    name = "fixed"

    def __init__(self, rates: NoiseRates) -> None:
        self.rates = rates
        self.fingerprint = sha256(rates.model_dump_json())

    def apply(self, sentence: str, rng: random.Random) -> Noisy:
        """Apply noise to one clean text."""
        return fixed_rates.apply(sentence, self.rates, rng)


def learn(wanted: Literal["fitted", "fixed"], tweets: Sequence[str]) -> Noising:
    """Learn the noise of these tweets. Too few of them get the fixed one, whatever was wanted: its `name` says so."""
    if wanted == "fixed" or len(tweets) < profile.FEWEST_TWEETS:
        return Fixed(measure(tweets))
    from workers.noise.fitting.dictionary import frequencies

    return Fitted(profile.fit(tweets, frequencies()))
