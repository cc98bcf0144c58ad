"""Checks the files of a base model before anything of it is loaded, and computes a digest that identifies its weights.

Nothing here needs torch, so that a job is refused before ranks are started for it.
"""

from __future__ import annotations

import json
import logging
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from workers.errors import NotFound, UserError
from workers.files import sha256, sha256_of_file, write_text

logger = logging.getLogger(__name__)

RECORD = "base.json"
"""In an adapter's folder: what it was trained on."""

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
_READ = (".json", ".safetensors", ".jinja", ".model", ".txt", ".tiktoken")
_LONGEST_HEADER = 100_000_000  # bytes, as in the safetensors format
_VOLATILE = frozenset({"_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache"})
_CACHE = ".digests.json"


class UnusableBase(UserError):
    """The base model can't be used as it is."""


class UnusableAdapter(UserError):
    """The adapter can't be used on this base."""


class BaseRecord(BaseModel):
    """What an adapter's folder keeps of the base that it was trained on.

    Attributes:
        base: as the recipe named it.
        sha256: see `digest`.
        end_of_turn: what closes an answer, as the adapter learnt it.
    """

    model_config = ConfigDict(frozen=True)

    base: str
    sha256: str
    end_of_turn: str = ""

    def write(self, adapter: Path) -> None:
        """Write the record to an adapter's folder."""
        (adapter / RECORD).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, adapter: Path) -> BaseRecord | None:
        """What an adapter's folder says; None where an earlier version made it.

        Raises:
            UnusableAdapter: the record is damaged.
        """
        try:
            return cls.model_validate_json((adapter / RECORD).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):
            raise UnusableAdapter(
                f"{adapter / RECORD} can't be read: it says which base the adapter was trained on. Train it again"
            ) from None


def check_record(adapter: Path, record: BaseRecord | None, base: str, sha256: str) -> None:
    """Make sure that an adapter goes on the base that it was trained on. One that does not say is taken, and the log says so.

    Raises:
        UnusableAdapter: the base's weights are others than then.
    """
    if record is None:
        logger.warning(
            "the adapter %s is of an earlier version and does not say which weights it was trained on: not checked", adapter.name
        )
    elif record.sha256 != sha256:
        raise UnusableAdapter(
            f"the base {base} has other weights than when the adapter {adapter.name} was trained on it (SHA-256 {record.sha256[:12]} then,"
            f" {sha256[:12]} now): put those weights back, or train again"
        )


def check(folder: Path) -> None:
    """Make sure that a folder holds a base model that can be loaded and that loading reads nothing but safetensors and JSON inside it.

    Raises:
        NotFound: it is no folder.
        UnusableBase: a file is missing, damaged, of another form, or lies elsewhere; says which and what to do.
    """
    if not folder.is_dir():
        raise NotFound(f"no base model at {folder}: give a folder with {CONFIG} and {WEIGHTS}, or a hub id")
    _check_places(folder)
    config = _json(folder, CONFIG)
    if config is None:
        raise UnusableBase(f"the base model {folder} has no {CONFIG}: give the folder that holds the model's own files")
    if not config.get("model_type"):
        raise UnusableBase(f"{folder}/{CONFIG} names no model_type: it is not the config of a language model")
    _check_weights(folder)
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise UnusableBase(f"the base model {folder} has no tokenizer: put its tokenizer.json (or tokenizer.model) beside the weights")
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json"):
        _json(folder, name)


def weight_files(folder: Path, single: str = WEIGHTS, index_name: str = INDEX) -> list[Path]:
    """Return the files of a model's weights, in the order of their names.

    Args:
        folder: of the model.
        single: the file's name where there is one.
        index_name: of the file that names the shards where there are several.

    Raises:
        UnusableBase: there are none in safetensors, or the index names another file.
    """
    if (folder / single).is_file():
        return [folder / single]
    index = _json(folder, index_name)
    if index is not None:
        return [folder / name for name in sorted(_shards(folder, index, index_name))]
    others = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".gguf"))
    if others:
        raise UnusableBase(
            f"the base model {folder} has its weights in {others[0]}, which is never loaded: a pickle can run code. Take the model in"
            f" safetensors, or convert it once where you trust it"
        )
    raise UnusableBase(f"the model {folder} has no {single}: give the folder of a whole model, in safetensors")


def digest(folder: Path, cache_folder: Path | None = None) -> str:
    """Return the SHA-256 that identifies a base: of its weights' files and of what its config says of their use.

    It proves that the bytes are the same; the same tensors in other shards give another one. A file is read again when its size, its
    time or its place on the disk is another than in the cache.

    Args:
        folder: of the base model.
        cache_folder: where digests of files are kept, if it can be written to.
    """
    cache = _DigestCache(cache_folder)
    files = [(path.name, cache.sha256_of(path)) for path in weight_files(folder)]
    cache.store()
    config = {key: value for key, value in (_json(folder, CONFIG) or {}).items() if key not in _VOLATILE}
    return sha256(json.dumps([config, files], sort_keys=True))


def _check_places(folder: Path) -> None:
    """Refuse links that lead out of the folder, but for those of the hub's cache, which keeps files of one model side by side."""
    home = folder.resolve()
    allowed = [home] + ([home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [])
    for path in folder.iterdir():
        if path.suffix not in _READ or not path.is_symlink():
            continue
        target = path.resolve()
        if not any(target.is_relative_to(place) for place in allowed):
            raise UnusableBase(f"{path} is a link out of the base model's folder: copy the file itself there")


def _check_weights(folder: Path) -> None:
    for path in weight_files(folder):
        tensor_entries(path)
    index = _json(folder, INDEX) if not (folder / WEIGHTS).is_file() else None
    if index is None:
        return
    held = {path.name: tensor_entries(path).keys() for path in weight_files(folder)}
    for tensor, shard in index["weight_map"].items():
        if tensor not in held[shard]:
            raise UnusableBase(
                f"{folder}/{INDEX} says that {shard} holds the tensor {tensor[:100]}, and it does not: fetch the model again"
            )


def _shards(folder: Path, index: Mapping[str, Any], index_name: str = INDEX) -> set[str]:
    named = index.get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(shard, str) for shard in named.values()):
        raise UnusableBase(f"{folder}/{index_name} has no weight_map of tensors and files: fetch the model again")
    shards = set(named.values())
    for shard in sorted(shards):
        if Path(shard).name != shard:
            raise UnusableBase(f"{folder}/{index_name} names the file {shard[:100]!r}, outside the model's folder: that is never loaded")
        if not shard.endswith(".safetensors"):
            raise UnusableBase(
                f"{folder}/{index_name} names the file {shard[:100]!r}, which is no safetensors and is never loaded: a pickle can run code."
                f" Take the model in safetensors"
            )
        if not (folder / shard).is_file():
            raise UnusableBase(f"the model {folder} lacks {shard[:100]}, which its index names: fetch the model again")
    return shards


def tensor_entries(path: Path) -> dict[str, Any]:
    """Return the tensors that a safetensors file says it holds, after a look at whether it holds them.

    Raises:
        UnusableBase: it is cut short, or no safetensors.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _LONGEST_HEADER):
            raise UnusableBase(f"{path} is no safetensors file, or cut short ({size} bytes): fetch the model again")
        try:
            header = json.loads(file.read(length))
            tensors = {name: tensor for name, tensor in header.items() if name != "__metadata__"}
            end = max((int(tensor["data_offsets"][1]) for tensor in tensors.values()), default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            raise UnusableBase(f"{path} is no safetensors file: its header can't be read. Fetch the model again") from None
    if end != size - 8 - length:
        raise UnusableBase(f"{path} is damaged: its tensors take {end + 8 + length} bytes, and it has {size}. Fetch the model again")
    return tensors


def _json(folder: Path, name: str) -> dict[str, Any] | None:
    """A file of a base model, or None where there is none.

    Raises:
        UnusableBase: it is no JSON object.
    """
    path = folder / name
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnusableBase(f"{path} is no file")
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnusableBase(f"{path} can't be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UnusableBase(f"{path} is not valid JSON: fetch the model again") from None
    if not isinstance(found, dict):
        raise UnusableBase(f"{path} is no JSON object: fetch the model again")
    return found


class _DigestCache:
    """SHA-256 digests of large files, by what the file system says of each; kept in a file where that is possible."""

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / _CACHE if folder is not None else None
        self._known: dict[str, Any] = {}
        self._changed = False
        if self._path is not None:
            with suppress(OSError, ValueError):
                found = json.loads(self._path.read_text(encoding="utf-8"))
                self._known = found if isinstance(found, dict) else {}

    def sha256_of(self, path: Path) -> str:
        """The digest of a file, from the cache if it is as it was."""
        real = path.resolve()
        seen = real.stat()
        state = [seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns]
        entry = self._known.get(str(real))
        if isinstance(entry, dict) and entry.get("state") == state and isinstance(entry.get("sha256"), str):
            return str(entry["sha256"])
        computed = sha256_of_file(real)
        self._known[str(real)] = {"state": state, "sha256": computed}
        self._changed = True
        return computed

    def store(self) -> None:
        """Keep what was computed, without what is gone. A folder that can't be written to costs time alone."""
        if self._path is None or not self._changed:
            return
        with suppress(OSError):
            write_text(self._path, json.dumps(dict(self._standing())))

    def _standing(self) -> Iterator[tuple[str, Any]]:
        return ((path, entry) for path, entry in self._known.items() if Path(path).is_file())
