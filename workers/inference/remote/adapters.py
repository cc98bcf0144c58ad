"""Has a server load the adapters that are asked for, as vLLM does at run time: until then it answers 404 to their names.

vLLM loads an adapter by `POST /v1/load_lora_adapter` where `VLLM_ALLOW_RUNTIME_LORA_UPDATING` is true. Servers without that request are
asked by the adapter's name alone: they may have been started with it, or find it by a resolver.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from workers.inference.remote.client import ChatServer, Complaint
from workers.inference.remote.errors import Refusal

_CONFIG = "adapter_config.json"
_HOW = "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=true, or name the adapter to it with --lora-modules NAME=FOLDER"


class Adapters:
    """The adapters that a server has loaded, as far as this process knows.

    Args:
        server: that is asked.
        folder: where the server finds the folders of adapters; None where it sees them at the paths that this node sees.
    """

    def __init__(self, server: ChatServer, folder: Path | None = None) -> None:
        self._server = server
        self._folder = folder
        self._ready: set[str] = set()
        self._loading = threading.Lock()

    def ensure(self, name: str, adapter: Path) -> None:
        """Have the server load an adapter, unless it has it.

        Args:
            name: under which it is asked for.
            adapter: its folder on this node, where it need not be.

        Raises:
            Refusal: no server can put this model on a base, or this one refuses to.
        """
        if name in self._ready:
            return
        with self._loading:
            if name in self._ready:
                return
            config = _config(adapter)
            if name not in self._server.models():
                found = self._server.load_adapter(name, str((self._folder / adapter.name) if self._folder else adapter))
                if found is not None and not _has_it(found) and not _has_no_such_request(found):
                    raise _refused(found, name, config)
            self._ready.add(name)

    def forget(self, name: str) -> None:
        """Note that the server does not have an adapter, as after it was started anew."""
        self._ready.discard(name)

    def missing(self, adapter: Path, told: Refusal) -> Refusal:
        """Return the error for a server that goes on answering that it has no such model."""
        base = str(_config(adapter).get("base_model_name_or_path", ""))
        served = ", ".join(self._server.models()) or "nothing that it tells of"
        hint = f"; a resolver of vLLM's takes it only where its base is the adapter's base_model_name_or_path, {base!r}" if base else ""
        return Refusal(f"{told}. The server has {served}: {_HOW}{hint}")


def _config(adapter: Path) -> dict[str, Any]:
    """Return what an adapter's folder says of it; nothing where the folder is not on this node.

    Raises:
        Refusal: it holds no adapter.
    """
    try:
        found = json.loads((adapter / _CONFIG).read_bytes())
    except FileNotFoundError:
        if not adapter.is_dir():
            return {}
        raise Refusal(
            f"the model {adapter.name!r} is no LoRA adapter: it changes the base's own weights, which a server can't do. Use"
            " TWEETMILL_ENGINE=transformers, or serve the whole model as a base of its own"
        ) from None
    except (OSError, ValueError) as error:
        raise Refusal(f"{adapter / _CONFIG} can't be read ({type(error).__name__}): train the model again") from None
    return found if isinstance(found, dict) else {}


def _has_it(found: Complaint) -> bool:
    return "already" in found.words.lower() and "load" in found.words.lower()


def _has_no_such_request(found: Complaint) -> bool:
    """Whether the server has no such request; vLLM answers 404 to a folder that is not there as well, and says so."""
    return found.status in {404, 405, 501} and "adapter" not in found.words.lower()


def _refused(found: Complaint, name: str, config: dict[str, Any]) -> Refusal:
    if found.is_door:
        return Refusal(f"the server refuses to load the adapter {name!r} ({found.status}): {found.quoted}. Check OPENAI_API_KEY")
    if "rank" in found.words.lower() and config.get("r"):
        return Refusal(
            f"the adapter {name!r} has the rank {config['r']}, which is above the server's limit: start vLLM with"
            f" --max-lora-rank {config['r']} or more; {found.quoted}"
        )
    if "dora" in found.words.lower():
        return Refusal(f"the adapter {name!r} is trained with use_dora, which the server lacks: train with use_dora=false; {found.quoted}")
    return Refusal(
        f"the server can't load the adapter {name!r} ({found.status}): {found.quoted}. It reads the folder itself:"
        " TWEETMILL_SERVER_ADAPTERS names where the folder of adapters is on the server's machine"
    )
