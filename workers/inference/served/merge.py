"""The child that merges: `python -m workers.inference.served.merge BASE TUNED FOLDER`. It says on its output why it could not."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from workers import files
from workers.catalog.removal import merged_models
from workers.errors import UserError
from workers.inference.served.merging import UNUSABLE
from workers.memory import is_out_of_memory

_TAKEN = {".json", ".jinja", ".model", ".txt", ".tiktoken"}
_WRITTEN = {"config.json", "model.safetensors.index.json"}


def merge(base: Path, tuned: Path, folder: Path) -> None:
    """Write the base with a tuned model in it, as a base of its own; the folder is complete or absent.

    Tokenizer and template are the base's, byte by byte, and so is the type of the weights.

    Raises:
        UserError: the models don't fit together.
    """
    from workers.base_models.loading import load_tokenizer
    from workers.inference.local import whole_weights

    model = whole_weights.merged(base, load_tokenizer(base), tuned)
    with files.atomic_folder(folder, merged_models.aside(folder), replace=True) as aside:
        aside.mkdir()
        whole_weights.save(model, whole_weights.stored_dtype(base), aside)
        for path in base.iterdir():
            if path.suffix in _TAKEN and path.name not in _WRITTEN and path.is_file():
                shutil.copyfile(path, aside / path.name)


def main(arguments: Sequence[str]) -> int:
    """Merge, and return the exit code."""
    base, tuned, folder = map(Path, arguments)
    try:
        merge(base, tuned, folder)
    except UserError as error:
        sys.stdout.write(f"{error}\n")
        return UNUSABLE
    except Exception as error:
        if not is_out_of_memory(error) and not isinstance(error, OSError):
            raise
        sys.stdout.write(f"{'memory ran out' if is_out_of_memory(error) else type(error).__name__}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
