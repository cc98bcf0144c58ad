"""Run a storm and print one line of JSON: `python -m tests.nemesis --seed 1 --minutes 10`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.nemesis import faults, storm
from tests.nemesis.schedule import as_lines, plan

KINDS_OF_WORK = ("work", "summaries", "training")
_EXAMPLES = """examples:
  python -m tests.nemesis --seed 1 --minutes 10
  python -m tests.nemesis --seed 1 --minutes 10 --plan          what would strike when
  python -m tests.nemesis --seed 3 --minutes 1 --faults kill_redis,kill_worker --keep storm
  python -m tests.nemesis --seed 3 --minutes 1 --work work      without summaries and trainings
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the storm, print its outcome, and return 1 where a rule was violated."""
    faults.load_all()
    asked = _asked(arguments)
    seconds = asked.minutes * 60
    if asked.plan:
        _say("\n".join(as_lines(plan(asked.seed, seconds, {name: faults.KINDS[name] for name in asked.faults}))))
        return 0
    folder = Path(asked.keep or tempfile.mkdtemp(prefix="nemesis-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)
    os.environ.update({"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcome = storm.run(asked.seed, seconds, asked.faults, asked.work, folder)
    for violation in outcome.violations:
        _say(f"VIOLATION {violation}", error=True)
    if outcome.violations:
        _say(f"the history is {folder / 'history.jsonl'}; again: {_again(asked)}", error=True)
    elif not asked.keep:
        shutil.rmtree(folder, ignore_errors=True)
    if not asked.json:
        _say(_readable(outcome.summary))
    _say(json.dumps(outcome.summary))
    return int(bool(outcome.violations))


def _again(asked: argparse.Namespace) -> str:
    command = f"python -m tests.nemesis --seed {asked.seed} --minutes {asked.minutes:g}"
    command += f" --faults {','.join(asked.faults)}" if set(asked.faults) != set(faults.KINDS) else ""
    return command + (f" --work {','.join(asked.work)}" if tuple(asked.work) != KINDS_OF_WORK else "")


def _readable(summary: dict[str, object]) -> str:
    return "\n".join(f"{name:>26}  {value}" for name, value in summary.items() if not isinstance(value, dict))


def _say(message: str, *, error: bool = False) -> None:
    stream = sys.stderr if error else sys.stdout
    stream.write(message + "\n")
    stream.flush()


def _some_of(known: Sequence[str], what: str) -> "argparse._ActionType":  # noqa: UP037 - argparse has no such name at run time
    def parse(named: str) -> list[str]:
        names = named.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"no such {what}: {name}. There are {', '.join(known)}")
        return names

    return parse


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.nemesis",
        description="Real servers and workers under a seeded storm of faults; afterwards nothing may be lost, doubled or left behind.",
        epilog=_EXAMPLES + "\nfaults: " + ", ".join(sorted(faults.KINDS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same schedule (default 1)")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long faults strike (default 1); healing takes up to 4 more")
    some = _some_of(sorted(faults.KINDS), "fault")
    parser.add_argument("--faults", type=some, default=sorted(faults.KINDS), metavar="A,B", help="only these (default: all)")
    parser.add_argument(
        "--work", type=_some_of(KINDS_OF_WORK, "work"), default=list(KINDS_OF_WORK), metavar="A,B", help=", ".join(KINDS_OF_WORK)
    )
    parser.add_argument("--keep", metavar="FOLDER", help="keep history, logs and data there")
    parser.add_argument("--plan", action="store_true", help="print the schedule and end")
    parser.add_argument("--json", action="store_true", help="print the line of JSON alone")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
