"""What others wrote is shown on a terminal, and does nothing to it."""

from __future__ import annotations

import ast
import json
import sys
import unicodedata
from pathlib import Path

import pytest
from rich.table import Table

from producers.cli import app, main
from producers.render import exit_codes, output
from workers.showable import restored, showable, showable_json

HOSTILE = {
    "a window's title": "\x1b]0;mine now\x07",
    "the clipboard": "\x1b]52;c;bWluZQ==\x1b\\",
    "a cleared screen": "\x1b[2J\x1b[H",
    "a link": "\x1b]8;;http://example.invalid\x1b\\here\x1b]8;;\x1b\\",
    "controls of C1": "\x9b31m \x9d0;title\x9c \x90q\x9c \x85",
    "an overwritten line": "all is well\rnothing is\x08\x08",
    "delete and null": "a\x7fb\x00c",
    "form feeds and bells": "\x0c\x0b\x07\x0e\x0f",
    "overrides": "\u202etxet\u202c \u202da\u202c",
    "isolates": "\u2066a\u2069 \u2067b\u2069 \u2068c\u2069",
    "marks of direction": "\u200e\u200f\u061c",
    "zero width": "in\u200bvis\ufeffible\u2060 sof\xadt",
    "a joiner between letters": "a\u200db\u200cc",
    "tag characters": "".join(chr(0xE0000 + ord(letter)) for letter in "ignore all"),
    "a text in variation selectors": "\u263a" + "".join(chr(0xE0100 + code) for code in b"hidden"),
    "selectors in a row": "x\ufe00\ufe01\ufe0f\ufe0e",
    "lone surrogates": "\ud83d alone \udcff",
    "other ends of line": "one\u2028two\u2029three",
    "fillers that look like nothing": "\u3164\u115f\u1160\uffa0",
    "annotations": "\ufff9a\ufffab\ufffb",
}
HARMLESS = (
    "The bus is late again, 12 \u00b0C \u2014 \u201cfine\u201d \U0001f600 \u2764\ufe0f 1\ufe0f\u20e3",
    "a family \U0001f468\u200d\U0001f469\u200d\U0001f467 and a flag \U0001f3f3\ufe0f\u200d\U0001f308",
    "scripts that join: \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u0915\u094d\u200d\u0937",
    "[bold]no markup[/bold] :smile: \\x1b is text\tand so is this\nsecond line",
)


def obeyed(text: str) -> list[str]:
    """The characters that a terminal obeys or hides: all of Unicode's kinds for that but the line feed, and joiners in their place."""
    return [
        c
        for c in text
        if (unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in "\n\t") or "\U000e0000" <= c <= "\U000e0fff"
    ]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_nothing_is_left_that_a_terminal_obeys_or_hides(text):
    shown = showable(text)
    assert not obeyed(shown)
    assert shown != text
    shown.encode()


@pytest.mark.parametrize("text", HARMLESS)
def test_what_people_read_stays_as_it_is(text):
    assert showable(text) == text


def test_every_control_of_unicode_stands_as_an_escape_that_names_it():
    kept = "\n\t"
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in kept:
            escape = showable(f"a{character}b")[1:-1]
            assert ast.literal_eval(f"'{escape}'") == character, hex(code)


def test_one_line_stays_one():
    assert showable("a\r\nb\tc\x0bd", one_line=True) == r"a\r\nb\tc\x0bd"


def test_an_edited_text_has_its_hidden_characters_again():
    original = "soft\xadhyphen \x1b[1m late"
    assert restored(showable(original).replace("late", "later"), original) == "soft\xadhyphen \x1b[1m later"
    assert restored(r"a typed \x07 stays", "plain") == r"a typed \x07 stays"


@pytest.mark.parametrize("text", [*HOSTILE.values(), *HARMLESS], ids=[*HOSTILE, *map(str, range(len(HARMLESS)))])
def test_json_means_the_same_and_shows_no_control(text):
    document = showable_json(json.dumps({text: [text]}, ensure_ascii=False, indent=2))
    assert json.loads(document) == {text: [text]}
    assert not obeyed(document)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_way_of_saying_something_lets_it_through(text, capsys):
    table = Table(text)
    table.add_row(text, output.styled(text, "bold"))
    output.say(text)
    output.emit({}, False, lambda _: text)
    output.emit({}, False, lambda _: table)
    output.emit({text: text}, True, str)
    exit_codes.exit_code_of(lambda: fail(text))
    main([text])
    main(["jobs", "--limit", text])
    said = capsys.readouterr()
    assert not obeyed(said.out + said.err)


def fail(text: str) -> None:
    raise exit_codes.UsageError(text)


@pytest.mark.parametrize(
    "text", ["[/]", "[/x]", "[bold red]loud[/bold red]", "[link=x.invalid]y[/link]", "[", "[@click=app.quit]x[/]", ":bomb:"]
)
def test_what_looks_like_markup_is_text(text, capsys):
    table = Table(text)
    table.add_row(text, text)
    output.say(text)
    output.emit({}, False, lambda _: text)
    output.emit({}, False, lambda _: table)
    said = capsys.readouterr()
    assert (said.out.count(text), said.err.count(text)) == (4, 1)


def test_only_one_place_makes_text_of_rich_and_none_reads_markup():
    folder = Path(output.__file__).parents[1]
    shown = [path for name in ("cli", "demo", "render", "review") for path in (folder / name).rglob("*.py")]
    assert len(shown) > 30
    for file in shown:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            where = f"{file.name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ImportFrom) and node.module == "rich.markup":
                pytest.fail(f"{where}: text is no markup here")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("Text", "Console", "print") or file.name in ("output.py", "screen.py"), where
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert node.func.attr not in ("from_markup", "echo", "secho") or file.name == "__init__.py", where
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and file.name not in ("output.py", "__init__.py"):
                assert "[/" not in node.value, f"{where}: markup would be shown as it stands"


def test_help_has_markup_of_ours_alone(capsys):
    assert app is not None
    assert main(["--help"]) == 0
    assert "[bold]" not in capsys.readouterr().out
