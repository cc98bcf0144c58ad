"""Sends held-back tweets through the original and through the export, and tells what of both is the same.

Both write their first answer, without the guard: other programs have none. Both compute in the same type, so that what differs is the
export. The result holds figures and ids of rows, never a text.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.payloads import ExportSpec, Stage
from schemas.tables.models import Model
from workers.errors import UserError
from workers.evaluation.margins import paired
from workers.evaluation.systems import HeldBackRow
from workers.exports import children, formats, modelfile
from workers.exports.formats import Part
from workers.exports.layout import Record
from workers.exports.roundtrip import faults
from workers.exports.roundtrip.reports import Answers, OriginalReport, OriginalRequest, ProbeReport, ProbeRequest, Turn
from workers.exports.weights.request import BuildReport
from workers.jobs.context import Context
from workers.metrics.scores import Scores, score
from workers.settings import get_settings
from workers.text.constraints import MAX_NEW_TOKENS
from workers.text.prompts import tuned

DISTRIBUTIONS = 20
"""Rows at most whose probabilities are compared token by token: each token's take four bytes a word of the vocabulary."""

_METRICS = ("sari", "promise", "faithful")
_TOLD = 20  # rows whose difference is told
_SCRATCH = ".tweetmill-check-"
_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True)
class Subject:
    """An export in its folder, and what it must be like.

    Attributes:
        part: the model.
        folder: of the export.
        record: what the export says of itself.
    """

    part: Part
    folder: Path
    record: Record

    @property
    def model(self) -> Model:
        """The model's row."""
        return self.part.model

    @property
    def is_gguf(self) -> bool:
        """Whether its weights are in a GGUF file."""
        return self.record.format in ("gguf", "ollama")

    @property
    def engine(self) -> str:
        """The module of the foreign engine that loads it."""
        return "llama_cpp" if self.is_gguf else "plain"


def check(
    context: Context, subject: Subject, rows: Sequence[HeldBackRow], spec: ExportSpec, run: children.Run = children.run
) -> dict[str, Any]:
    """Check an export by `rows`.

    Raises:
        NotTheSame: it is another model: the message names what is.
        UserError: it does not load, or lost more than `spec.max_loss`.
    """
    faults.check_base(subject.folder, subject.record, subject.model, subject.part.base_id)
    with _scratch_of(subject.folder) as scratch:
        logits = str(scratch / "logits.npy")
        context.progress(step="original")
        original = run(context, children.ORIGINAL, _asked(subject, rows, logits), OriginalReport)
        faults.check_files(subject.folder, subject.record, original)
        built = _compared_gguf(context, subject, scratch, run) if subject.is_gguf else None
        tensors = built.tensors if built else original.tensors
        faults.check_tensors(tensors)
        given, rows = rows, _that_fit(rows, original, subject, built.context if built else 0)
        if len(rows) < len(given):
            original = run(context, children.ORIGINAL, _asked(subject, rows, logits), OriginalReport)
        context.progress(step="export")
        export = run(context, children.PROBE, _probe(subject, original, logits), ProbeReport)
    faults.check_prompts(subject.record, original, export)
    if subject.record.format == "ollama":
        faults.check_modelfile(modelfile.read(subject.folder), original, [_texts(subject, row) for row in rows])
    faults.check_probabilities(subject.record, export)
    found = compare(rows, original, export, spec.resamples, spec.seed)
    found["left_out"] = len(given) - len(rows)
    found["tensors"] = tensors.model_dump(include={"compared", "worst"}) if tensors else None
    lost = -found["sari"]["difference"]
    if spec.max_loss is not None and lost > spec.max_loss:
        raise faults.NotTheSame(
            f"the export loses {lost:.2f} points of SARI on {found['n']} rows"
            f" ({found['sari']['low']:+.2f} to {found['sari']['high']:+.2f}), more than --max-loss {spec.max_loss:g}: take a finer --quant"
        )
    return found


@contextmanager
def _scratch_of(folder: Path) -> Iterator[Path]:
    """Yield a folder that is removed again: beside an export, whose disk has room, or the system's where that can't be written to."""
    try:
        made = tempfile.TemporaryDirectory(dir=folder.parent, prefix=_SCRATCH)
    except OSError as error:
        if error.errno not in _CLOSED:
            raise
        made = tempfile.TemporaryDirectory(prefix=_SCRATCH)
    with made as scratch:
        yield Path(scratch)


def _that_fit(rows: Sequence[HeldBackRow], original: OriginalReport, subject: Subject, context: int) -> Sequence[HeldBackRow]:
    """Return the rows whose prompts and answers fit into the context of a GGUF file, beyond which llama.cpp answers nothing; 0: any does.

    Raises:
        UserError: none does.
    """
    longest = context - MAX_NEW_TOKENS[Stage(subject.model.stage)] if context else None
    fit = [row for row, ids in zip(rows, original.prompt_ids, strict=True) if longest is None or len(ids) < longest]
    if not fit:
        raise UserError(f"the export can't be checked: none of {len(rows)} tweets fits into its context of {context} tokens")
    return fit


def _compared_gguf(context: Context, subject: Subject, scratch: Path, run: children.Run) -> BuildReport:
    """Merge the model anew, and hold each tensor of the GGUF file against it.

    Raises:
        NotTheSame: one is another; the message names it.
    """
    files = sorted(subject.folder.glob("*.gguf"))
    if len(files) != 1:
        raise faults.NotTheSame(f"the export holds {len(files)} GGUF files: export it again")
    merged = scratch / "merged"
    merged.mkdir()
    request = formats.build_request(subject.part, merged, whole=True).model_copy(update={"compare": str(files[0])})
    return run(context, children.BUILD, request, BuildReport)


def _texts(subject: Subject, row: HeldBackRow) -> tuple[str, str]:
    """The two texts of a row's prompt."""
    system, user = tuned(row.tweet, Stage(subject.model.stage))
    return system.content, user.content


def _asked(subject: Subject, rows: Sequence[HeldBackRow], logits: str) -> OriginalRequest:
    stage = Stage(subject.model.stage)
    prompts = [[Turn(role=turn.role, content=turn.content) for turn in tuned(row.tweet, stage)] for row in rows]
    return OriginalRequest(
        base=str(subject.part.base),
        tuned=str(subject.model.adapter) if subject.model.adapter else None,
        dtype=get_settings().dtype,
        threads=children.threads(),
        prompts=prompts,
        max_new_tokens=MAX_NEW_TOKENS[stage],
        distributions=DISTRIBUTIONS,
        logits=logits,
        whole=str(subject.folder) if subject.record.format in ("merged", "mlx-ready") else None,
    )


def _probe(subject: Subject, original: OriginalReport, logits: str) -> ProbeRequest:
    tokens = MAX_NEW_TOKENS[Stage(subject.model.stage)]
    return ProbeRequest(
        engine=subject.engine,
        folder=str(subject.folder),
        base=str(subject.part.base) if subject.record.format == "adapter" else None,
        dtype=original.dtype,
        threads=children.threads(),
        conversations=original.conversations,
        answers=original.answer_ids,
        max_new_tokens=tokens,
        context=max(map(len, original.prompt_ids)) + tokens + 1,
        distributions=DISTRIBUTIONS,
        logits=logits,
    )


def compare(rows: Sequence[HeldBackRow], original: OriginalReport, export: ProbeReport, resamples: int, seed: int) -> dict[str, Any]:
    """Return what of both sides is the same, and how both score."""
    tweets, references = [row.tweet for row in rows], [row.references for row in rows]
    scores = {"original": score(tweets, original.texts, references), "export": score(tweets, export.texts, references)}
    apart = [place for place, (mine, theirs) in enumerate(zip(original.texts, export.texts, strict=True)) if mine != theirs]
    return {
        "n": len(rows),
        "same_prompts": _same(original.prompts, export.prompts),
        "same_tokens": _same(original.prompt_ids, export.prompt_ids),
        "same_summaries": len(rows) - len(apart),
        **{metric: _both(scores, metric, resamples, seed) for metric in _METRICS},
        "divergence": export.divergence.model_dump() if export.divergence else None,
        "differences": [_difference(rows[place].id, original, export, place) for place in apart[:_TOLD]],
        "cost": {"original": _cost(original), "export": _cost(export)},
        "engine": export.engine,
        "dtype": original.dtype,
    }


def _same(mine: Sequence[object], theirs: Sequence[object]) -> int:
    return sum(one == other for one, other in zip(mine, theirs, strict=True))


def _both(scores: Mapping[str, Scores], metric: str, resamples: int, seed: int) -> dict[str, float]:
    """Return a metric of both sides, and by how much the export's is above the original's, paired."""
    apart = paired(scores, [("export", "original")], metric, resamples, seed, together=False)["export", "original"]
    means = {side: float(of_side[metric].mean()) for side, of_side in scores.items()}
    return {**means, "difference": apart["difference"], "low": apart["low"], "high": apart["high"]}


def _difference(row: str, original: OriginalReport, export: ProbeReport, place: int) -> dict[str, Any]:
    """Return where two answers part, and how much likelier the original found its word there than the next: near 0 is a tie."""
    mine, theirs, margins = original.answer_ids[place], export.answer_ids[place], original.margins[place]
    parted = next((token for token, (one, other) in enumerate(zip(mine, theirs, strict=False)) if one != other), len(theirs))
    return {"id": row, "token": parted + 1, "margin": round(margins[parted], 4) if parted < len(margins) else None}


def _cost(side: Answers) -> dict[str, Any]:
    return {
        "load_seconds": round(side.load_seconds, 2),
        "tokens_per_second": round(side.tokens_out / max(side.seconds, 1e-9), 1),
        "peak_bytes": side.peak_bytes,
    }
