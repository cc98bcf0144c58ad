"""Read dotted paths of JSON documents, `user.screen_name` or `entities.urls.0.url`, and unwrap what databases export."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

LONGEST_NAME = 40  # characters
_NAMES_SHOWN = 20
_NAME = re.compile(r"""(?=.*[A-Za-z])(?!.*://)[^"{}<>\s]+""", re.ASCII)

# How MongoDB's extended JSON writes what JSON has no type for.
_WHOLE_NUMBERS = ("$numberLong", "$numberInt")
_OTHER_VALUES = ("$oid", "$date", "$numberDouble", "$numberDecimal", "$uuid", "$symbol")


def value_at(document: object, path: str) -> object:
    """Return the value at a dotted path, None where there is none. A key that is the whole path goes first, as in flat tables.

    Numbers in a path count the items of a list from 0.
    """
    if isinstance(document, Mapping) and path in document:
        return plain_value(document[path])
    found = document
    for step in path.split("."):
        found = _step(plain_value(found), step)
    return plain_value(found)


def plain_value(value: object) -> object:
    """Return a value out of extended JSON's wrapper (`{"$numberLong": "5"}` is 5), and None for NaN, which pandas writes for none."""
    if isinstance(value, str):
        return value
    while isinstance(value, Mapping) and len(value) == 1:
        ((name, inner),) = value.items()
        if name in _WHOLE_NUMBERS:
            return int(inner) if isinstance(inner, str) and inner.lstrip("-").isdecimal() and len(inner) < 25 else inner
        if name not in _OTHER_VALUES:
            return value
        value = inner
    return None if isinstance(value, float) and math.isnan(value) else value


def names_in(document: Mapping[Any, object]) -> str:
    """Return the names of an object's keys, those of the objects in it by their paths, as far as they look like names: never a value."""
    names: list[str] = []
    for key, value in document.items():
        inner = plain_value(value)
        if len(names) >= _NAMES_SHOWN:
            break
        if isinstance(inner, Mapping) and inner:
            names += [f"{key}.{below}" for below in list(inner)[:_NAMES_SHOWN] if _is_name(below)] if _is_name(key) else []
        elif _is_name(key):
            names.append(str(key))
    more = ", …" if len(names) > _NAMES_SHOWN or len(document) > _NAMES_SHOWN else ""
    return (", ".join(names[:_NAMES_SHOWN]) or "none that look like names") + more


def _is_name(key: object) -> bool:
    # The keys of a table may be texts themselves: those are not named.
    return isinstance(key, str) and key.isascii() and key.isprintable() and len(key) <= LONGEST_NAME and _NAME.fullmatch(key) is not None


def _step(document: object, step: str) -> object:
    if isinstance(document, Mapping):
        return document.get(step)
    if isinstance(document, list) and step.isdecimal() and len(step) < 10 and int(step) < len(document):
        return document[int(step)]
    return None
