"""Limit what the fields of a payload may hold, so that JSON and Postgres keep it and every library takes it.

A new payload must keep all limits. A stored one, of an earlier version, need only be one that can be kept: pass
`context=STORED` when reading it.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo

from schemas.numbers import LARGEST_BIGINT

STORED = {"stored": True}
"""The context of validation for a payload that was asked for before."""

LONGEST_VALUE = 100_000
"""Characters of one value."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_LONGEST_SOURCE = 200
_JOINERS = {"\u200c", "\u200d"}
_NAME = re.compile(r"\w[\w.-]*")


def kept(value: Any) -> Any:
    """Return the value, which JSON and Postgres can keep.

    Raises:
        ValueError: a number past 64 bits, or a text that is too long, holds a NUL, or is not Unicode.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST_BIGINT:
        raise ValueError(f"the number is too large: at most {LARGEST_BIGINT}")
    if isinstance(value, str):
        if len(value) > LONGEST_VALUE:
            raise ValueError(f"the text is too long: at most {LONGEST_VALUE:,} characters")
        if "\x00" in value or _SURROGATE.search(value):
            raise ValueError("the text holds a NUL character or half of a surrogate pair, which no database keeps")
    return value


def usable_name(name: str) -> str:
    """Return the name, which can be typed on a command line and be part of a file's name.

    Raises:
        ValueError: it can't, and why.
    """
    if not _NAME.fullmatch(name) or name == "latest":
        raise ValueError("letters, digits, _, . and - make a name, which begins with neither . nor -, and is not latest: choose another")
    return name


def usable_source(name: str) -> str:
    """Return the name of a source of tweets: any text that can be seen, and typed behind an option.

    Raises:
        ValueError: it can't, and why.
    """
    if not name.strip() or len(name) > _LONGEST_SOURCE:
        raise ValueError(f"a source's name has 1 to {_LONGEST_SOURCE} characters")
    if name.startswith("-"):
        raise ValueError("a source's name does not begin with -, which would make an option of it: give another with --source")
    if name != name.strip() or any(
        unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in _JOINERS for character in name
    ):
        raise ValueError("a source's name has no control or invisible character, and no space at its ends: give another with --source")
    return name


def _new_name(name: str, info: ValidationInfo) -> str:
    return name if info.context == STORED else usable_name(name)


def _new_seed(seed: int, info: ValidationInfo) -> int:
    if seed < 0 and info.context != STORED:
        raise ValueError(f"a seed is a whole number from 0 to {LARGEST_BIGINT}")
    return seed


Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_new_name)]
"""What a dataset or a model is called from now on."""

Seed = Annotated[int, AfterValidator(_new_seed)]
"""Where what is drawn begins; the same one gives the same result."""
