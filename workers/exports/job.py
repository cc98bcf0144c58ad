"""Runs an export job: writes a model as other programs load it, and lets nobody have it before the round trip found it the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlmodel import Session

from schemas.payloads import ExportSpec
from schemas.tables.models import Model
from workers import files
from workers.base_models import files as base_files
from workers.base_models import loading
from workers.catalog import chains, model_card, models
from workers.database import session
from workers.evaluation import rows as held
from workers.exports import chain_script, formats, hub_ids, layout, readme
from workers.exports.formats import Part
from workers.exports.layout import Record
from workers.exports.roundtrip import check
from workers.jobs.context import JobContext, Outcome
from workers.settings import get_settings

FOLDER = "exports"
"""Below the models folder: where exports lie that nobody gave a place."""


def export(context: JobContext, spec: ExportSpec) -> Outcome:
    """Export the model of `spec`, or check an export of it that is there.

    Raises:
        UserError: it can't be exported so, or the export is not the same model.
    """
    with session() as opened:
        model = models.by_id(opened, spec.model_id)
        parts = [_part(opened, part, spec) for part in chains.parts(opened, model)]
    folder = Path(spec.folder) if spec.folder else _default_folder(model, spec)
    if spec.verify:
        return Outcome(_verified(context, spec, model, parts, folder))
    return Outcome(_written(context, spec, model, parts, folder))


def _part(opened: Session, model: Model, spec: ExportSpec) -> Part:
    """Return what is known of a model before anything is written, after a look at whether it can be exported."""
    base = Path(models.locate_base(model.base))
    folder = base if base.is_dir() else loading.fetch_base(model.base)
    base_files.check(folder)
    sha256 = base_files.digest(folder, get_settings().models_folder)
    if model.adapter is not None:
        base_files.check_record(model.adapter, base_files.BaseRecord.read(model.adapter), model.base, sha256)
    found = hub_ids.find(model.base, folder, spec.base_id)
    scored = held.of_references(opened, spec.references) if spec.references else held.held_back(opened, [model])
    front = {"base_model": found.hub or model_card.base_name(model.base), **found.licence}
    card = model_card.of_model(opened, model, front | formats.front_of(spec.format, model, front["base_model"]))
    return Part(model, folder, sha256, found.hub, found.licence.get("license", ""), card, tuple(scored[: spec.check]))


def _default_folder(model: Model, spec: ExportSpec) -> Path:
    places = get_settings().models_folder / FOLDER
    places.mkdir(parents=True, exist_ok=True)
    quant = f"-{formats.quant_of(spec)}" if formats.quant_of(spec) else ""
    return places / f"{model.name}-{spec.format}{quant}"


def _written(context: JobContext, spec: ExportSpec, model: Model, parts: Sequence[Part], folder: Path) -> dict[str, Any]:
    layout.check_free(folder)
    for part in parts:
        formats.check(part, spec)
    aside = folder.with_name(f".{folder.name}.{str(context.job)[:8]}.partial")
    with files.atomic_folder(folder, aside, replace=True):
        aside.mkdir()
        one = len(parts) == 1
        told = [_export_part(context, spec, parts[0], aside)] if one else _export_chain(context, spec, model, parts, aside)
        listed = layout.listed(aside)
    return _result(folder, spec, told, parts) | {"files": listed}


def _export_chain(context: JobContext, spec: ExportSpec, model: Model, parts: Sequence[Part], out: Path) -> list[dict[str, Any]]:
    """Export the parts of a chain into folders of their own, and write the script that runs them in turn."""
    told, named = [], []
    for number, part in enumerate(parts, 1):
        name = f"{number}-{part.model.name}"
        (out / name).mkdir()
        told.append(_export_part(context, spec, part, out / name))
        named.append((name, part.model.stage))
    chain_script.write(out, named, kind=formats.kind_of(spec.format), base_id=parts[-1].base_id)
    last = parts[-1]
    Record.read(out / named[-1][0]).model_copy(update={"model": model.name, "method": chains.CHAIN, "adapter_sha256": None}).write(out)
    listed = "\n".join(f"{number}. [{name}]({name}/README.md) writes: {stage}" for number, (name, stage) in enumerate(named, 1))
    text = (
        f"# {model.name}\n\nA chain of two models on `{last.base_id or last.model.base}`; the second reads what the first wrote:\n\n"
        f"{listed}\n\n"
        f"`python {chain_script.NAME} < tweets.txt` runs both.\n"
    )
    files.write_text(out / layout.README, text)
    return told


def _export_part(context: JobContext, spec: ExportSpec, part: Part, out: Path) -> dict[str, Any]:
    """Write one model to `out`, check it there, and describe it in its README."""
    context.progress(step="writing", model=part.model.name)
    described = formats.write(context, spec, part, out)
    record = formats.record_of(spec, part)
    record.write(out)
    found = check.check(context, check.Subject(part, out, record), part.rows, spec)
    context.log(f"{part.model.name}: {found['same_summaries']} of {found['n']} summaries are the same in {found['engine']}")
    files.write_text(out / layout.README, readme.render(part.card, described, found))
    _let_read(out)
    return {"check": found, "hosts": [each.as_dict() for each in described.hosts]}


def _verified(context: JobContext, spec: ExportSpec, model: Model, parts: Sequence[Part], folder: Path) -> dict[str, Any]:
    """Check an export that lies somewhere, whoever changed it since."""
    record = Record.read(folder)
    if record.model != model.name:
        context.log(f"the export was made of a model called {record.model}")
    told = []
    for number, part in enumerate(parts, 1):
        place = folder if len(parts) == 1 else folder / f"{number}-{part.model.name}"
        own = Record.read(place)
        base_id = part.base_id or own.base_id
        found = check.check(context, check.Subject(replace(part, base_id=base_id), place, own), part.rows, spec)
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
