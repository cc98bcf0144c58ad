"""Runs an export job: writes a model as other programs load it, and lets nobody have it before the round trip found it the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlmodel import Session, select

from schemas.payloads import ExportSpec
from schemas.tables.models import Model
from workers import files
from workers.base_models import files as base_files
from workers.base_models import loading
from workers.catalog import chains, model_card, models
from workers.catalog.additions import FOLDER as ADDED
from workers.catalog.additions import MERGED, SERVED
from workers.database import session
from workers.errors import UserError
from workers.evaluation import rows as held
from workers.exports import chain_script, children, formats, hub_ids, layout, readme, room
from workers.exports.formats import Part
from workers.exports.layout import Record
from workers.exports.roundtrip import check
from workers.jobs.context import JobContext, Outcome
from workers.settings import get_settings

FOLDER = "exports"
"""Below the models folder: where exports lie that nobody gave a place."""

_PART = re.compile(r"(\d+)-.+")
"""What the folder of a chain's part is called: its place, and the name that the model had."""


def export(context: JobContext, spec: ExportSpec, run: children.Run = children.run) -> Outcome:
    """Export the model of `spec`, or check an export of it that is there.

    Raises:
        UserError: it can't be exported so, lies on a server, the export is not the same model, or there is no room or right to write it.
    """
    with room.told():
        return _exported(context, spec, run)


def _exported(context: JobContext, spec: ExportSpec, run: children.Run) -> Outcome:
    with session() as opened:
        model = models.by_id(opened, spec.model_id)
        parts = [_part(opened, part, spec) for part in chains.parts(opened, model)]
    folder = Path(spec.folder) if spec.folder else _default_folder(model, spec)
    if spec.verify:
        return Outcome(_verified(context, spec, model, parts, folder, run))
    return Outcome(_written(context, spec, model, parts, folder, run))


def _part(opened: Session, model: Model, spec: ExportSpec) -> Part:
    """Return what is known of a model before anything is written, after a look at whether it can be exported."""
    if model.method == SERVED:
        raise UserError(f"model {model.name} lies on a server, which has its weights: there is nothing here to export")
    base = Path(models.locate_base(model.base))
    folder = base if base.is_dir() else loading.fetch_base(model.base)
    base_files.check(folder)
    sha256 = base_files.digest(folder, get_settings().models_folder)
    if model.adapter is not None:
        base_files.check_record(model.adapter, base_files.BaseRecord.read(model.adapter), model.base, sha256)
    found = hub_ids.find(model.base, folder, spec.base_id, _added_from(opened, folder))
    scored = held.of_references(opened, spec.references) if spec.references else held.held_back(opened, [model])
    # A name of two parts would be read as an id of the hub's.
    front = {"base_model": found.hub or Path(model.base).name, **found.licence}
    card = model_card.of_model(opened, model, front | formats.front_of(spec.format, model, front["base_model"]))
    return Part(model, folder, sha256, found.hub, found.licence.get("license", ""), card, tuple(scored[: spec.check]))


def _added_from(opened: Session, base: Path) -> str:
    """Return what the whole model of this folder was copied from: a hub id, or a folder's name; empty where no model is called so."""
    added = select(Model).where(Model.method == MERGED, Model.base == str(Path(ADDED) / base.name))
    row = opened.exec(added).first()
    return str(row.details.get("added_from", "")) if row is not None else ""


def _default_folder(model: Model, spec: ExportSpec) -> Path:
    places = get_settings().models_folder / FOLDER
    places.mkdir(parents=True, exist_ok=True)
    quant = f"-{formats.quant_of(spec)}" if formats.quant_of(spec) else ""
    return places / f"{model.name}-{spec.format}{quant}"


def _written(context: JobContext, spec: ExportSpec, model: Model, parts: Sequence[Part], folder: Path, run: children.Run) -> dict[str, Any]:
    layout.check_free(folder)
    for part in parts:
        formats.check(part, spec)
    aside = folder.with_name(f".{folder.name}.{str(context.job)[:8]}.partial")
    with _place_of(folder, aside), files.atomic_folder(folder, aside, replace=True):
        aside.mkdir()
        if len(parts) == 1:
            told = [_export_part(context, spec, parts[0], aside, run)[0]]
        else:
            exported = [_export_part(context, spec, part, place, run) for part, place in _parts_of_chain(parts, aside)]
            told = [found for found, _ in exported]
            _write_chain(spec, model, parts, [described for _, described in exported], aside)
        listed = layout.listed(aside)
    return _result(folder, spec, told, parts) | {"files": listed}


@contextmanager
def _place_of(folder: Path, aside: Path) -> Iterator[None]:
    """Say by the name that the user gave why its folder can't be made beside it, or not take its place.

    Raises:
        UserError: it can't.
    """
    try:
        yield
    except OSError as error:
        if str(error.filename) != str(aside) or room.is_full(error):
            raise
        raise UserError(
            f"{folder} can't be made ({error.strerror}): let the worker write to {folder.parent}, or name another folder with -o"
        ) from None


def _parts_of_chain(parts: Sequence[Part], folder: Path) -> list[tuple[Part, Path]]:
    """Return the parts of a chain with the folders that are theirs."""
    return [(part, folder / f"{number}-{part.model.name}") for number, part in enumerate(parts, 1)]


def _found_of_chain(parts: Sequence[Part], folder: Path) -> list[tuple[Part, Path]]:
    """Return the parts of a chain with the folders that lie there, in the order of their numbers: a part may have another name by now.

    Raises:
        UserError: there are more or fewer.
    """
    numbered = [
        (match, place) for place in folder.iterdir() if (match := _PART.fullmatch(place.name)) and (place / layout.RECORD).is_file()
    ]
    places = [place for _, place in sorted((int(match[1]), place) for match, place in numbered)]
    if len(places) != len(parts):
        raise UserError(f"{folder} holds {len(places)} models, and the chain has {len(parts)}: give the whole folder that was exported")
    return list(zip(parts, places, strict=True))


def _write_chain(spec: ExportSpec, model: Model, parts: Sequence[Part], described: Sequence[readme.Described], out: Path) -> None:
    """Write beside the parts of a chain the script that runs them in turn, and what the whole is."""
    named = [(place.name, part.model.stage) for part, place in _parts_of_chain(parts, out)]
    last = parts[-1]
    chain_script.write(out, [(name, told) for (name, _), told in zip(named, described, strict=True)], kind=formats.kind_of(spec.format))
    record = formats.record_of(spec, last)
    record.model_copy(update={"model": model.name, "method": chains.CHAIN, "adapter_sha256": None}).write(out)
    listed = "\n".join(f"{number}. [{name}]({name}/README.md) writes: {stage}" for number, (name, stage) in enumerate(named, 1))
    base = last.base_id or Path(last.model.base).name
    text = (
        f"# {model.name}\n\nA chain of two models on `{base}`; the second reads what the first wrote:\n\n"
        f"{listed}\n\n`python {chain_script.NAME} < tweets.txt` runs both.\n"
    )
    files.write_text(out / layout.README, text)


def _export_part(
    context: JobContext, spec: ExportSpec, part: Part, out: Path, run: children.Run
) -> tuple[dict[str, Any], readme.Described]:
    """Write one model to `out`, check it there, and describe it in its README; return what is told of it, and what its README says."""
    context.progress(step="writing", model=part.model.name)
    out.mkdir(exist_ok=True)
    described = formats.write(context, spec, part, out, run)
    record = formats.record_of(spec, part)
    record.write(out)
    found = check.check(context, check.Subject(part, out, record), part.rows, spec, run)
    context.log(f"{part.model.name}: {found['same_summaries']} of {found['n']} summaries are the same in {found['engine']}")
    files.write_text(out / layout.README, readme.render(part.card, described, found))
    _let_read(out)
    return {"check": found, "hosts": [each.as_dict() for each in described.hosts]}, described


def _verified(
    context: JobContext, spec: ExportSpec, model: Model, parts: Sequence[Part], folder: Path, run: children.Run
) -> dict[str, Any]:
    """Check an export that lies somewhere, whoever changed it since."""
    record = Record.read(folder)
    if record.model != model.name:
        context.log(f"the export was made of a model called {record.model}")
    told = []
    for part, place in [(parts[0], folder)] if len(parts) == 1 else _found_of_chain(parts, folder):
        own = Record.read(place)
        if place != folder and own.model != part.model.name:
            context.log(f"{place.name} was made of a model called {own.model}")
        base_id = part.base_id or own.base_id
        found = check.check(context, check.Subject(replace(part, base_id=base_id), place, own), part.rows, spec, run)
        told.append({"check": found, "hosts": []})
    asked = spec.model_copy(update={"format": record.format, "quant": record.quant})
    return _result(folder, asked, told, parts) | {"files": layout.listed(folder)}


def _result(folder: Path, spec: ExportSpec, told: Sequence[dict[str, Any]], parts: Sequence[Part]) -> dict[str, Any]:
    """Return the result; of a chain `check` is that of the model whose answers count, the last."""
    result = {"folder": str(folder), "format": spec.format, "quant": formats.quant_of(spec), **told[-1]}
    if len(parts) > 1:
        result["parts"] = [{"model": part.model.name, **each} for part, each in zip(parts, told, strict=True)]
    return result


def _let_read(out: Path) -> None:
    """Let others read what libraries wrote for the owner alone: an export is there to be given away."""
    for path in out.iterdir():
        if path.is_file():
            path.chmod(0o644)
