"""Finds what makes an export another model, and names it in a sentence: files first, then what both sides wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from schemas.tables.models import Model
from workers import files
from workers.errors import UserError
from workers.exports.layout import ADAPTER, ADAPTER_CONFIG, Record, json_of
from workers.exports.modelfile import Modelfile
from workers.exports.roundtrip.reports import OriginalReport, ProbeReport, Tensors

MOST_DIVERGENCE = 0.01
"""Nats a token, of an export whose weights were not quantised: rounding to bfloat16 or float16 costs a tenth of it or less."""

_NAMED = 3  # tensors that a sentence names


class NotTheSame(UserError):
    """The export is not the same model."""


def check_base(folder: Path, record: Record, model: Model, base_id: str | None) -> None:
    """Make sure that an adapter names the base that its model was trained on, and is that model's.

    Raises:
        NotTheSame: it names another, or has other weights.
    """
    if record.format != "adapter":
        return
    named = json_of(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    if named != base_id:
        raise NotTheSame(
            f"{ADAPTER_CONFIG} puts the adapter on the base {str(named)[:200]}, and model {model.name} was trained on {base_id}:"
            " on a wrong base it answers nonsense. Export it again"
        )
    try:
        sha256 = files.sha256_of_file(folder / ADAPTER)
    except OSError as error:
        raise NotTheSame(f"{ADAPTER} of the export can't be read ({error.strerror}): copy the whole folder, or export it again") from None
    if model.adapter_sha256 and sha256 != model.adapter_sha256:
        raise NotTheSame(f"{ADAPTER} is not the adapter of model {model.name}: its digest is another. Export it again")


def check_files(folder: Path, record: Record, original: OriginalReport) -> None:
    """Make sure that the configs say when to stop, and that both places of the chat template hold one.

    Raises:
        NotTheSame: they don't.
    """
    if record.format in ("gguf", "ollama"):
        return
    generation = json_of(folder / "generation_config.json")
    stops = generation.get("eos_token_id")
    listed = stops if isinstance(stops, list) else [stops]
    lacking = [name for number, name in original.ends.items() if number not in listed]
    if lacking:
        raise NotTheSame(
            f"generation_config.json lacks the stop token {' and '.join(lacking)} under eos_token_id: the export would write on after its"
            " answer. Export it again"
        )
    if original.end_text and original.end_text not in (generation.get("stop_strings") or []):
        raise NotTheSame("generation_config.json lacks the text that ends an answer under stop_strings. Export it again")
    template = folder / "chat_template.jinja"
    if not template.is_file():
        raise NotTheSame("the export has no chat_template.jinja: nobody would know how to prompt it. Export it again")
    elsewhere = json_of(folder / "tokenizer_config.json").get("chat_template")
    try:
        written = template.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise NotTheSame("chat_template.jinja can't be read as UTF-8: it was changed or is damaged. Export it again") from None
    if elsewhere is not None and elsewhere != written:
        raise NotTheSame(
            "chat_template.jinja and tokenizer_config.json hold two chat templates, and hosts read either: one of them was changed."
            " Export it again"
        )


def check_tensors(found: Tensors | None) -> None:
    """Make sure that whole weights are the original's.

    Raises:
        NotTheSame: some are the base's, or others, or missing.
    """
    if found is None:
        return
    if found.lacking:
        raise NotTheSame(f"model.safetensors lacks {_some(found.lacking)}. Export it again")
    if found.of_base:
        raise NotTheSame(f"{_some(found.of_base)} of model.safetensors has the base's weights: it was not merged. Export it again")
    if found.wrong:
        raise NotTheSame(f"{_some(found.wrong)} of model.safetensors is not the original's. Export it again")


def check_prompts(record: Record, original: OriginalReport, export: ProbeReport) -> None:
    """Make sure that both sides were asked the same, and both know when an answer ends.

    Raises:
        NotTheSame: a prompt or its tokens differ, or the export does not stop where the original does.
    """
    where = "the chat template of the GGUF file" if record.format in ("gguf", "ollama") else "chat_template.jinja"
    others = [(mine, theirs) for mine, theirs in zip(original.prompts, export.prompts, strict=True) if mine != theirs]
    if others:
        place = min(_parted(mine, theirs) for mine, theirs in others)
        raise NotTheSame(
            f"{where} writes another prompt than the model was trained on, for {len(others)} of {len(original.prompts)} tweets, from"
            f" character {place + 1} on: the template was changed or is read otherwise by {export.engine}"
        )
    tokens = sum(mine != theirs for mine, theirs in zip(original.prompt_ids, export.prompt_ids, strict=True))
    if tokens:
        raise NotTheSame(f"the export's tokenizer reads the same prompt as other tokens, for {tokens} of {len(original.prompts)} tweets")
    runs_on = sum(mine and not theirs for mine, theirs in zip(original.ended, export.ended, strict=True))
    if runs_on > len(original.prompts) // 2:
        raise NotTheSame(f"the export does not stop: {runs_on} of {len(original.prompts)} answers end in the original, and run on in it")


def check_modelfile(written: Modelfile, original: OriginalReport, texts: Sequence[tuple[str, str]]) -> None:
    """Make sure that Ollama prompts and stops as its Modelfile should say.

    Raises:
        NotTheSame: it does otherwise.
    """
    systems = {system for system, _ in texts}
    if systems != {written.system}:
        raise NotTheSame("the Modelfile's SYSTEM is another text than the model was trained with. Export it again")
    # A tweet that quotes the template's marks is broken up elsewhere, by the program that sends it.
    plain = [(prompt, asked) for prompt, asked in zip(original.prompts, texts, strict=True) if asked[1] in prompt]
    others = sum(written.prompt(*asked) != prompt for prompt, asked in plain)
    if others:
        raise NotTheSame(
            f"the Modelfile's TEMPLATE writes another prompt than the model was trained on, for {others} of {len(texts)} tweets"
        )
    lacking = sorted(set(original.ends.values() or [original.end_text]) - set(written.stops))
    if lacking:
        raise NotTheSame(
            f"the Modelfile lacks PARAMETER stop {' and '.join(lacking)}: Ollama would write on after an answer. Export it again"
        )


def check_probabilities(record: Record, export: ProbeReport) -> None:
    """Make sure that weights which were not quantised give the same probabilities.

    Raises:
        NotTheSame: they don't.
    """
    if export.divergence is None or record.quant not in (None, "f16"):
        return
    if export.divergence.mean > MOST_DIVERGENCE:
        raise NotTheSame(
            f"the export finds other words likely than the original (divergence {export.divergence.mean:.2g} nats a token, where rounding"
            f" leaves less than {MOST_DIVERGENCE:g}): its weights are not the model's"
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more tensors" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _parted(mine: str, theirs: str) -> int:
    return next((place for place, (one, other) in enumerate(zip(mine, theirs, strict=False)) if one != other), min(len(mine), len(theirs)))
