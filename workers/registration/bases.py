"""Says what is known of a base's chat template, and which base an adapter asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workers.base_models import loading
from workers.base_models.chat_template import ChatFormat, chat_format
from workers.catalog.models import locate_base
from workers.errors import NotFound, UserError
from workers.text.control_strings import neutralise_common


def format_of(folder: Path) -> ChatFormat:
    """Return how a base writes a conversation.

    Raises:
        UserError: its tokenizer or its template can't be used.
    """
    return chat_format(loading.load_tokenizer(folder))


def warnings_of(template: ChatFormat, name: str) -> list[str]:
    """Return what should be known of a chat template before its model is relied on."""
    told = []
    if neutralise_common(template.template) == template.template:
        told.append(f"the chat template of {name} is of no family that is known here: evaluate the model before you rely on it")
    if template.end_text:
        told.append(f"no token closes an answer of {name}: it is known by the text {template.end_text.strip()!r}, which it may never write")
    return told


def base_of(config: Mapping[str, Any], named: str | None, *, any_base: bool) -> str:
    """Return the base of an adapter: the one that is named, or else the one that the adapter names.

    Args:
        config: of the adapter.
        named: by whoever adds it; None: nobody did.
        any_base: whether the two may be called differently.

    Raises:
        NotFound: nobody names one, or the adapter names a folder of another machine.
        UserError: the two are called differently.
    """
    own = str(config.get("base_model_name_or_path") or "")
    if named is None:
        if not own:
            raise NotFound("the adapter does not say which base it was tuned on: name it with --base")
        if Path(own).is_absolute() and not Path(own).is_dir():
            raise NotFound(f"the adapter was tuned on the base {Path(own).name}, in a folder that is not here: name it with --base")
        return own
    if own and not any_base and Path(own).name.lower() != Path(named).name.lower():
        raise UserError(
            f"the adapter was tuned on the base {Path(own).name}, and --base names {Path(named).name}: on other weights it writes nonsense."
            " Where the two are the same model, say so with --any-base"
        )
    return named


def fetched(base: str) -> Path:
    """Return the folder of a base, checked; a hub id is fetched.

    Raises:
        UserError: there is none, or it can't be used.
    """
    return loading.fetch_base(locate_base(base))
