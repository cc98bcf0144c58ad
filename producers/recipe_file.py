"""Parses recipes as YAML the way that people mean it.

What YAML 1.1 makes of plain words is left out: `no` and `on` are words, `010` and `1:30` are no numbers of another base, a day is no
date. A field of text takes what stands there. Keys that stand twice, and files that grow when they are read, are refused by line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from workers.errors import SettingsError

Values = dict[str, Any]

_LARGEST_FILE = 1 << 20
_MOST_NODES = 100_000
_LONGEST_NUMBER = 1000  # characters

_TEXT, _NULL = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"
_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float")}


class RecipeError(SettingsError):
    """The recipe can't be used as it is."""


@dataclass(frozen=True)
class Document:
    """What a recipe says. `lines` has the line of each key, nested ones under their dotted names."""

    values: Values
    lines: dict[str, int] = field(default_factory=dict)


class _Loader(yaml.SafeLoader):
    """Of the core schema, with a bound on what aliases multiply."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - filled by PyYAML's own way, below

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._nodes = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return a node, counted with all that hangs on it, once more for each alias."""
        before, mark = self._nodes, self.peek_event().start_mark  # type: ignore[no-untyped-call]
        alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if alias and id(node) not in self._sizes:
            raise yaml.MarkedYAMLError(problem="an alias stands within what it stands for", problem_mark=mark)
        self._nodes += self._sizes[id(node)] if alias else 1
        self._sizes.setdefault(id(node), self._nodes - before)
        if self._nodes > _MOST_NODES:
            raise yaml.MarkedYAMLError(problem=f"with its aliases it has more than {_MOST_NODES:,} values", problem_mark=mark)
        return node


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (_NULL, r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("tag:yaml.org,2002:float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("tag:yaml.org,2002:merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), list(_first))


def read(path: Path, is_text: Callable[[str], bool]) -> Document:
    """Return the recipe in a file.

    Args:
        path: of the file.
        is_text: whether the field of this name, dotted where it is nested, takes text.

    Raises:
        RecipeError: naming the file, the line and the reason.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        raise RecipeError(f"{path}: there is no such recipe") from None
    except IsADirectoryError:
        raise RecipeError(f"{path} is a folder: name a recipe in it") from None
    if len(content) > _LARGEST_FILE:
        raise RecipeError(f"{path} is larger than 1 MiB: is it a recipe?")
    try:
        written = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RecipeError(f"{path} is not UTF-8: is it a recipe?") from None
    return _parsed(f"{path}", written, is_text)


def value_of(written: str) -> object:
    """Return a value as a recipe would read it; what is no YAML is text."""
    try:
        return _loaded(written, lambda _: False, {})
    except (yaml.YAMLError, RecursionError, ValueError):
        return written


def _parsed(named: str, written: str, is_text: Callable[[str], bool]) -> Document:
    lines: dict[str, int] = {}
    try:
        values = _loaded(written, is_text, lines)
    except yaml.reader.ReaderError as error:
        line = written.count("\n", 0, error.position) + 1
        raise RecipeError(f"{named}, line {line}: a control character stands there, which YAML does not allow") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise RecipeError(f"{named}{where}: not valid YAML ({_told(error)})") from None
    except RecursionError:
        raise RecipeError(f"{named}: not valid YAML (it is nested too deeply)") from None
    except ValueError:
        raise RecipeError(f"{named}: not valid YAML (a number has too many digits, or a value does not fit its tag)") from None
    if values is None:
        raise RecipeError(f"{named}: it is empty; a recipe is a mapping of `key: value` lines")
    if not isinstance(values, dict):
        what = "a list" if isinstance(values, list) else "a single value"
        raise RecipeError(f"{named}: it is {what}; a recipe is a mapping of `key: value` lines")
    return Document({str(key): value for key, value in values.items()}, lines)


def _told(error: yaml.YAMLError) -> str:
    problem = str(getattr(error, "problem", None) or "unreadable")
    if "another document" in problem:
        return "a second document begins with ---; a recipe is one"
    if r"'\t'" in problem:
        return "a tab stands there: indent with spaces"
    if "constructor for the tag" in problem:
        return f"{problem.removeprefix('could not determine a constructor for ')}: leave tags, which begin with !, out"
    return problem


def _loaded(written: str, is_text: Callable[[str], bool], lines: dict[str, int]) -> object:
    loader = _Loader(written)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _visit(node, "", is_text, lines)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _visit(node: yaml.Node, prefix: str, is_text: Callable[[str], bool], lines: dict[str, int]) -> None:
    """Note the line of each key, refuse one that stands twice, and let what a field of text is given be text."""
    if not isinstance(node, yaml.MappingNode):
        return
    first: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key is one word", problem_mark=key.start_mark)
        if key.value in first and key.value != "<<":
            problem = f"the key {key.value} stands twice, first in line {first[key.value]}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        first[key.value] = line
        name = f"{prefix}{key.value}"
        lines.setdefault(name, line)
        if isinstance(value, yaml.ScalarNode) and value.tag in _PLAIN:
            if is_text(name):
                value.tag = _TEXT
            elif len(value.value) > _LONGEST_NUMBER:
                raise yaml.MarkedYAMLError(problem=f"the number of {name} has too many digits", problem_mark=value.start_mark)
        _visit(value, f"{name}.", is_text, lines)
