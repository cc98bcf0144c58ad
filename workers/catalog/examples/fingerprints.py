"""The key of an example and the fingerprint of a dataset: SHA-256 of what they hold, so that equal content has an equal name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from itertools import groupby

from workers.files import sha256


def example_key(stage: str, prompt: str, target: str, origin: str) -> str:
    """Return an example's key: the SHA-256, in hex, of its stage, prompt, target and origin."""
    return sha256(json.dumps([stage, prompt, target, origin]))


def dataset_fingerprint(examples: Iterable[tuple[str, str]]) -> str:
    """Return a dataset's fingerprint: the SHA-256, in hex, of its lines `SPLIT KEY`.

    Args:
        examples: the split and the key of each example, sorted; one that comes twice counts once.
    """
    digest = hashlib.sha256()
    separator = b""
    for (split, key), _ in groupby(examples):
        digest.update(separator + f"{split} {key}".encode())
        separator = b"\n"
    return digest.hexdigest()
