"""Loads an export by transformers, an adapter by PEFT: nothing of ours takes part in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workers.exports.engines.engine import Answer, CannotLoad, Conversation, Options


class PlainTransformers:
    """A causal language model as `from_pretrained` gives it. See `ForeignEngine`."""

    def __init__(self, name: str, tokenizer: Any, model: Any) -> None:
        self.name = name
        self._tokenizer, self._model = tokenizer, model

    def prompt_text(self, conversation: Conversation) -> str:
        """See `ForeignEngine`."""
        return str(self._tokenizer.apply_chat_template(list(conversation), tokenize=False, add_generation_prompt=True))

    def prompt_ids(self, text: str) -> list[int]:
        """See `ForeignEngine`."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def answer(self, ids: Sequence[int], max_new_tokens: int) -> Answer:
        """See `ForeignEngine`."""
        stops = self._model.generation_config.stop_strings
        by_text = {"tokenizer": self._tokenizer} if stops else {}
        inputs = torch.tensor([list(ids)])
        with torch.inference_mode():
            out = self._model.generate(inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=max_new_tokens, **by_text)
        written = out[0, len(ids) :].tolist()
        ends = self._model.generation_config.eos_token_id
        ended = len(written) < max_new_tokens or written[-1] in (ends if isinstance(ends, list) else [ends])
        if ended and not stops:
            written = written[:-1]
        text = str(self._tokenizer.decode(written, skip_special_tokens=True))
        for stop in stops or ():
            text = text.partition(stop)[0]
        return Answer(text.strip(), tuple(written), ended)

    def log_probabilities(self, ids: Sequence[int], answer: Sequence[int]) -> NDArray[np.float32] | None:
        """See `ForeignEngine`."""
        with torch.inference_mode():
            logits = self._model(torch.tensor([[*ids, *answer]])).logits[0, len(ids) - 1 : -1]
        found: NDArray[np.float32] = torch.log_softmax(logits.float(), dim=-1).numpy()
        return found


def load(folder: Path, options: Options) -> PlainTransformers:
    """Load a folder with whole weights, or with an adapter for the base of `options`.

    Raises:
        CannotLoad: transformers or PEFT refuses it.
    """
    import transformers

    torch.set_num_threads(options.threads)
    kind = getattr(torch, options.dtype)
    name = f"transformers {transformers.__version__}"
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        source = folder if options.base is None else options.base
        model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=kind, use_safetensors=True)
        if options.base is not None:
            import peft

            model = peft.PeftModel.from_pretrained(model, folder)
            name = f"peft {peft.__version__} on {name}"
            # PEFT has that of the base: what the adapter learnt to stop at is beside it.
            model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
    except Exception as error:  # whatever a loader says, its user would see
        raise CannotLoad(f"{name} can't load it ({type(error).__name__}: {' '.join(str(error).split())[:200]})") from error
    return PlainTransformers(name, tokenizer, model.eval())
