"""From a prompt to token ids by the tokenizer's own chat template, the same way in training and in inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.inference.engine import EngineError, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    """The token ids of `prompt` up to where the answer begins.

    Raises:
        EngineError: the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise EngineError("the base model has no chat template: use an instruction-tuned base, such as SmolLM2-135M-Instruct")
    control = [token for token in {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()} if len(token) > 1 and token.strip()]
    messages = [{"role": message.role, "content": inert(message.content, control)} for message in prompt]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(rendered, add_special_tokens=False)["input_ids"])


def inert(content: str, control: list[str]) -> str:
    """`content` with every control token broken by a space, so that a tweet which quotes `<|im_end|>` ends nothing."""
    for token in sorted(control, key=len, reverse=True):
        content = content.replace(token, f"{token[0]} {token[1:]}")
    return content
