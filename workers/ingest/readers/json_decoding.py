"""Decoders of one JSON document: NaN is none, and a key that is there twice with different values is refused."""

from __future__ import annotations

import json
from typing import Any

from workers.ingest.readers.errors import RowError
from workers.ingest.readers.text import field_name


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen and seen[key] != value:
                raise RowError(field_name((key,)), "the key stands twice with different values")
            seen[key] = value
    return found


def _none(_: str) -> None:
    """NaN and infinities, which JSON has not, are none."""


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_none)
LENIENT = json.JSONDecoder(parse_constant=_none, parse_int=_none, parse_float=_none)
"""Finds the end of what can be read but not be used."""
