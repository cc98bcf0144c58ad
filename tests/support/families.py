"""Tiny random models of several families of open models: what differs between them in attention, in the head, and after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


def _model(config_class: str, **changes: Any) -> Callable[[], Any]:
    def build() -> Any:
        import torch
        import transformers

        config = getattr(transformers, config_class)(**(SIZES | changes), attn_implementation="eager")
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = transformers.AutoModelForCausalLM.from_config(config)
            # The default spread makes every logit alike; a wider one makes each token matter to those after it.
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    torch.nn.init.normal_(parameter, std=0.3)
        return model

    return build


MODELS: Mapping[str, Callable[[], Any]] = {
    "llama, tied embeddings": _model("LlamaConfig", tie_word_embeddings=True),
    "qwen2, biases": _model("Qwen2Config", tie_word_embeddings=False),
    "mistral, sliding window": _model("MistralConfig", sliding_window=8),
    "gemma2, capped logits": _model("Gemma2Config", head_dim=8, final_logit_softcapping=2.0, sliding_window=8),
    "gemma3, two masks": _model("Gemma3TextConfig", head_dim=8, sliding_window=8),
    "granite, scaled logits": _model("GraniteConfig", logits_scaling=4.0),
    "phi, a bias in the head": _model("PhiConfig"),
}
