"""Writes the Modelfile of an export for Ollama, and reads it back: https://github.com/ollama/ollama/blob/main/docs/modelfile.md.

Ollama renders by Go's templates, so the chat template is written anew as one. What stands around the two texts of a prompt never changes,
and that is all a template needs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workers import files
from workers.errors import UserError

NAME = "Modelfile"
MOST_CONTEXT = 4096
"""Tokens: the longest post that a model is shown has 4,000 characters."""

_SYSTEM, _PROMPT = "{{ .System }}", "{{ .Prompt }}"
_QUOTED = '{word} """(.*?)"""'
_STOP = re.compile(r'^PARAMETER stop "(.*)"$', re.MULTILINE)


@dataclass(frozen=True)
class Modelfile:
    """What a Modelfile says.

    Attributes:
        template: in Go's form.
        system: the system's text.
        stops: what ends an answer.
    """

    template: str
    system: str
    stops: tuple[str, ...]

    def prompt(self, system: str, user: str) -> str:
        """Return the prompt that Ollama makes of two texts."""
        before, _, rest = self.template.partition(_SYSTEM)
        between, _, after = rest.partition(_PROMPT)
        return f"{before}{system}{between}{user}{after}"


def write(folder: Path, gguf: str, around: Sequence[str], system: str, stop: str, *, context: int, max_new_tokens: int) -> None:
    """Write the Modelfile of a GGUF file.

    Args:
        folder: of the export.
        gguf: the file's name in it.
        around: what the chat template writes before the system's text, between it and the user's, and after that.
        system: the system's text.
        stop: what closes an answer.
        context: tokens that the model takes.
        max_new_tokens: of an answer.

    Raises:
        UserError: the template can't be written in Go's form.
    """
    before, between, after = around
    template = f"{before}{_SYSTEM}{between}{_PROMPT}{after}"
    if '"""' in template or "{{" in f"{before}{between}{after}" or '"' in stop:
        raise UserError("the chat template holds marks that an Ollama template can't: take --format gguf")
    # Ollama's own defaults would draw words by chance, and make those rarer that were said.
    text = (
        f'FROM ./{gguf}\nTEMPLATE """{template}"""\nSYSTEM """{system}"""\nPARAMETER stop "{stop}"\n'
        f"PARAMETER num_ctx {min(context or MOST_CONTEXT, MOST_CONTEXT)}\nPARAMETER num_predict {max_new_tokens}\n"
        "PARAMETER temperature 0\nPARAMETER repeat_penalty 1\n"
    )
    files.write_text(folder / NAME, text)


def read(folder: Path) -> Modelfile:
    """Read the Modelfile of an export.

    Raises:
        UserError: there is none, or it lacks what prompts need.
    """
    try:
        text = (folder / NAME).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UserError(f"the export has no {NAME} that can be read: export it again") from None
    found = {word: re.search(_QUOTED.format(word=word), text, re.DOTALL) for word in ("TEMPLATE", "SYSTEM")}
    template, system = found["TEMPLATE"], found["SYSTEM"]
    if template is None or system is None:
        lacking = " and ".join(word for word, match in found.items() if match is None)
        raise UserError(f"the {NAME} has no {lacking}: Ollama would prompt the model otherwise than it was trained. Export it again")
    return Modelfile(template[1], system[1], tuple(_STOP.findall(text)))
