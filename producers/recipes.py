"""Reads recipes: YAML files that describe a job, and `key=value` on the command line, which wins over them."""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from producers import recipe_file
from producers.recipe_file import Document, RecipeError, Values
from schemas.payloads import Payload
from schemas.synthesis import Columns, ImportSource, SynthesisSpec, TeacherSource
from schemas.training import TrainingSpec
from workers.errors import NotFound
from workers.ingest import prompt_templates
from workers.ingest.counts import Counts
from workers.ingest.curated import import_collection, import_pairs
from workers.settings import get_settings

P = TypeVar("P", bound=Payload)

_NOTHING = ("null", "none", "~")


def read(path: Path | str, overrides: Sequence[str], spec: type[P], files: Mapping[str, Callable[[Path], object]] | None = None) -> P:
    """Return the spec that a recipe describes, checked.

    Args:
        path: a YAML file, a mapping of the spec's fields.
        overrides: `key=value`, with dots for nested fields: `noise.copies=3`. `null` unsets an optional field.
        spec: what the recipe is for.
        files: keys whose text is the path of a file, from the recipe's folder or the current one, and what reads it.

    Raises:
        RecipeError: naming the file, the key and the reason.
    """
    path = Path(path)
    annotations = _annotations(spec)
    document = recipe_file.read(path, lambda name: name in annotations and _takes_text(annotations[name]))
    values = _overridden(document.values, overrides, spec)
    for key, read_file in (files or {}).items():
        named = values.get(key)
        if isinstance(named, str):
            values = {**values, key: read_file(_find(named, path.parent))}
    return _checked(path, document, values, overrides, spec)


def read_synthesis(path: Path | str, overrides: Sequence[str] = (), on_file: Callable[[Path, Counts], None] | None = None) -> SynthesisSpec:
    """Return the spec of a dataset, with the files that it names imported into Postgres.

    Args:
        path: the recipe; `pairs`, `sentences`, `imports.file` and `teacher.prompt` are paths, from its folder or the current one.
        overrides: as in `read`.
        on_file: called with each file and what became of its lines.

    Raises:
        RecipeError: as in `read`.
        UserError: a file is missing or holds nothing that can be used.
    """
    path = Path(path)
    spec = read(path, overrides, SynthesisSpec)
    collections: dict[str, str] = {}
    for kind in ("pairs", "sentences"):
        named = getattr(spec, kind)
        if named is not None:
            file = _find(named, path.parent)
            on_done = (lambda counts, file=file: on_file(file, counts)) if on_file else None
            collections[kind] = import_collection(file, kind, on_done)
    imported = spec.model_copy(update=collections)
    if spec.teacher is not None:
        imported = imported.model_copy(update={"teacher": _import_of_teacher(spec.teacher, path.parent)})
    if spec.imports is None:
        return imported
    return imported.model_copy(update={"imports": import_source(spec.imports, path.parent, on_file)})


def _import_of_teacher(teacher: TeacherSource, folder: Path) -> TeacherSource:
    """Return the teacher with its prompt's checked text in place of the file's name, and with the folder of a local model."""
    imported: dict[str, str] = {}
    if teacher.prompt is not None:
        imported["prompt"] = prompt_templates.read(_find(teacher.prompt, folder))
    if teacher.engine == "local":
        imported["model"] = resolve_base(teacher.model)
    return teacher.model_copy(update=imported)


def import_source(source: ImportSource, folder: Path, on_file: Callable[[Path, Counts], None] | None = None) -> ImportSource:
    """Import the file of a source, whose path starts at `folder` or at the current one; return the source with its collection.

    Raises:
        UserError: the file is missing or holds nothing that can be used.
    """
    file = _find(source.file, folder)
    on_done = (lambda counts: on_file(file, counts)) if on_file else None
    columns = source.map or Columns()
    imported = import_pairs(file, source.form, columns, on_done, source.encoding, strip_instruction=source.strip_instruction)
    return source.model_copy(update={"file": imported})


def read_training(path: Path | str, overrides: Sequence[str] = ()) -> TrainingSpec:
    """Return the spec of a training run, with its base resolved to an absolute folder where there is one, and with its DeepSpeed config.

    Raises:
        RecipeError: as in `read`; or the file that `deepspeed` names can't be used.
        NotFound: the base is a path that does not exist.
    """
    spec = read(path, overrides, TrainingSpec, {"deepspeed": _deepspeed_config})
    return spec.model_copy(update={"base": resolve_base(spec.base)})


def _deepspeed_config(file: Path) -> dict[str, Any]:
    """Return the JSON object of a DeepSpeed config file."""
    try:
        config = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise RecipeError(f"deepspeed: there is no file {file}. Give the path of a DeepSpeed config, from the recipe's folder") from None
    except OSError as error:
        raise RecipeError(f"deepspeed: {file} can't be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise RecipeError(f"deepspeed: {file}, line {error.lineno}: not JSON ({error.msg})") from None
    except (ValueError, RecursionError):
        raise RecipeError(f"deepspeed: {file} is not JSON") from None
    if not isinstance(config, dict):
        raise RecipeError(f'deepspeed: {file} holds no JSON object: a DeepSpeed config is one, such as {{"zero_optimization": {{…}}}}')
    return config


def resolve_base(base: str) -> str:
    """Return the folder of a base model: in the models folder or at that path; else, unchanged, what may be a hub id.

    Raises:
        NotFound: it can be no hub id, and there is no such folder.
    """
    models = get_settings().models_folder
    named = Path(base).expanduser()
    for folder in (models / named, named):
        if (folder / "config.json").is_file():
            return str(folder.resolve())
    if named.is_absolute() or base.startswith((".", "~")) or base.count("/") > 1:
        there = sorted(found.parent.name for found in models.glob("*/config.json"))
        raise NotFound(f"base {base}: no folder with a config.json. In {models} there is {', '.join(there) or 'nothing'}")
    return base


def _find(named: str, folder: Path) -> Path:
    path = Path(named).expanduser()
    beside_the_recipe = folder / path
    return beside_the_recipe if beside_the_recipe.exists() else path


def _overridden(values: Values, overrides: Sequence[str], spec: type[BaseModel]) -> Values:
    annotations = _annotations(spec)
    for override in overrides:
        key, equals, value = (part.strip() for part in override.partition("="))
        if not equals or not key:
            raise RecipeError(f"{override}: write overrides as key=value, such as {next(iter(annotations))}=…")
        if key not in annotations:
            raise RecipeError(f"{key}: there is no such key{_meant(key, annotations)}")
        values = _with(values, key.split("."), _typed(value, annotations[key]))
    return values


def _with(values: Values, keys: Sequence[str], value: object) -> Values:
    """`values` with what lies at the end of `keys` replaced."""
    first, *rest = keys
    if not rest:
        return {**values, first: value}
    inner = values.get(first)
    return {**values, first: _with(inner if isinstance(inner, dict) else {}, rest, value)}


def _annotations(spec: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Return the types of all fields, nested ones under their dotted names."""
    found: dict[str, Any] = {}
    for name, field in spec.model_fields.items():
        found[prefix + name] = field.annotation
        for choice in _choices(field.annotation):
            if isinstance(choice, type) and issubclass(choice, BaseModel):
                found |= _annotations(choice, f"{prefix}{name}.")
    return found


def _choices(annotation: Any) -> tuple[Any, ...]:
    return typing.get_args(annotation) if typing.get_origin(annotation) in (types.UnionType, typing.Union) else (annotation,)


def _typed(value: str, annotation: Any) -> object:
    """Return the value as YAML would read it, except that text stays text: `name=007` is a name."""
    choices = _choices(annotation)
    if type(None) in choices and value.lower() in _NOTHING:
        return None
    return value if _takes_text(annotation) else recipe_file.value_of(value)


def _takes_text(annotation: Any) -> bool:
    return any(isinstance(choice, type) and issubclass(choice, str) for choice in _choices(annotation))


def _checked(path: Path, document: Document, values: Values, overrides: Sequence[str], spec: type[P]) -> P:
    try:
        return spec.model_validate(values)
    except ValidationError as error:
        known = _annotations(spec)
        given = {override.partition("=")[0].strip() for override in overrides}
        lines = {name: line for name, line in document.lines.items() if name not in given}
        wrong = error.errors(include_url=False, include_input=False)
        reasons = (_reason(one["type"], one["loc"], one["msg"], known) + _where(one["loc"], lines) for one in wrong)
        raise RecipeError(f"{path}: {'; '.join(reasons)}") from None


def _where(location: tuple[int | str, ...], lines: dict[str, int]) -> str:
    """Return the line of a key, or of what it stands in; nothing for what came from the command line or is missing."""
    line = lines.get(".".join(map(str, location)))
    return f" (line {line})" if line else ""


def _reason(kind: str, location: tuple[int | str, ...], message: str, known: Iterable[str]) -> str:
    key = ".".join(map(str, location))
    if kind == "extra_forbidden":
        return f"{key}: there is no such key{_meant(key, known)}"
    if kind == "missing":
        return f"{key}: it is missing; add it to the recipe or give {key}=…"
    message = message.removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def _meant(key: str, known: Iterable[str]) -> str:
    known = list(known)
    begin_so = [name for name in known if name.startswith(key)]
    near = list(dict.fromkeys([*begin_so, *difflib.get_close_matches(key, known, n=3, cutoff=0.5)]))[:3]
    return f"; did you mean {' or '.join(near)}?" if near else f". There are {', '.join(known)}"
