"""What the documentation says of files, verbs, options, keys, settings and states is so."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sqlmodel import SQLModel
from typer.main import get_command

import schemas.tables  # noqa: F401 - declares the tables
from producers.cli import app
from schemas.states import LEGAL_MOVES, PARENT_MOVES, JobState
from schemas.synthesis import SynthesisSpec
from schemas.training import TrainingSpec
from workers.settings import Settings
from workers.text import checks

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOLDERS = ("schemas", "workers", "tasks", "producers", "deploy", "recipes", "samples", "tests", "docs", "benchmarks", ".ci")
IN_A_FOLDER = re.compile(rf"(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*")
TOP_FILES = re.compile(r"[A-Z]+\.md|Makefile|pyproject\.toml|constraints\.txt|docker-compose\.yml")

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \|", re.MULTILINE)

VERBS: dict[str, Any] = getattr(get_command(app), "commands")  # noqa: B009 - a group, of whichever Click Typer brings
on_every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def spans(page: Path) -> list[str]:
    return SPAN.findall(FENCE.sub("", page.read_text()))


def fences(page: Path, *languages: str) -> list[str]:
    return [body for language, body in FENCE.findall(page.read_text()) if language in languages]


def commands(page: Path) -> Iterator[list[str]]:
    """Every command of the page's code, as words, without what is set before it and without comments."""
    lines = [line for body in fences(page, "sh") for line in body.replace("\\\n", " ").splitlines()]
    for line in [*lines, *spans(page)]:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split = True
        try:
            yield from _each(list(lexer))
        except ValueError:  # an apostrophe in code that is no command
            continue


def _each(words: list[str]) -> Iterator[list[str]]:
    one: list[str] = []
    for word in [*words, ";"]:
        if word in {"|", "&&", ";"}:
            if one:
                yield one
            one = []
        elif one or not re.fullmatch(r"\w+=.*", word):
            one.append(word)


def invocations(page: Path) -> Iterator[list[str]]:
    """The words after `tweetmill`, also where it runs in a container."""
    for words in commands(page):
        if Path(words[0]).name == "tweetmill":
            yield words[1:]
        elif words[0].startswith("docker-compose") and "run" in words:
            service = next((place for place, word in enumerate(words) if word in {"producer", "gpu-worker"}), None)
            if service is not None:
                yield words[service + 1 :]


def verbs_of(group: Any) -> dict[str, Any]:
    """The verbs of a group; a verb has none."""
    return getattr(group, "commands", {})


def complaint(words: list[str]) -> str | None:
    """What is wrong with an invocation; None when its verb and options are there."""
    if not words or words[0] in {"VERB", "--help", "--version", "--debug"}:
        return None
    verb = VERBS.get(words[0])
    if verb is None:
        return f"there is no verb {words[0]}"
    if words[1:]:
        # `dataset NAME` is short for `dataset show NAME`, `curve -r RECIPE` for `curve run -r RECIPE`, `import FILE` for
        # `import pairs FILE`, and `export MODEL` for `export model MODEL`.
        within = verbs_of(verb)
        short = within.get("pairs") or within.get("model") or within.get("run" if words[1].startswith("-") else "show", verb)
        verb = verbs_of(verb).get(words[1], short)
    known = {"--help", "-h"} | {option for parameter in verb.params for option in [*parameter.opts, *parameter.secondary_opts]}
    given = {word.partition("=")[0] for word in words[1:] if word.startswith("-") and word != "-"}
    unknown = sorted(given - known)
    return f"{words[0]} has no {', '.join(unknown)}" if unknown else None


@on_every_page
def test_every_verb_and_option_is_there(page):
    assert [found for words in invocations(page) if (found := complaint(words))] == []


def test_a_verb_or_option_that_is_not_there_would_be_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "Type `tweetmill fly`.\n```sh\nA=1 tweetmill up --wings 2 -d\nzcat a | tweetmill ingest - --source b  # fine\n"
        "docker-compose run --rm producer soar\ntweetmill dataset export mine --wings\ntweetmill dataset mine --json\n```\n"
    )
    assert [complaint(words) for words in invocations(page)] == (
        ["up has no --wings", None, "there is no verb soar", "dataset has no --wings", None, "there is no verb fly"]
    )


def test_every_verb_is_explained():
    told = {words[0] for page in PAGES for words in invocations(page) if words}
    assert set(VERBS) - told == set()
    within = {tuple(words[:2]) for page in PAGES for words in invocations(page)}
    assert {(group, verb) for group in VERBS for verb in verbs_of(VERBS[group])} - within == set()


@on_every_page
def test_every_make_target_is_there(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for words in commands(page) if words[0] == "make" for word in words[1:] if "=" not in word}
    assert named - targets == set()


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@on_every_page
def test_every_relative_link_leads_somewhere(page):
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if link.startswith(("https://", "http://")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@on_every_page
def test_every_file_of_the_repository_that_is_named_exists(page):
    words = [word.strip(".,;:()") for code in [*spans(page), *fences(page, "sh", "text", "json")] for word in code.split()]
    named = {word for word in words if TOP_FILES.fullmatch(word) or IN_A_FOLDER.fullmatch(word)}
    assert sorted(word for word in named if not (ROOT / word).exists()) == []


def moves_drawn(picture: str) -> set[tuple[str, str]]:
    drawn = re.findall(r"^\s*(\S+) --> ([\w\[\]*]+)", picture, re.MULTILINE)
    return {(start, end) for start, end in drawn if "[*]" not in (start, end)}


def test_the_pictures_of_the_ledger_show_the_legal_moves_and_no_others():
    of_jobs, of_parents, _ = fences(ROOT / "docs" / "ledger.md", "mermaid")
    for picture, moves in ((of_jobs, LEGAL_MOVES), (of_parents, PARENT_MOVES)):
        assert moves_drawn(picture) == {(start.value, end.value) for start, ends in moves.items() for end in ends}


def test_the_ledger_page_explains_every_state():
    explained = re.findall(r"^\| (\w+) \|", (ROOT / "docs" / "ledger.md").read_text(), re.MULTILINE)
    assert {state.value for state in JobState} <= set(explained)


def table_after(page: str, mark: str) -> dict[str, str]:
    """First and second cell of each row of the table that follows a mark; an empty table would compare equal to nothing."""
    table = (ROOT / "docs" / page).read_text().partition(f"<!-- {mark} -->\n")[2].partition("\n\n")[0]
    return {name: default.strip().strip("`") for name, default in ROW.findall(table)}


def as_told(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ", ".join(default) or "none"
    return f"{default:g}" if isinstance(default, float) else str(default)


def keys_of(spec: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """The keys of a recipe and their defaults, nested ones under their dotted names."""
    found = {}
    for name, field in spec.model_fields.items():
        found[prefix + name] = as_told(field.default)
        for choice in (field.annotation, *get_args(field.annotation)):
            if isinstance(choice, type) and issubclass(choice, BaseModel):
                found |= keys_of(choice, f"{prefix}{name}.")
    return found


def test_the_keys_of_a_synthesis_recipe_stand_in_the_docs_with_their_defaults():
    assert table_after("data.md", "keys:SynthesisSpec") == keys_of(SynthesisSpec)


def test_the_keys_of_a_training_recipe_stand_in_the_docs_with_their_defaults():
    assert table_after("training.md", "keys:TrainingSpec") == keys_of(TrainingSpec)


def test_every_setting_stands_in_the_docs_with_its_default():
    told = table_after("operations.md", "settings")
    settings = {}
    for name, field in Settings.model_fields.items():
        alias = getattr(field.validation_alias, "choices", [f"TWEETMILL_{name.upper()}"])[0]
        settings[str(alias)] = as_told(field.default).replace("none", "unset")
    settings["TWEETMILL_HOME"] = "~/.local/state/tweetmill"
    assert told == settings


def test_every_flag_of_the_guard_is_explained():
    explained = dict(ROW.findall((ROOT / "docs" / "summaries.md").read_text()))
    assert {"promise", "fallback", "wordless", "no_answer", *checks._CHECKS} <= set(explained)


def between(page: str, mark: str) -> str:
    """What stands between the comment marks `mark:begin` and `mark:end`."""
    text = (ROOT / page).read_text()
    begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    assert text.count(begin) == text.count(end) == 1
    return text.partition(begin)[2].partition(end)[0]


def test_the_readme_shows_the_demos_result_in_five_rows_with_interval_and_n():
    result = between("README.md", "demo")
    header, line, *rows = [row for row in result.splitlines() if row.startswith("|")]
    assert len(rows) == 5
    assert {row.count("|") for row in (header, line, *rows)} == {header.count("|")}
    assert all(re.search(r"\d \([\d.]+ to [\d.]+\)", row) for row in rows)
    assert re.search(r"\bn = \d+", result)


def test_the_whole_table_of_the_demo_stands_on_its_own_page():
    assert between("docs/results.md", "demo-results").count("\n| first 15 words of that |") == 2


def test_the_readme_stays_one_page():
    assert len((ROOT / "README.md").read_text().split()) <= 800


def pages_listed(text: str) -> list[str]:
    return re.findall(r"^\| \[[^\]]+\]\(([^)]+)\) \|", text, re.MULTILINE)


def test_the_index_lists_each_page_once_under_one_of_four_kinds():
    parts = re.split(r"^## ", (ROOT / "docs" / "README.md").read_text(), flags=re.MULTILINE)[1:]
    assert [part.splitlines()[0] for part in parts] == ["Tutorial", "How-to", "Reference", "Explanation"]
    listed = [link for part in parts for link in pages_listed(part)]
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert sorted(listed) == sorted([*pages, "adr/README.md", "../benchmarks/README.md", "../CONTRIBUTING.md", "../CHANGELOG.md"])


def test_the_reference_lists_every_verb():
    listed = {tuple(words[:2]) for words in invocations(ROOT / "docs" / "reference.md")}
    groups = {name for name in VERBS if verbs_of(VERBS[name])}
    expected = {(name,) for name in set(VERBS) - groups} | {(group, verb) for group in groups for verb in verbs_of(VERBS[group])}
    assert expected - listed == set()


ARCHITECTURE = ROOT / "docs" / "architecture.md"
WALKS = ("A recipe to a dataset", "A spec to a model", "A tweet to a summary", "A job id to its commit")


def section(title: str) -> str:
    """A part of docs/architecture.md, up to the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", ARCHITECTURE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def steps(walk: str) -> list[tuple[str, list[str]]]:
    """The file of each step, and the functions and classes of it that the step names: all code up to the first word."""
    found = []
    for step in re.findall(r"^\d+\. (.+)$", section(walk), re.MULTILINE):
        files = [code for code in SPAN.findall(step) if "/" in code and "." in code]
        assert len(files) == 1, step
        opening = re.match(r"(?:`[^`]+` ?)+", step)
        assert opening, step
        found.append((files[0], [code for code in SPAN.findall(opening[0]) if code != files[0]]))
    return found


@pytest.mark.parametrize("walk", WALKS)
def test_a_walk_goes_through_files_that_exist_and_visits_none_twice(walk):
    files = [file for file, _ in steps(walk)]
    assert len(files) >= 10
    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert [file for file in files if files.count(file) > 1] == []


@pytest.mark.parametrize("walk", WALKS)
def test_each_step_of_a_walk_is_defined_in_its_file_and_reached_from_an_earlier_one(walk):
    reached = ""
    for file, names in steps(walk):
        source = (ROOT / file).read_text()
        assert [name for name in names if not re.search(rf"^\s*(?:def|class) {name}\b", source, re.MULTILINE)] == [], file
        package, _, module = file.removesuffix(".py").replace("/", ".").rpartition(".")
        by_name = rf'import_module\(f"{re.escape(package)}\.{{'
        is_imported = rf"from {re.escape(package)} import (?:\([^)]*|[^\n(]*)\b{module}\b|\b{re.escape(package)}\.{module}\b|{by_name}"
        # A table is reached through its SQL; the last step of each walk is one, or reads one.
        assert not reached or file.startswith("schemas/tables/") or re.search(is_imported, reached), file
        reached += source


def packages_of(folder: str) -> set[str]:
    return {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}


def test_the_picture_of_the_packages_shows_the_arrows_that_there_are_and_no_others():
    packages, everywhere = packages_of("workers"), {"configuration", "connections", "jobs", "text"}
    drawn = set(re.findall(r"^\s*(\w+) --> (\w+)$", fences(ARCHITECTURE, "mermaid")[0], re.MULTILINE))
    imports = re.compile(r"^\s*(?:from|import) workers\.(\w+)|^\s*from workers import (\w+)", re.MULTILINE)
    found = set()
    for package in packages:
        for file in (ROOT / "workers" / package).rglob("*.py"):
            found |= {(package, one or other) for one, other in imports.findall(file.read_text())}
    assert drawn == {(start, end) for start, end in found if end in packages - everywhere and start != end}
    assert {start for start, _ in drawn} & {"jobs", "text", "readiness", "base_models"} == set()


def test_every_package_and_table_is_named():
    listed = set(re.findall(r"^\| `([\w/]+)/` \|", section("Packages"), re.MULTILINE))
    assert {f"{folder}/{name}" for folder in ("workers", "producers") for name in packages_of(folder)} - listed == set()
    assert set(re.findall(r"^\| `(\w+)` \|", section("The tables"), re.MULTILINE)) == set(SQLModel.metadata.tables)


def test_every_decision_is_listed():
    decisions = {path.name for path in (ROOT / "docs" / "adr").glob("0*.md")}
    assert decisions == set(LINK.findall((ROOT / "docs" / "adr" / "README.md").read_text()))
