"""What a dataset is made of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

from schemas.payloads import Stage
from workers.synthesis.splits import Split


@dataclass(frozen=True)
class ExampleRow:
    """One example to learn from or to be tested on. `lineage` says what it was made of and how."""

    stage: Stage
    prompt_text: str
    target_text: str
    origin: Literal["human", "noise", "teacher", "import"]
    lineage: dict[str, object]
    split: Split
    cluster: int

    @property
    def example_key(self) -> str:
        """A stable name: SHA-256, in hex, of stage, prompt, target and origin."""
        return sha256(json.dumps([self.stage.value, self.prompt_text, self.target_text, self.origin]))


@dataclass(frozen=True)
class RejectedPair:
    """A pair that could not be used; `key` is its tweet's id, or the file and place of an imported one."""

    key: str
    field: str | None
    reason: str


@dataclass(frozen=True)
class Built:
    """A dataset, what was refused, and how many rows became what."""

    examples: list[ExampleRow]
    rejected: list[RejectedPair]
    counts: dict[str, int]


def sha256(text: str) -> str:
    """The SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()
