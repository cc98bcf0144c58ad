"""Adds a model from a folder or a hub: checks it, copies what is read of it into the models folder, and inserts its row."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.payloads import Stage
from schemas.tables.models import Model
from workers import database, files
from workers.base_models import changed_weights, loading
from workers.base_models import files as base_files
from workers.base_models.files import RECORD, BaseRecord
from workers.catalog import additions, datasets, model_card
from workers.errors import UserError
from workers.registration import adapters, bases
from workers.settings import get_settings

_KEPT = (".json", ".safetensors", ".jinja", ".model", ".txt", ".tiktoken")


@dataclass(frozen=True)
class Wanted:
    """What is to be added.

    Attributes:
        source: a folder, or a hub id.
        name: of the model in the catalog.
        base: of an adapter; None: the one that it names.
        stage: what it was taught to write.
        dataset: whose held-back examples it is evaluated on; None: none.
        any_base: whether `base` may be called differently than the adapter calls it.
    """

    source: str
    name: str
    base: str | None = None
    stage: Stage = Stage.SUMMARY
    dataset: str | None = None
    any_base: bool = False


@dataclass(frozen=True)
class Added:
    """A model that was added, and what should be known of it."""

    model: Model
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Checked:
    """A model that can be used: where it will lie, what its row says, and what its folder gets beside its own files."""

    folder: Path
    target: Path
    values: dict[str, Any]
    record: BaseRecord | None
    warnings: Sequence[str]


def add(wanted: Wanted) -> Added:
    """Add a model. A worker's login is needed: a producer may not say where files lie.

    Raises:
        UserError: it can't be used, or its name is taken; says what is wrong and what to do.
    """
    with database.session() as session:
        additions.check_name(session, wanted.name)
        dataset = datasets.resolve(session, wanted.dataset).id if wanted.dataset is not None else None
    folder = Path(wanted.source)
    from_hub = not folder.is_dir()
    checked = _check(loading.from_hub(wanted.source) if from_hub else folder, wanted)
    is_new = not checked.target.exists()
    if is_new:
        _copy(checked)
    values = checked.values | {"name": wanted.name, "stage": wanted.stage.value, "dataset": dataset}
    values["details"] = values["details"] | {"added_from": wanted.source if from_hub else folder.resolve().name}
    try:
        with database.session() as session:
            model = additions.add(session, values)
    except BaseException:
        if is_new:
            shutil.rmtree(checked.target, ignore_errors=True)
        raise
    model_card.refresh(model=model.id)
    return Added(model, tuple(checked.warnings))


def _check(folder: Path, wanted: Wanted) -> _Checked:
    if (folder / adapters.CONFIG).is_file():
        return _checked_adapter(folder, wanted)
    if changed_weights.is_in(folder):
        return _checked_changes(folder, wanted)
    if wanted.base is not None:
        raise UserError(f"{folder.name} has no {adapters.CONFIG}, so it is no adapter and has no base: leave --base out")
    return _checked_whole(folder, wanted)


def _checked_adapter(folder: Path, wanted: Wanted) -> _Checked:
    config = adapters.read_config(folder)
    base = bases.base_of(config, wanted.base, any_base=wanted.any_base)
    base_folder = bases.fetched(base)
    layers = adapters.check_fits(folder, base, base_folder)
    record = _recorded(folder, base, base_folder)
    template = bases.format_of(base_folder)
    told = bases.warnings_of(template, Path(base).name)
    own = folder / "chat_template.jinja"
    if own.is_file() and own.read_text(encoding="utf-8", errors="replace").strip() != _plain_template(base_folder):
        told.append(f"{folder.name} brings a chat template of its own, which is not used: prompts are written by the base's")
    sha256 = files.sha256_of_file(folder / adapters.WEIGHTS)
    method = "dora" if config.get("use_dora") else "lora"
    details = {"base_sha256": record.sha256, "linear_layers": layers, "rank": config.get("r")}
    return _adapted(folder, wanted, method, sha256, record, details, told)


def _checked_changes(folder: Path, wanted: Wanted) -> _Checked:
    record = BaseRecord.read(folder)
    if record is None:
        raise UserError(f"{folder.name} has no {RECORD}, which says what its weights were trained on: give the whole folder")
    base = wanted.base or record.base
    base_folder = bases.fetched(base)
    record = _recorded(folder, base, base_folder)
    method = changed_weights.read(folder).description.method
    sha256 = files.sha256_of_file(folder / changed_weights.DESCRIPTION)
    return _adapted(folder, wanted, method, sha256, record, {"base_sha256": record.sha256}, ())


def _adapted(
    folder: Path, wanted: Wanted, method: str, sha256: str, record: BaseRecord, details: dict[str, Any], told: Sequence[str]
) -> _Checked:
    target = get_settings().models_folder / "adapters" / f"{wanted.name}-{sha256[:12]}"
    values = {"base": record.base, "method": method, "adapter_uri": str(target), "adapter_sha256": sha256, "details": details}
    return _Checked(folder, target, values, record, told)


def _checked_whole(folder: Path, wanted: Wanted) -> _Checked:
    base_files.check(folder)
    told = bases.warnings_of(bases.format_of(folder), folder.resolve().name)
    sha256 = base_files.digest(folder)
    place = Path(additions.FOLDER) / f"{wanted.name}-{sha256[:12]}"
    values = {"base": str(place), "method": additions.MERGED, "details": {"base_sha256": sha256}}
    return _Checked(folder, get_settings().models_folder / place, values, None, told)


def _recorded(folder: Path, base: str, base_folder: Path) -> BaseRecord:
    """Return what the folder will say of its base; what it says already must be so.

    Raises:
        UnusableAdapter: it was trained on other weights.
    """
    sha256 = base_files.digest(base_folder, get_settings().models_folder)
    known = BaseRecord.read(folder)
    if known is not None:
        base_files.check_record(folder, known, base, sha256)
    named = str(Path(base).resolve()) if Path(base).is_dir() else base
    return BaseRecord(base=named, sha256=sha256, end_of_turn=bases.format_of(base_folder).end_of_turn)


def _plain_template(folder: Path) -> str:
    return str(loading.load_tokenizer(folder).chat_template or "").strip()


def _copy(checked: _Checked) -> None:
    """Copy the files that are read of a model, without links and what lies in folders."""
    checked.target.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_folder(checked.target, checked.target.with_name(f".{checked.target.name}.adding"), sync=True) as aside:
        aside.mkdir()
        for path in sorted(checked.folder.iterdir()):
            if path.is_file() and path.suffix in _KEPT:
                shutil.copyfile(path, aside / path.name)
        if checked.record is not None:
            checked.record.write(aside)
