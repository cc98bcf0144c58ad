"""Random models of a few thousand weights that read texts: for embeddings, for pairs and for tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.tiny_model import build_tokenizer

LETTUCE = {0: "LABEL_0", 1: "LABEL_1"}
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 256}
NLI = {0: "contradiction", 1: "entailment", 2: "neutral"}


def build_embedder(folder: Path) -> Path:
    """Write a random Bert without a head, for sentence embeddings."""
    from transformers import BertModel

    return _write(_bert(), BertModel, folder)


def build_pair_classifier(folder: Path, labels: dict[int, str] | None = None) -> Path:
    """Write a random Bert that classifies pairs of texts."""
    from transformers import BertForSequenceClassification

    labels = labels or NLI
    return _write(_bert(id2label=labels, label2id={name: place for place, name in labels.items()}), BertForSequenceClassification, folder)


def build_token_classifier(folder: Path, labels: dict[int, str] | None = None) -> Path:
    """Write a random ModernBert that classifies tokens, as LettuceDetect's models do."""
    from transformers import ModernBertConfig, ModernBertForTokenClassification

    labels = labels or LETTUCE
    tokenizer = build_tokenizer()
    config = ModernBertConfig(
        **SIZES,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        cls_token_id=tokenizer.bos_token_id,
        sep_token_id=tokenizer.eos_token_id,
        id2label=labels,
        label2id={name: place for place, name in labels.items()},
    )
    return _write(config, ModernBertForTokenClassification, folder)


def change_config(folder: Path, **changes: Any) -> Path:
    """Write other values into the config of a model's folder; return the folder."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


def _bert(**options: Any) -> Any:
    from transformers import BertConfig

    tokenizer = build_tokenizer()
    return BertConfig(
        **SIZES,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        **options,
    )


def _write(config: Any, kind: Any, folder: Path) -> Path:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(config)
        # The default spread makes every answer alike.
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder
