"""Writes a model in each of the formats: what is shared between them, and what each adds."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.payloads import ExportFormat, ExportSpec, Quant, Stage
from schemas.tables.models import Model
from workers.evaluation.systems import HeldBackRow
from workers.exports import adapter, children, hosts, modelfile
from workers.exports.layout import Record
from workers.exports.readme import SAMPLE, Described
from workers.exports.weights.request import BuildReport, BuildRequest, GgufRequest
from workers.jobs.context import Context
from workers.text.constraints import MAX_NEW_TOKENS
from workers.text.prompts import tuned

_LIBRARIES = {"adapter": "peft", "merged": "transformers", "gguf": "gguf", "ollama": "gguf", "mlx-ready": "mlx"}
"""How the hub calls what loads each format."""


@dataclass(frozen=True)
class Part:
    """A model to be exported: alone, or as a part of a chain.

    Attributes:
        model: its row.
        base: where the base lies on this node, checked.
        base_sha256: of its weights.
        base_id: its id on the hub, where that is known.
        licence: of the base, in the hub's words; empty where it is not known.
        card: of the model.
        rows: held back, for the round trip.
    """

    model: Model
    base: Path
    base_sha256: str
    base_id: str | None
    licence: str
    card: str
    rows: tuple[HeldBackRow, ...]


def quant_of(spec: ExportSpec) -> Quant | None:
    """Return the number format of the GGUF file that is asked for; None for other formats."""
    return spec.quant or ("f16" if spec.format in ("gguf", "ollama") else None)


def kind_of(format_: ExportFormat) -> str:
    """Return what weights a format has: `adapter`, `whole` or `gguf`."""
    return {"adapter": "adapter", "gguf": "gguf", "ollama": "gguf"}.get(format_, "whole")


def front_of(format_: ExportFormat, model: Model, base: str) -> dict[str, Any]:
    """Return what the front matter of an export's card says otherwise than the model's."""
    relation = "adapter" if format_ == "adapter" else "quantized" if kind_of(format_) == "gguf" else "finetune"
    tags = ["tweetmill", model.method, model.stage, f"base_model:{relation}:{base}"]
    return {"library_name": _LIBRARIES[format_], "tags": tags}


def record_of(spec: ExportSpec, part: Part) -> Record:
    """Return what an export says of itself."""
    model = part.model
    return Record(
        model=model.name,
        format=spec.format,
        quant=quant_of(spec),
        method=model.method,
        stage=model.stage,
        base=model.base,
        base_id=part.base_id,
        base_sha256=part.base_sha256,
        adapter_sha256=model.adapter_sha256,
    )


def check(part: Part, spec: ExportSpec) -> None:
    """Refuse, before anything is written, what can't be.

    Raises:
        UserError: says what to do instead.
    """
    if spec.format == "adapter":
        adapter.check(part.model.name, part.model.method, part.base_id)


def write(context: Context, spec: ExportSpec, part: Part, out: Path, run: children.Run = children.run) -> Described:
    """Write a model to a folder that is there; return what its README says.

    Raises:
        UserError: the model can't be exported so.
    """
    if kind_of(spec.format) == "gguf":
        return _write_gguf(context, spec, part, out, run)
    built = run(context, children.BUILD, build_request(part, out, whole=spec.format != "adapter"), BuildReport)
    if spec.format == "adapter":
        base_id = adapter.check(part.model.name, part.model.method, part.base_id)
        assert part.model.adapter is not None
        config = adapter.write(part.model.adapter, out, base_id, (out / "chat_template.jinja").read_text(encoding="utf-8"))
        return _described(spec, part, built, rank=hosts.vllm_rank(config), taken_by=tuple(hosts.verdicts(config)))
    return _described(spec, part, built)


def _write_gguf(context: Context, spec: ExportSpec, part: Part, out: Path, run: children.Run) -> Described:
    quant = quant_of(spec)
    assert quant is not None
    file = f"{part.model.name}-{quant}.gguf"
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".tweetmill-merged-") as merged:
        request = build_request(part, Path(merged), whole=True)
        gguf = GgufRequest(path=str(out / file), quant=quant, name=part.model.name, licence=part.licence)
        built = run(context, children.BUILD, request.model_copy(update={"gguf": gguf}), BuildReport)
    if spec.format == "ollama":
        stop, tokens = built.end_of_turn.strip(), request.max_new_tokens
        modelfile.write(out, file, built.around, request.sample[0], stop, context=built.context, max_new_tokens=tokens)
    return _described(spec, part, built, file=file)


def build_request(part: Part, out: Path, *, whole: bool) -> BuildRequest:
    """Return what the process that writes weights is asked for a model."""
    stage = Stage(part.model.stage)
    system, user = tuned(SAMPLE, stage)
    return BuildRequest(
        base=str(part.base),
        tuned=str(part.model.adapter) if part.model.adapter else None,
        out=str(out),
        weights="whole" if whole else "none",
        max_new_tokens=MAX_NEW_TOKENS[stage],
        sample=(system.content, user.content),
        threads=children.threads(),
    )


def _described(
    spec: ExportSpec, part: Part, built: BuildReport, *, rank: int = 16, file: str = "", taken_by: tuple[hosts.Verdict, ...] = ()
) -> Described:
    return Described(
        name=part.model.name,
        format=spec.format,
        quant=quant_of(spec),
        base=part.base_id or part.model.base,
        messages=built.messages,
        prompt=built.prompt,
        end_of_turn=built.end_of_turn,
        by_text=bool(built.end_text),
        max_new_tokens=MAX_NEW_TOKENS[Stage(part.model.stage)],
        file=file,
        notes=built.notes,
        rank=rank,
        hosts=taken_by,
    )
