"""Chat templates as the families of open models have them, each with a small tokenizer that knows its control tokens."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

_NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
_ALTERNATES = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """A template with the tokens of its tokenizer: `special` ones, and `added` ones that are not flagged as such."""

    template: str
    special: tuple[str, ...]
    eos: str | None
    bos: str | None = None
    added: tuple[str, ...] = ()

    def tokenizer(self, *words: str) -> PreTrainedTokenizerFast:
        """A byte-level tokenizer without merges, with `words` added to its vocabulary."""
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        inner = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in self.special])
        inner.add_tokens([AddedToken(token, special=False, normalized=False) for token in (*self.added, *words)])
        fast = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=self.bos, eos_token=self.eos)
        fast.chat_template = self.template
        return fast


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CHATML_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

FAMILIES = {
    "chatml": Family(CHATML, _CHATML_TOKENS, eos="<|im_end|>"),
    # A base model that was tuned on nothing: only the end of a text is its eos.
    "chatml of a base": Family(CHATML, _CHATML_TOKENS, eos="<|endoftext|>"),
    "thinks by choice": Family(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
        "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
        _CHATML_TOKENS,
        eos="<|im_end|>",
        added=("<think>", "</think>", "<tool_call>"),
    ),
    "thinks always": Family(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}<｜User｜>"
        "{{ m.content }}{% else %}<｜Assistant｜>{{ m.content }}<｜end▁of▁sentence｜>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<｜Assistant｜><think>\n{% endif %}",
        ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
        bos="<｜begin▁of▁sentence｜>",
        eos="<｜end▁of▁sentence｜>",
        added=("<think>", "</think>"),
    ),
    "dated": Family(
        "{{ bos_token }}{% if not date_string is defined %}{% if strftime_now is defined %}{% set date_string = strftime_now('%d %b %Y') %}"
        "{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}{% endif %}<|start_header_id|>system<|end_header_id|>\n\n"
        "Today Date: {{ date_string }} ({{ strftime_now('%A %-d %B %H:%M 100%%') }})\n\n{% if messages[0]['role'] == 'system' %}"
        "{{ messages[0]['content'] | trim }}{% set messages = messages[1:] %}{% endif %}<|eot_id|>{% for m in messages %}"
        "<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        bos="<|begin_of_text|>",
        eos="<|end_of_text|>",
    ),
    "no system role": Family(
        "{{ bos_token }}" + _NO_SYSTEM + _ALTERNATES + "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
        "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
        ("<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>"),
        bos="<bos>",
        eos="<eos>",
        added=("<table>", "\n\n", "  "),
    ),
    "system left out": Family(
        "{% for m in messages if m['role'] != 'system' %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        _CHATML_TOKENS,
        eos="<|im_end|>",
    ),
    "marks of text": Family(  # [INST] is no token here
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set s = messages[0]['content'] + '\n\n' %}"
        "{% set rest = messages[1:] %}{% else %}{% set s = '' %}{% set rest = messages %}{% endif %}"
        "{% for m in rest %}{% if m['role'] == 'user' %}"
        "[INST] {% if loop.last %}{{ s }}{% endif %}{{ m['content'] }}[/INST]{% else %} {{ m['content'] }}"
        "{{ eos_token }}{% endif %}{% endfor %}",
        ("<unk>", "<s>", "</s>"),
        bos="<s>",
        eos="</s>",
    ),
    "built from roles": Family(
        "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
        ("<s>", "</s>"),
        bos="<s>",
        eos="</s>",
    ),
    "ends twice": Family(
        "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}",
        ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        eos="<|endoftext|>",
    ),
    "headers of text": Family(
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}\n\n{% elif m['role'] == 'user' %}USER: {{ m['content'] }} "
        "{% else %}ASSISTANT: {{ m['content'] }}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}",
        ("<s>", "</s>"),
        bos="<s>",
        eos="</s>",
    ),
    "no end token": Family(
        "{% for m in messages %}### {{ m['role'] | capitalize }}:\n{{ m['content'] }}\n### End\n\n{% endfor %}"
        "{% if add_generation_prompt %}### Assistant:\n{% endif %}",
        (),
        eos=None,
    ),
    "lists of parts": Family(
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}{{ c['text'] }}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        _CHATML_TOKENS,
        eos="<|im_end|>",
    ),
}
