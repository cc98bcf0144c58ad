"""Writes the README of an export: the model card, the exact prompt, how to ask it, and what the round trip found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.payloads import ExportFormat, Quant
from workers.exports.hosts import Verdict

SAMPLE = "Bus 42 was late again, third time this week, and nobody told us why"
"""A tweet that nobody wrote: what a README shows must be no row of anybody's data."""

_SERVERS: Mapping[ExportFormat, tuple[str, int]] = {
    # The base's own template may ask what the adapter's has the answer to: vLLM would take the base's.
    "adapter": (
        "vllm serve {base} --enable-lora --max-lora-rank {rank} --lora-modules {name}=. --chat-template chat_template.jinja",
        8000,
    ),
    "merged": ("vllm serve . --served-model-name {name}", 8000),
    "gguf": ("llama-server -m {file} --jinja --port 8080", 8080),
    "ollama": ("ollama serve", 11434),
    "mlx-ready": ("mlx_lm.server --model . --port 8080", 8080),
}
_FIRST: Mapping[ExportFormat, str] = {"ollama": "ollama create {name} -f Modelfile\n"}
"""What has to be done once the server runs, before it is asked."""
_PYTHON: Mapping[ExportFormat, str] = {
    "adapter": (
        "from peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig\n\n"
        'tokenizer = AutoTokenizer.from_pretrained(".")\n'
        'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), ".")\n'
        "{ask}"
        'out = model.generate(**inputs, generation_config=GenerationConfig.from_pretrained("."){stop})\n'
        "{show}"
    ),
    "merged": (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'tokenizer, model = AutoTokenizer.from_pretrained("."), AutoModelForCausalLM.from_pretrained(".")\n'
        "{ask}"
        "out = model.generate(**inputs{stop})\n"
        "{show}"
    ),
    "gguf": (
        "from xllamacpp import CommonParams, Server  # pip install xllamacpp\n\n"
        "settings = CommonParams()\n"
        'settings.model.path, settings.n_ctx, settings.verbosity = "{file}", 2048, 0\n'
        "messages = {messages}\n"
        'asked = {"messages": messages, "max_tokens": {tokens}, "temperature": 0{sent_stop}}\n'
        'print(Server(settings).handle_chat_completions(asked)["choices"][0]["message"]["content"])\n'
    ),
    "ollama": ('import ollama\n\nmessages = {messages}\nprint(ollama.chat(model="{name}", messages=messages)["message"]["content"])\n'),
    "mlx-ready": (
        "from mlx_lm import generate, load\n\n"
        'model, tokenizer = load(".")\n'
        "messages = {messages}\n"
        "prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)\n"
        "print(generate(model, tokenizer, prompt=prompt, max_tokens={tokens}))\n"
    ),
}
_ASK = (
    "messages = {messages}\n"
    'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")\n'
)
_SHOW = 'print(tokenizer.decode(out[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True){cut})\n'


@dataclass(frozen=True)
class Described:
    """What a README says of an export, beside its card.

    Attributes:
        name: of the model.
        format: of the export.
        quant: of a GGUF file.
        base: its hub id, or its name.
        messages: a prompt as a user sends it.
        prompt: the same as the template writes it.
        end_of_turn: what closes an answer.
        by_text: no token does, so that programs must be told.
        max_new_tokens: of an answer.
        file: name of the GGUF file.
        notes: what the engine does otherwise, in sentences.
        rank: of an adapter, as vLLM must be told.
        hosts: which take the adapter.
    """

    name: str
    format: ExportFormat
    quant: Quant | None
    base: str
    messages: Sequence[Mapping[str, Any]]
    prompt: str
    end_of_turn: str
    by_text: bool
    max_new_tokens: int
    file: str = ""
    notes: Sequence[str] = ()
    rank: int = 16
    hosts: Sequence[Verdict] = ()


def render(card: str, told: Described, check: Mapping[str, Any]) -> str:
    """Return the README."""
    parts = [card.rstrip("\n"), "\n## Ask it\n", _prompt(told), _curl(told), _python(told)]
    if told.hosts:
        rows = "\n".join(f"| {each.host} | {'yes' if each.takes else 'no'} | {each.why} |" for each in told.hosts)
        parts += ["## Which hosts take it\n", f"By the limits that each publishes.\n\n| host | takes it | |\n|---|---|---|\n{rows}\n"]
    parts += [f"{note}\n" for note in told.notes]
    parts += ["## The same model\n", agreement(check)]
    return "\n".join(parts)


def _prompt(told: Described) -> str:
    stop = f"stop at `{told.end_of_turn.strip()}`" + (", which is no token: send it as `stop`" if told.by_text else "")
    return (
        "The tweet stands alone in the user's turn, on one line, without links, retweet marks, leading handles and closing hashtags:"
        f" those were removed in training too.\n\nDecode greedily (temperature 0), {told.max_new_tokens} tokens at most; {stop}."
        "\n\nThe messages:\n\n"
        f"```json\n{json.dumps(list(told.messages), indent=2, ensure_ascii=False)}\n```\n\n"
        f"which the chat template writes as:\n\n```text\n{told.prompt}\n```\n"
    )


def _curl(told: Described) -> str:
    command, port = _SERVERS[told.format]
    serve = command.format(base=told.base, name=told.name, file=told.file, rank=told.rank)
    body = {"model": told.name, "messages": list(told.messages), "temperature": 0, "max_tokens": told.max_new_tokens}
    body |= {"stop": [told.end_of_turn.strip()]} if told.by_text else {}
    if told.format == "mlx-ready":
        body.pop("model")
    sent = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
    first = _FIRST.get(told.format, "").format(name=told.name)
    # Apart, since the server keeps its terminal: pasted together, the second part would never run.
    asked = f"curl -s http://127.0.0.1:{port}/v1/chat/completions -H 'Content-Type: application/json' -d '{sent}'"
    serving = f"Start a server in this folder:\n\n```sh\n{serve}\n```\n\n"
    return f"{serving}and once it listens, from another terminal:\n\n```sh\n{first}{asked}\n```\n"


def _python(told: Described) -> str:
    form = _PYTHON[told.format]
    messages = json.dumps(list(told.messages), ensure_ascii=False)
    code = form.replace("{ask}", _ASK).replace("{show}", _SHOW)
    end = told.end_of_turn.strip() if told.by_text else ""
    values = {
        "{messages}": messages,
        "{base}": told.base,
        "{name}": told.name,
        "{file}": told.file,
        "{tokens}": str(told.max_new_tokens),
        "{stop}": ", tokenizer=tokenizer" if end else "",
        "{cut}": f".split({end!r})[0]" if end else "",
        "{sent_stop}": f', "stop": [{json.dumps(end)}]' if end else "",
    }
    for name, value in values.items():
        code = code.replace(name, value)
    return f"```python\n{code}```\n"


def agreement(check: Mapping[str, Any]) -> str:
    """Return in words what the round trip found."""
    sari, cost = check["sari"], check["cost"]["export"]
    divergence = check["divergence"]
    n = check["n"]
    rows = [
        ("loaded by", check["engine"]),
        ("prompts, byte for byte", f"{check['same_prompts']} of {n} the same"),
        ("tokens of the prompts", f"{check['same_tokens']} of {n} the same"),
        ("summaries", f"{check['same_summaries']} of {n} the same"),
        ("SARI of the original", f"{sari['original']:.2f}"),
        ("SARI of the export", f"{sari['export']:.2f}"),
        ("difference, paired, 95%", f"{sari['difference']:+.2f} ({sari['low']:+.2f} to {sari['high']:+.2f})"),
        ("form kept, original and export", f"{check['promise']['original']:.2f}, {check['promise']['export']:.2f}"),
        ("words kept, original and export", f"{check['faithful']['original']:.2f}, {check['faithful']['export']:.2f}"),
    ]
    if divergence:
        told = f"{divergence['mean']:.2g} on average, {divergence['largest']:.2g} at most, of {divergence['tokens']:,} tokens"
        rows.append(("divergence of the next word's probabilities, nats", told))
    rows.append(("tokens a second there", f"{cost['tokens_per_second']:g}, {cost['peak_bytes'] / 2**20:,.0f} MiB at most"))
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    left_out = f" {check['left_out']} more were too long for its context." if check.get("left_out") else ""
    return (
        f"{n} held-back tweets went through the original and through this export: first answers, without the guard that tweetmill puts"
        f" behind them.{left_out}\n\n| | |\n|---|---|\n{table}\n"
    )
