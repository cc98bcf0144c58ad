"""Finds the id that a base model has on the Hugging Face hub: a path means nothing on another machine."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from workers.catalog import additions, model_card
from workers.errors import UserError
from workers.settings import get_settings

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FETCHED = {"smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct"}
"""What `tweetmill fetch` unpacks: its folder has no card."""

_LICENCES = {"HuggingFaceTB/SmolLM2-135M-Instruct": "apache-2.0"}


@dataclass(frozen=True)
class BaseId:
    """What is known of a base beyond this machine: its id on the hub, and its licence in the hub's own keys."""

    hub: str | None
    licence: dict[str, str]


def find(named: str, folder: Path, asked: str | None, added_from: str = "") -> BaseId:
    """Return what is known of a base.

    Args:
        named: as the model's row names it.
        folder: where it lies on this node.
        asked: the id that a user gave, which wins.
        added_from: of a whole model that was added: a hub id, or the name of the folder that it was copied from.

    Raises:
        UserError: what a user gave is no id.
    """
    if asked is not None and not _ID.fullmatch(asked):
        raise UserError(f"--base-id {asked}: an id on the hub is OWNER/NAME, such as HuggingFaceTB/SmolLM2-135M-Instruct")
    if folder.resolve().parent == (get_settings().models_folder / additions.FOLDER).resolve():
        # Its name there is made up, and its config may name what it was tuned from: other weights.
        hub = asked or (added_from if _ID.fullmatch(added_from) else None)
    else:
        hub = asked or _by_name(named) or _by_cache(folder) or _by_config(folder)
    licence = model_card.licence(folder)
    if not licence and hub in _LICENCES:
        licence = {"license": _LICENCES[hub]}
    return BaseId(hub, licence)


def _by_name(named: str) -> str | None:
    return named if _is_hubs(named) else _FETCHED.get(Path(named).name)


def _is_hubs(named: str) -> bool:
    """Whether a name is an id of the hub's, and not that of a folder here which did not come from there."""
    if not _ID.fullmatch(named) or Path(named).exists():
        return False
    own = get_settings().models_folder / named
    # The hub's own program keeps notes in a folder that it fetches to.
    return not own.exists() or (own / ".cache" / "huggingface").is_dir()


def _by_cache(folder: Path) -> str | None:
    """The hub's own cache keeps a model in `models--OWNER--NAME/snapshots/REVISION`."""
    if folder.parent.name != "snapshots":
        return None
    kind, _, name = folder.parent.parent.name.partition("--")
    owner, _, model = name.partition("--")
    return f"{owner}/{model}" if kind == "models" and owner and model else None


def _by_config(folder: Path) -> str | None:
    try:
        named = json.loads((folder / "config.json").read_bytes()).get("_name_or_path", "")
    except (OSError, ValueError, AttributeError):
        return None
    return str(named) if _is_hubs(str(named)) else None
