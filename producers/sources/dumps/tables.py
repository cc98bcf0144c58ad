"""Turns tables that JSON holds by column, as pandas and columnar tools write them, into rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from producers.sources.lines import Fields, RefusalError


def rows_of(document: Fields, text: object) -> Iterator[Fields | RefusalError] | None:
    """Return the rows of a table by column, None where the document is none. `text` is what it has in place of a tweet's text."""
    columns, data = document.get("columns"), document.get("data")
    if isinstance(columns, list) and isinstance(data, list):
        return _split(columns, data)
    if isinstance(text, list) and _are_texts(text):
        return _by_list(document, len(text))
    if isinstance(text, Mapping) and _are_texts(text.values()) and all(key.isdecimal() for key in text):
        return _by_index(document, list(text))
    return None


def _are_texts(values: Collection[object]) -> bool:
    """Whether they may be a column of texts, some of which are missing: NaN is a number."""
    return any(isinstance(value, str) for value in values) and all(isinstance(value, str | float | None) for value in values)


def _split(columns: list[object], data: list[object]) -> Iterator[Fields | RefusalError]:
    names = [str(name) for name in columns]
    for values in data:
        if isinstance(values, list) and len(values) == len(names):
            yield dict(zip(names, values, strict=True))
        else:
            yield RefusalError("data", f"the row has not {len(names)} values, as there are columns")


def _by_list(document: Fields, number: int) -> Iterator[Fields | RefusalError]:
    columns = {name: values for name, values in document.items() if isinstance(values, list)}
    lengths = sorted({len(values) for values in columns.values()})
    if lengths != [number]:
        yield RefusalError(None, f"the columns are not of one length, but of {', '.join(map(str, lengths[:5]))}")
        return
    for place in range(number):
        yield {name: values[place] for name, values in columns.items()}


def _by_index(document: Fields, index: list[str]) -> Iterator[Fields]:
    columns = {name: values for name, values in document.items() if isinstance(values, dict)}
    for key in index:
        yield {name: values.get(key) for name, values in columns.items()}
