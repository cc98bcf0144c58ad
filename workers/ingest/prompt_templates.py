"""Prompt templates: what a teacher is asked, in a file that anybody can write.

    # Lines before the first part are comments.
    [system]
    You summarize tweets in at most {max_words} words. {answer}
    [user]
    {tweet}

`{tweet}` is the tweet between `<tweet>` and `</tweet>`; it stands once, in the user part. `{answer}` says in which form the answer
is wanted, which the job knows. `{{` and `}}` are braces.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from schemas.payloads import Stage
from workers.errors import NotFound, UserError

PLACEHOLDERS = ("answer", "max_words", "tweet")
LONGEST_TEMPLATE = 20_000  # characters

_PARTS = ("system", "user")
_HEAD = re.compile(r"\[(\w+)\]\s*")
_BRACES = re.compile(r"\{\{|\}\}|\{(\w*)\}|[{}]")
_OWN = Path(__file__).resolve().parents[2] / "recipes" / "prompts"


@dataclass(frozen=True)
class Template:
    """The parts of a prompt, their placeholders checked."""

    system: str
    user: str

    def filled(self, **values: object) -> tuple[str, str]:
        """Return both parts with the placeholders replaced; a brace in a value stays a brace.

        Args:
            values: by the names of the placeholders.
        """
        return _filled(self.system, values), _filled(self.user, values)


def own(stage: Stage) -> str:
    """Return the text of the stage's own template."""
    return (_OWN / f"{stage.value}.txt").read_text(encoding="utf-8")


def read(path: Path) -> str:
    """Return the text of a template's file, checked.

    Raises:
        NotFound: there is no such file.
        UserError: it is no template, with file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(f"{path}: there is no such prompt. Paths in a recipe start at the recipe's folder or at the current one") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder: name the file of a prompt in it") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8: is it a prompt?") from None
    parse_template(text, str(path))
    return text


def parse_template(text: str, name: str) -> Template:
    """Parse the text of a template.

    Args:
        text: of the file.
        name: the file's, for error messages.

    Raises:
        UserError: it is none, with file and line.
    """
    if len(text) > LONGEST_TEMPLATE:
        raise UserError(f"{name}: a prompt has at most {LONGEST_TEMPLATE:,} characters, this has {len(text):,}")
    parts: dict[str, list[str]] = {}
    current: list[str] | None = None
    tweets = 0
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"{name}, line {number}"
        head = _HEAD.fullmatch(line)
        if head:
            current = _begun(parts, head.group(1), where)
        elif current is not None:
            tweets += _tweets(line, where, in_user="user" in parts and current is parts["user"])
            current.append(line.rstrip())
        elif line.strip() and not line.lstrip().startswith("#"):
            raise UserError(f"{where}: before the part [system] or [user] only comments may stand, which begin with #")
    if tweets != 1:
        raise UserError(f"{name}: the part [user] must hold {{tweet}} once, and holds it {tweets} times")
    whole = {part: "\n".join(lines).strip() for part, lines in parts.items()}
    return Template(whole.get("system", ""), whole["user"])


def _begun(parts: dict[str, list[str]], part: str, where: str) -> list[str]:
    if part not in _PARTS:
        raise UserError(f"{where}: there is no part [{part}], only [system] and [user]")
    if part in parts:
        raise UserError(f"{where}: the part [{part}] stands there already")
    parts[part] = []
    return parts[part]


def _tweets(line: str, where: str, in_user: bool) -> int:
    """Return how many tweets a line holds, all its placeholders being known."""
    found = 0
    for match in _BRACES.finditer(line):
        name = match.group(1)
        if match.group() in ("{{", "}}"):
            continue
        if name not in PLACEHOLDERS:
            known = ", ".join(f"{{{placeholder}}}" for placeholder in PLACEHOLDERS)
            raise UserError(f"{where}: {match.group()} is no placeholder; there are {known}, and {{{{ and }}}} write braces")
        if name == "tweet" and not in_user:
            raise UserError(f"{where}: a tweet is no instruction: put {{tweet}} into the part [user]")
        found += name == "tweet"
    return found


def _filled(part: str, values: dict[str, object]) -> str:
    def value(match: re.Match[str]) -> str:
        return match.group()[0] if match.group(1) is None else str(values[match.group(1)])

    return _BRACES.sub(value, part)
