"""The process that writes what needs a tokenizer or weights: `python -m workers.exports.weights.build`. See `workers.exports.children`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from schemas.chat import Message
from workers.base_models import files, loading
from workers.base_models.chat_template import ChatFormat, chat_format
from workers.exports import children
from workers.exports.roundtrip.reports import Tensors
from workers.exports.weights import portable
from workers.exports.weights.request import BuildReport, BuildRequest
from workers.inference.local import whole_weights


def work(asked: BuildRequest) -> BuildReport:
    """Write tokenizer, chat template and generation config, and where they are asked for the weights.

    Raises:
        UserError: the base or the tuned model can't be used.
    """
    torch.set_num_threads(asked.threads)
    base, out = Path(asked.base), Path(asked.out)
    files.check(base)
    tokenizer = loading.load_tokenizer(base)
    chat = chat_format(tokenizer)
    if asked.weights == "whole":
        model = whole_weights.merged(base, tokenizer, Path(asked.tuned) if asked.tuned else None)
        config = model.config
        parameters = sum(parameter.numel() for parameter in model.parameters())
        # llama.cpp's types are made of what was merged: bfloat16 in between would round it first, and coarser than its f16.
        dtype = torch.float32 if asked.gguf or asked.compare else whole_weights.stored_dtype(base)
        whole_weights.save(model, dtype, out)
    else:
        config, parameters = portable.config_of(base), 0
    portable.write_generation_config(out, base, _end_ids(chat, tokenizer), tokenizer, chat.end_text, asked.max_new_tokens)
    tokenizer.chat_template = chat.portable_template
    tokenizer.save_pretrained(out)
    portable.mend_tokenizer(out, chat.portable_template)
    if asked.weights == "whole":
        portable.mend_config(out)
    context, notes, compared = _in_gguf(asked) if asked.gguf or asked.compare else (0, (), None)
    sample = (Message("system", asked.sample[0]), Message("user", asked.sample[1]))
    text = config.get_text_config(decoder=True)
    return BuildReport(
        parameters=parameters,
        end_of_turn=chat.end_of_turn,
        end_text=chat.end_text,
        context=context or int(getattr(text, "max_position_embeddings", 0) or 0),
        model_type=str(config.model_type),
        messages=chat.conversation(sample),
        prompt=chat.prompt_text(sample),
        around=_around(chat),
        notes=notes,
        tensors=compared,
    )


def _in_gguf(asked: BuildRequest) -> tuple[int, tuple[str, ...], Tensors | None]:
    """Write or compare a GGUF file; return the context that llama.cpp gives it, notes on it, and what a comparison found."""
    from workers.exports.gguf import comparison, writing

    merged = Path(asked.out)
    if asked.compare:
        found = comparison.compare_with_source(Path(asked.compare), merged)
        return found.context, (), Tensors(compared=found.tensors, worst=found.nearest, wrong=[], of_base=[], lacking=[])
    assert asked.gguf is not None
    file = writing.write_gguf(merged, Path(asked.gguf.path), asked.gguf.quant, name=asked.gguf.name, licence=asked.gguf.licence)
    return file.context, file.notes, None


def _around(chat: ChatFormat) -> tuple[str, str, str]:
    written = chat.prompt_text((Message("system", "Qsystem"), Message("user", "Quser")))
    before, _, rest = written.partition("Qsystem")
    between, _, after = rest.partition("Quser")
    return before, between, after


def _end_ids(chat: ChatFormat, tokenizer: Any) -> list[int]:
    """Return what an answer ends with first, then what ends a text."""
    ends = sorted(chat.end_ids)
    eos = tokenizer.eos_token_id
    return ends if eos is None or eos in ends else [*ends, int(eos)]


if __name__ == "__main__":
    raise SystemExit(children.serve(BuildRequest, work))
