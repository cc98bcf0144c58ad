"""Merges a tuned model into its base where a server can't put it on: into a folder of its own, by a child process, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from workers.base_models import changed_weights
from workers.catalog.removal import merged_models
from workers.errors import UserError
from workers.file_permissions import make_private
from workers.files import sha256
from workers.gpus.environment import for_computing
from workers.inference.engine import EngineError

COMMAND = (sys.executable, "-m", "workers.inference.served.merge")

UNUSABLE = 2
"""Exit code of the child: the models don't fit together, as its output says."""

_LOOK_EVERY = 0.2


def is_served_as_adapter(tuned: Path, rank: int) -> bool:
    """Return whether a server that loads adapters up to a rank loads this one: a plain LoRA adapter.

    Raises:
        UserError: there is no tuned model in the folder.
    """
    if changed_weights.is_in(tuned):
        return False
    try:
        config = json.loads((tuned / "adapter_config.json").read_bytes())
        plain = not config.get("use_dora") and not config.get("modules_to_save") and config.get("bias", "none") == "none"
        ranks = [int(config.get("r", 0)), *map(int, (config.get("rank_pattern") or {}).values())]
    except FileNotFoundError:
        raise UserError(f"there is no model in {tuned} on this node: models lie on the node that trained them") from None
    except (OSError, ValueError, AttributeError, TypeError):
        raise UserError(f"{tuned / 'adapter_config.json'} can't be read: train the model again") from None
    return bool(plain) and max(ranks) <= rank


def merged(base: Path, tuned: Path, folder: Path, on_wait: Callable[[], None]) -> Path:
    """Return the folder of the merged model, made when it is first asked for; `on_wait` is called meanwhile, and may raise to stop.

    Raises:
        UserError: the models don't fit together.
        EngineError: it can't be made, as for want of memory or disk.
    """
    made = merged_models.place(folder, tuned, sha256(json.dumps([str(base), _state(base), _state(tuned)])))
    if (made / "config.json").is_file():
        return made
    make_private(folder)
    with _alone(made, on_wait) as held:
        if not (made / "config.json").is_file():
            _make(base, tuned, made, held, on_wait)
    return made


def _make(base: Path, tuned: Path, made: Path, held: int, on_wait: Callable[[], None]) -> None:
    child = subprocess.Popen(
        [*COMMAND, str(base), str(tuned), str(made)],
        env={**for_computing(), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        pass_fds=(held,),  # where this process is killed, nobody else writes or removes the model before the child has ended
    )
    try:
        while child.poll() is None:
            on_wait()
            time.sleep(_LOOK_EVERY)
    finally:
        child.kill()
        said = child.communicate()[0].decode(errors="replace").strip()
    if child.returncode == UNUSABLE:
        raise UserError(said)
    if child.returncode != 0:
        raise EngineError(f"the model {tuned.name} could not be merged into its base: {said or f'exit code {child.returncode}'}")


def _state(folder: Path) -> list[tuple[str, int, int]]:
    """What tells a folder from what it held before: names, sizes and times of what a model is made of."""
    made_of = sorted(path for path in folder.iterdir() if path.suffix in {".json", ".safetensors"})
    return [(path.name, found.st_size, found.st_mtime_ns) for path in made_of for found in [path.stat()]]


@contextmanager
def _alone(made: Path, on_wait: Callable[[], None]) -> Iterator[int]:
    while (held := merged_models.lock(made)) is None:
        on_wait()
        time.sleep(_LOOK_EVERY)
    try:
        yield held
    finally:
        os.close(held)
