"""Says how llama.cpp must split texts to split them as a model's own tokenizer does, and refuses where it can't.

llama.cpp knows tokenizers by a name that stands for rules in its code, so a name that does not fit gives other tokens without a word.
Names are found by the rules that the tokenizer's own file states, never by what the model is called.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workers.exports.gguf.architectures import NotExportable

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import PreTrainedTokenizerBase

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA_3 = _WORDS + r"\p{N}{1,3}" + _REST
_QWEN_2 = _WORDS + r"\p{N}" + _REST
_LETTERS = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
_CAPITALS = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
_TEKKEN = _LETTERS + _CAPITALS + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"

# By the steps before the byte-level one, whether that splits words itself, and whether a whole word that is a token is taken at once.
_NAMES: Mapping[tuple[tuple[str, ...], bool, bool], str] = {
    ((), True, False): "gpt-2",
    (("digits",), True, False): "smollm",
    ((_LLAMA_3,), False, True): "llama-bpe",
    ((_LLAMA_3,), False, False): "smaug-bpe",
    ((_QWEN_2,), False, False): "qwen2",
    ((_TEKKEN,), False, True): "tekken",
}


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer as GGUF keeps it.

    Attributes:
        model: the method, as llama.cpp calls it.
        pre: the name of the rules by which texts are split before.
        tokens: by id, as many as the model has embeddings.
        types: of the tokens: 1 normal, 3 control, 4 added by somebody, 5 unused.
        merges: pairs of tokens, first come first merged.
        notes: sentences on what llama.cpp does otherwise.
    """

    model: str
    pre: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]
    notes: tuple[str, ...]


def vocabulary_of(tokenizer: PreTrainedTokenizerBase, rows: int) -> Vocabulary:
    """Return how GGUF keeps a tokenizer.

    Args:
        tokenizer: a Hugging Face tokenizer.
        rows: embeddings of the model; those that the tokenizer does not use get a name.

    Raises:
        NotExportable: llama.cpp would split texts otherwise.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise NotExportable("the tokenizer has no tokenizer.json, whose rules llama.cpp needs: save it by transformers as a fast one")
    rules = json.loads(backend.to_str())
    method = rules["model"]
    if method.get("type") != "BPE" or method.get("byte_fallback"):
        raise NotExportable(f"the tokenizer is {_described(method)}, and only byte-level BPE is written as GGUF: export it merged")
    pre = _pre_tokenizer(rules)
    numbers: dict[str, int] = {**method["vocab"], **{token["content"]: token["id"] for token in rules.get("added_tokens") or ()}}
    if max(numbers.values()) >= rows:
        last = max(numbers.values())
        raise NotExportable(f"the tokenizer has tokens up to {last}, and the model {rows} embeddings: they do not belong together")
    tokens, types = [f"[PAD{number}]" for number in range(rows)], [5] * rows
    for text, number in numbers.items():
        tokens[number], types[number] = text, 1
    for token in rules.get("added_tokens") or ():
        types[token["id"]] = 3 if token["special"] else 4
    return Vocabulary("gpt2", pre, tuple(tokens), tuple(types), tuple(_merges(method["merges"])), _notes(rules))


def add_vocabulary(writer: GGUFWriter, vocabulary: Vocabulary, tokenizer: PreTrainedTokenizerBase, ends: Sequence[int]) -> None:
    """Write a tokenizer, the tokens that begin, end and pad texts, and that nothing is put before a text but by the chat template.

    Args:
        writer: of the file.
        vocabulary: see `vocabulary_of`.
        tokenizer: says which tokens are special.
        ends: the tokens that close an answer.
    """
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    eos = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else next(iter(ends), None)
    if eos is None:
        raise NotExportable("no token closes an answer: set eos_token in tokenizer_config.json to the one that does")
    # llama.cpp takes token 11 for the first and the last where a file names none.
    writer.add_bos_token_id(tokenizer.bos_token_id if tokenizer.bos_token_id is not None else eos)
    writer.add_eos_token_id(eos)
    others = [number for number in ends if number != eos]
    for add, number in zip((writer.add_eot_token_id, writer.add_eom_token_id), others, strict=False):
        add(number)
    if tokenizer.unk_token_id is not None:
        writer.add_unk_token_id(tokenizer.unk_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)


def _pre_tokenizer(rules: Mapping[str, Any]) -> str:
    """The name of llama.cpp's rules that are those of a byte-level tokenizer."""
    steps = _flat(rules.get("pre_tokenizer"), "pretokenizers")
    last = steps[-1] if steps else {}
    before = tuple(_rule(step) for step in steps[:-1])
    key = (before, bool(last.get("use_regex", True)), bool(rules["model"].get("ignore_merges", False)))
    name = _NAMES.get(key) if last.get("type") == "ByteLevel" and not last.get("add_prefix_space") else None
    if name is None:
        shown = ", ".join(str(step.get("type")) for step in steps) or "nothing"
        raise NotExportable(
            f"the tokenizer splits texts by rules that have no name in llama.cpp ({shown}); those of GPT-2, SmolLM, Llama 3, Qwen 2 and"
            " Mistral's Tekken have one. Export it merged, and convert it by llama.cpp's own script"
        )
    strange = [step["type"] for step in _flat(rules.get("normalizer"), "normalizers") if step["type"] != "NFC"]
    if strange:
        raise NotExportable(f"the tokenizer changes texts before it splits them ({strange[0]}), which llama.cpp does not: export it merged")
    return name


def _rule(step: Mapping[str, Any]) -> str:
    if step.get("type") == "Split" and step.get("behavior") == "Isolated" and not step.get("invert"):
        return str(step["pattern"].get("Regex", ""))
    if step.get("type") == "Digits" and step.get("individual_digits"):
        return "digits"
    return f"unknown: {step.get('type')}"


def _flat(step: Mapping[str, Any] | None, key: str) -> list[Mapping[str, Any]]:
    if step is None:
        return []
    return list(step[key]) if step.get("type") == "Sequence" else [step]


def _merges(merges: Sequence[str | Sequence[str]]) -> list[str]:
    """Pairs as GGUF has them: joined by a space; older files have them so already."""
    return [merge if isinstance(merge, str) else " ".join(part.replace(" ", "Ġ") for part in merge) for merge in merges]


def _notes(rules: Mapping[str, Any]) -> tuple[str, ...]:
    notes = []
    if _flat(rules.get("normalizer"), "normalizers"):
        notes.append("The tokenizer composes letters and their accents (NFC) and llama.cpp does not: send texts in NFC.")
    stripping = [token["content"] for token in rules.get("added_tokens") or () if token.get("lstrip") or token.get("rstrip")]
    if stripping:
        notes.append(f"The tokenizer drops spaces beside {stripping[0]} and llama.cpp does not.")
    return tuple(notes)


def _described(method: Mapping[str, Any]) -> str:
    return "BPE over letters (SentencePiece)" if method.get("type") == "BPE" else str(method.get("type"))
