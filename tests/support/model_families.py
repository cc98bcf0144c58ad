"""Tiny random models with the shape of each family: how layers, norms and attention are built and named, and what its tokenizer does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.tiny_model import build_tokenizer, write_random_model

LAYERS = 4
_TURNS_WITHOUT_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)


def _common(fast: Any, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(fast),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "bos_token_id": fast.bos_token_id,
        "eos_token_id": fast.eos_token_id,
        "pad_token_id": fast.pad_token_id,
        **more,
    }


def _llama(fast: Any) -> Any:
    from transformers import LlamaConfig

    _adds_bos(fast)
    fast.pad_token = None  # as Llama 2 and 3
    return LlamaConfig(**_common(fast, tie_word_embeddings=False))


def _qwen2(fast: Any) -> Any:
    from transformers import Qwen2Config

    fast.bos_token = None
    return Qwen2Config(**_common(fast, tie_word_embeddings=True, use_sliding_window=True, sliding_window=8, max_window_layers=1))


def _qwen3(fast: Any) -> Any:
    from transformers import Qwen3Config

    fast.bos_token = None
    return Qwen3Config(**_common(fast, tie_word_embeddings=True, head_dim=16))


def _gemma2(fast: Any) -> Any:
    from transformers import Gemma2Config

    fast.chat_template = _TURNS_WITHOUT_SYSTEM
    return Gemma2Config(**_common(fast, head_dim=8, sliding_window=8, query_pre_attn_scalar=8))


def _gemma3(fast: Any) -> Any:
    from transformers import Gemma3TextConfig

    fast.chat_template = _TURNS_WITHOUT_SYSTEM
    return Gemma3TextConfig(**_common(fast, head_dim=8, sliding_window=8, query_pre_attn_scalar=8))


def _mistral(fast: Any) -> Any:
    from transformers import MistralConfig

    _adds_bos(fast)
    fast.pad_token = None
    return MistralConfig(**_common(fast, sliding_window=8, head_dim=8))


def _phi3(fast: Any) -> Any:
    from transformers import Phi3Config

    return Phi3Config(**_common(fast, sliding_window=64))


def _gpt2(fast: Any) -> Any:
    from transformers import GPT2Config

    return GPT2Config(
        vocab_size=len(fast), n_embd=32, n_layer=LAYERS, n_head=4, n_positions=256, bos_token_id=1, eos_token_id=fast.eos_token_id
    )


def _adds_bos(fast: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    fast.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", fast.convert_tokens_to_ids("<|im_start|>"))]
    )


FAMILIES: dict[str, Callable[[Any], Any]] = {
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "mistral": _mistral,
    "phi3": _phi3,
    "gpt2": _gpt2,
}


def build_family(name: str, folder: Path) -> Path:
    """Write a random model of a family, with four layers, and its tokenizer to `folder`; return it."""
    fast = build_tokenizer()
    write_random_model(FAMILIES[name](fast), folder)
    fast.save_pretrained(folder)
    return folder
