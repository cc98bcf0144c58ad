"""Writes the script of an exported chain: the cleaner's answer is what the summariser reads."""

from __future__ import annotations

import pprint
from collections.abc import Sequence
from pathlib import Path

from workers import files
from workers.exports.readme import SAMPLE, Described

NAME = "summarize.py"

_TWEET = "{tweet}"
_SCRIPT = '''"""Summarises tweets, one a line of standard input: the first model cleans, the second summarises what the first wrote.

    python <name> < tweets.txt

Needs <needs>. Tweets go in without links, retweet marks, leading handles and closing hashtags.
"""

import sys
from pathlib import Path

<imports>

HERE = Path(__file__).parent
TWEET = "<tweet>"
PARTS = <parts>
"""Folder, messages, tokens of an answer, and what is said where no token ends it."""


<functions>


loaded = [(load(HERE / folder), *how) for folder, *how in PARTS]
for line in sys.stdin:
    text = line.strip()
    for model, turns, tokens, stop in loaded:
        messages = [{**turn, "content": turn["content"].replace(TWEET, text)} for turn in turns]
        text = write(model, messages, tokens, stop)
    print(text, flush=True)
'''
_TRANSFORMERS = """def load(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = <model>
    model.generation_config = GenerationConfig.from_pretrained(folder)
    return tokenizer, model.eval()


def write(loaded, messages, tokens, stop):
    tokenizer, model = loaded
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    out = model.generate(**inputs, tokenizer=tokenizer, max_new_tokens=tokens)
    answer = tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return answer.split(stop)[0].strip() if stop else answer.strip()"""
_LLAMA_CPP = """def load(folder):
    settings = CommonParams()
    settings.model.path = str(next(folder.glob("*.gguf")))
    settings.n_ctx, settings.verbosity = 2048, 0
    return Server(settings)


def write(model, messages, tokens, stop):
    asked = {"messages": messages, "max_tokens": tokens, "temperature": 0, "stop": [stop] if stop else []}
    return model.handle_chat_completions(asked)["choices"][0]["message"]["content"].strip()"""
_AUTO = "from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig"
_BASE = "AutoModelForCausalLM.from_pretrained"


def write(folder: Path, parts: Sequence[tuple[str, Described]], *, kind: str) -> None:
    """Write the script to a chain's folder.

    Args:
        folder: of the chain's export.
        parts: folder below it and what its README says, in the order in which they write.
        kind: `adapter`, `whole` or `gguf`: what the parts are.
    """
    asked = pprint.pformat([_asked(name, told) for name, told in parts], width=120, sort_dicts=False)
    values = {"<name>": NAME, "<tweet>": _TWEET, "<parts>": asked}
    if kind == "gguf":
        values |= {"<needs>": "xllamacpp", "<imports>": "from xllamacpp import CommonParams, Server", "<functions>": _LLAMA_CPP}
    elif kind == "adapter":
        model = f'PeftModel.from_pretrained({_BASE}("{parts[-1][1].base}"), folder)'
        values |= {"<needs>": "transformers and peft", "<imports>": f"from peft import PeftModel\n{_AUTO}"}
        values |= {"<functions>": _TRANSFORMERS.replace("<model>", model)}
    else:
        values |= {"<needs>": "transformers", "<imports>": _AUTO, "<functions>": _TRANSFORMERS.replace("<model>", f"{_BASE}(folder)")}
    text = _SCRIPT
    for mark, value in values.items():
        text = text.replace(mark, value)
    files.write_text(folder / NAME, text)


def _asked(name: str, told: Described) -> tuple[str, list[dict[str, str]], int, str | None]:
    """How one part is asked: its base may have no turn of the system, so the messages are those that its template was taught with."""
    turns = [{**turn, "content": str(turn["content"]).replace(SAMPLE, _TWEET)} for turn in told.messages]
    return name, turns, told.max_new_tokens, told.end_of_turn.strip() if told.by_text else None
