"""Writes what the fault tests measured into docs/faults.md.

    python -m tests.faults build/faults.jsonl

The file holds one JSON object a line, as `pytest --figures` appends them; the last line of a test counts. What the page says of a test
that is not in the file stays.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "faults.md"
BEGIN, END = "<!-- faults:begin -->\n", "<!-- faults:end -->\n"
_LINE = re.compile(r"^\| (\d+) \| [^|]* \| [^|]* \| \[([^\]]+)\]\(\.\./([^)]+)\) \| ([^|]*) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Fault:
    """A row of the table: what breaks, and what must happen then, with the number that it must reach."""

    number: int
    breaks: str
    must: str


@dataclass(frozen=True, order=True)
class Covering:
    """A test that covers rows of the table."""

    file: str
    name: str

    @property
    def sentence(self) -> str:
        """Its name, as people read it."""
        return self.name.removeprefix("test_").replace("_", " ")


FAULTS = tuple(
    Fault(number, *cells)
    for number, cells in enumerate(
        (
            ("a worker's main process is killed in a job", "the job goes on elsewhere within a lease and 3 s"),
            ("a worker's pool child is killed", "bounded tries; the worker lives"),
            ("a rank is killed", "no rank is left after 10 s; the job is queued again"),
            ("the launcher of ranks is killed", "no rank is left after 10 s"),
            ("the ranks' supervisor is killed", "no rank is left after 5 s"),
            ("a job kills its worker, each time", "3 starts, then quarantined; 10 of 10 other jobs done"),
            ("out of memory", "told apart; at most 3 starts; a training is halved down to one example"),
            ("a worker freezes for longer than its lease and wakes up", "it is fenced; no row of its attempt after that"),
            ("a rank freezes", "the group is ended within `stall_timeout` and 10 s"),
            ("a busy training worker is asked to leave", "a checkpoint, no failure counted, at most one interval lost"),
            ("an idle worker is asked to leave", "exit code 0 within 5 s"),
            ("a worker is asked to leave, and killed after its grace", "the job starts again within a lease and 3 s; no failure counted"),
            ("Redis is killed for 4 s in the middle of a job", "the job is not touched; a new one starts within 15 s"),
            ("Redis is down for 60 s while 1000 jobs are enqueued", "0 lost; all published within 30 s of its return"),
            ("Redis forgets everything", "0 lost"),
            ("a connection to Redis dies without a word", "messages are taken again within 40 s"),
            ("Redis freezes for 25 s", "a new job starts within 5 s"),
            ("Redis is full", "rows wait, the producer is told; drained within 30 s of room"),
            ("Redis evicts keys", "a worker refuses to start; changed under it, 0 lost"),
            ("Redis and Postgres answer 200 ms late", "no lease is lost"),
            ("Postgres dies for 2 s in the middle of a job", "the same attempt goes on; rows exact"),
            ("Postgres is out of a worker's reach for longer than its lease", "it stops itself; no moment with two holders"),
            ("Postgres takes no writes", "no job is done without its rows"),
            ("a kill between rows and their commit, 200 times", "all or nothing"),
            ("20 jobs of 5 rows are each delivered 5 times and more", "20 starts, 100 rows"),
            ("busy workers are killed under load", "0 lost"),
            ("a producer is killed in the middle of a batch of 10,000", "run again: exactly 10,000 jobs"),
            ("clocks are 2 hours wrong", "no job runs twice"),
            ("upkeep dies, or runs twice", "no job is published twice; the backlog moves on"),
            ("the disk is full at a checkpoint", "the one before stays good; the job says so"),
            ("kills at random moments of training", "each resumes, at most one interval lost"),
            ("a checkpoint is cut short or has a wrong bit", "it is refused and the one before is taken"),
            ("a training resumes with another number of ranks", "the loss goes on within 1e-3, or a clear refusal"),
            ("a bad row among many", "all others done; it is kept with its line and reason"),
            ("a running job is cancelled", "stopped within a renewal and 10 s; it never starts again"),
            ("100,000 jobs are enqueued", "producer below 300 MB; at most 64 messages in Redis; 0 lost"),
            ("Flower dies and comes back", "no job notices"),
            ("two workers want one GPU", "never two at once"),
            ("all workers are restarted one by one under load", "0 lost, 0 doubled"),
            ("any of these, at random, for 10 minutes", "no invariant is broken"),
            ("a node of a training on several is killed", "all restart from the checkpoint, one failure; loss within 1e-3; nothing left"),
            ("a node of a training on several is asked to leave", "a checkpoint, all leave, no failure; a cancel ends all"),
        ),
        start=1,
    )
)


def covered_rows() -> dict[int, list[Covering]]:
    """Which tests say that they cover which row, by their marker `fault`."""
    covered: dict[int, list[Covering]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                for row in sorted(set(_rows(node))):
                    covered.setdefault(row, []).append(Covering(str(path.relative_to(ROOT)), node.name))
    return {row: sorted(tests) for row, tests in covered.items()}


def _rows(function: ast.FunctionDef) -> Iterator[int]:
    # One of a test's parameters may cover a row of its own, so markers are looked for inside the decorators too.
    for node in (node for decorator in function.decorator_list for node in ast.walk(decorator)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
            yield from (ast.literal_eval(argument) for argument in node.args)


Figures = Mapping[tuple[int, Covering], str]


def figures_of(lines: Iterator[str]) -> Figures:
    """What each test measured for each of its rows, in words. With several parameters it has measured several times."""
    last: dict[tuple[Covering, str], dict[str, Any]] = {}
    for line in lines:
        entry = json.loads(line)
        file, _, name = entry["test"].partition("::")
        name, _, parameters = name.partition("[")
        last[Covering(file, name), parameters] = entry
    told: dict[tuple[int, Covering], list[str]] = {}
    for (test, _), entry in last.items():
        for row in entry["rows"]:
            told.setdefault((row, test), []).append(_in_words(entry))
    return {place: "; ".join(words) for place, words in told.items()}


def _in_words(entry: Mapping[str, Any]) -> str:
    words = ", ".join(_figure(name, value) for name, value in entry["figures"].items())
    return words if entry["thorough"] else f"{words} (short run)"


def _figure(name: str, value: float | str) -> str:
    for suffix, unit in (("_seconds", " s"), ("_mb", " MB"), ("_percent", " %")):
        if name.endswith(suffix):
            return f"{name.removesuffix(suffix).replace('_', ' ')} {value}{unit}"
    return f"{name.replace('_', ' ')} {value}"


def figures_on(page: str) -> Figures:
    """What the page says of each test in each row."""
    return {(int(row), Covering(file, "test_" + sentence.replace(" ", "_"))): told for row, sentence, file, told in _LINE.findall(page)}


def table(figures: Figures) -> str:
    """The table: a line for each test of each row."""
    covered = covered_rows()
    lines = ["| row | what breaks | what must happen | test | measured |", "|---|---|---|---|---|"]
    for fault in FAULTS:
        cells = f"{fault.breaks} | {fault.must}"
        for test in covered.get(fault.number, []):
            lines.append(
                f"| {fault.number} | {cells} | [{test.sentence}](../{test.file}) | {figures.get((fault.number, test), 'not yet')} |"
            )
            cells = " | "
        if fault.number not in covered:
            lines.append(f"| {fault.number} | {cells} | none yet | |")
    return "\n".join(lines) + "\n"


def render(page: str, figures: Figures) -> str:
    """The page with these figures, and its own where there are no newer ones."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table({**figures_on(page), **figures}) + END + after


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("figures", nargs="?", type=Path, default=ROOT / "build" / "faults.jsonl")
    file = parser.parse_args().figures
    new = figures_of(iter(file.read_text(encoding="utf-8").splitlines())) if file.exists() else {}
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), new), encoding="utf-8")


if __name__ == "__main__":
    main()
