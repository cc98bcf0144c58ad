"""Writes the script of an exported chain: the cleaner's answer is what the summariser reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workers import files
from workers.text.instructions import TUNED_SYSTEM

NAME = "summarize.py"

_SCRIPT = '''"""Summarises tweets, one a line of standard input: the first model cleans, the second summarises what the first wrote.

    python {name} < tweets.txt

Needs transformers{needs}. Tweets go in without links, retweet marks, leading handles and closing hashtags.
"""

import sys
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
{imports}
HERE = Path(__file__).parent
PARTS = {parts!r}


def load(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = {model}
    model.generation_config = GenerationConfig.from_pretrained(folder)
    return tokenizer, model.eval()


def write(part, system, text):
    tokenizer, model = part
    messages = [{{"role": "system", "content": system}}, {{"role": "user", "content": text}}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    out = model.generate(**inputs)
    return tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()


loaded = [(load(HERE / folder), system) for folder, system in PARTS]
for line in sys.stdin:
    text = line.strip()
    for part, system in loaded:
        text = write(part, system, text)
    print(text, flush=True)
'''
_LLAMA_SCRIPT = '''"""Summarises tweets, one a line of standard input: the first model cleans, the second summarises what the first wrote.

    python {name} < tweets.txt

Needs llama-cpp-python. Tweets go in without links, retweet marks, leading handles and closing hashtags.
"""

import sys
from pathlib import Path

from llama_cpp import Llama

HERE = Path(__file__).parent
PARTS = {parts!r}


def write(model, system, tokens, text):
    messages = [{{"role": "system", "content": system}}, {{"role": "user", "content": text}}]
    answer = model.create_chat_completion(messages, max_tokens=tokens, temperature=0)
    return answer["choices"][0]["message"]["content"].strip()


loaded = [(Llama(str(next((HERE / folder).glob("*.gguf"))), verbose=False), system, tokens) for folder, system, tokens in PARTS]
for line in sys.stdin:
    text = line.strip()
    for model, system, tokens in loaded:
        text = write(model, system, tokens, text)
    print(text, flush=True)
'''


def write(folder: Path, parts: Sequence[tuple[str, str]], *, kind: str, base_id: str | None) -> None:
    """Write the script to a chain's folder.

    Args:
        folder: of the chain's export.
        parts: folder below it and stage, in the order in which they write.
        kind: `adapter`, `whole` or `gguf`: what the parts are.
        base_id: of the base on the hub, for adapters.
    """
    from schemas.payloads import Stage
    from workers.text.constraints import MAX_NEW_TOKENS

    systems = [(name, TUNED_SYSTEM[Stage(stage)]) for name, stage in parts]
    if kind == "gguf":
        with_tokens = [(name, TUNED_SYSTEM[Stage(stage)], MAX_NEW_TOKENS[Stage(stage)]) for name, stage in parts]
        text = _LLAMA_SCRIPT.format(name=NAME, parts=with_tokens)
    elif kind == "adapter":
        model = f'PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base_id}"), folder)'
        imports = "from peft import PeftModel\n"
        text = _SCRIPT.format(name=NAME, parts=systems, model=model, imports=imports, needs=" and peft")
    else:
        text = _SCRIPT.format(name=NAME, parts=systems, model="AutoModelForCausalLM.from_pretrained(folder)", imports="", needs="")
    files.write_text(folder / NAME, text)
