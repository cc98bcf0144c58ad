"""Keeps the token ids of a training file in memory-mapped arrays: written once, found by later starts, shared by the ranks of a node.

A folder is named by a digest of all that decides what is in it: the training file, the tokenizer's files, the chat template and its
date, `max_length`, and the versions of the code that encodes. It is complete or absent.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from array import array
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from workers import files
from workers.base_models.chat_template import TEMPLATE_DATE, ChatFormat, chat_format
from workers.file_permissions import make_private
from workers.training.protocol.outcome import RejectedLine
from workers.training.rank.examples.conversations import TokenizedExample, encode_conversations, read_conversations

FORMAT = 1
"""Of the arrays, and of how this project encodes a conversation: raised when either changes."""

REJECTED_NAMED = 1000
POLL_SECONDS = 0.1
_TOKENIZER_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
_IDS, _OFFSETS, _COMPLETIONS, _META = "ids.bin", "offsets.npy", "completion_lengths.npy", "meta.json"

Heartbeat = Callable[[int, float], None]
"""Called now and then with the examples encoded so far, and the share of the file that is read."""


class TokenizedExamples(Sequence[TokenizedExample]):
    """The examples of a training file, mapped from disk.

    Attributes:
        lengths: tokens of each example, shape (examples,).
        completion_lengths: tokens of each completion, shape (examples,).
        dropped: how many lines were left out.
        rejected: the first thousand of those, and why.
    """

    def __init__(self, folder: Path) -> None:
        meta = json.loads((folder / _META).read_text(encoding="utf-8"))
        self._offsets: NDArray[np.int64] = np.load(folder / _OFFSETS, mmap_mode="r", allow_pickle=False)
        self.completion_lengths: NDArray[np.int32] = np.load(folder / _COMPLETIONS, mmap_mode="r", allow_pickle=False)
        total = int(self._offsets[-1])
        # Nothing can be mapped of an empty file.
        self._ids = np.memmap(folder / _IDS, np.int32, mode="r", shape=(total,)) if total else np.empty(0, np.int32)
        if not len(self._offsets) - 1 == len(self.completion_lengths) == meta["examples"]:
            raise ValueError("arrays of different lengths")
        self.lengths = np.diff(self._offsets).astype(np.int32)
        self.dropped: int = meta["dropped"]
        self.rejected = tuple(RejectedLine(**row) for row in meta["rejected"])

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> TokenizedExample: ...
    @overload
    def __getitem__(self, index: slice) -> list[TokenizedExample]: ...
    def __getitem__(self, index: int | slice) -> TokenizedExample | list[TokenizedExample]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        return TokenizedExample(self._ids[self._offsets[at] : self._offsets[at + 1]], int(self.completion_lengths[at]))


def tokenized(
    train_file: Path, tokenizer: Any, base: Path, max_length: int, store: Path, *, writes: bool, beat: Heartbeat | None = None
) -> TokenizedExamples:
    """Return the examples of a training file, encoded now or by an earlier start.

    Args:
        train_file: lines of JSON, see `workers.training.rank.examples.conversations`.
        tokenizer: of the base model, with a chat template.
        base: the folder of the base model, whose tokenizer's files are part of the name.
        max_length: tokens; longer examples are rejected.
        store: the folder that holds the arrays of a job.
        writes: encode what is missing. One rank of a node does; the others wait for it, for as long as their launcher lives.
        beat: see `Heartbeat`.

    Raises:
        OSError: the training file can't be read, or the disk is full.
        UnusableTemplate: the tokenizer's chat template can't be used.
    """
    chat = chat_format(tokenizer)
    folder = store / _key(train_file, chat, base, max_length)
    while (found := _open(folder)) is None:
        if writes:
            make_private(store)
            _write(folder, train_file, chat, max_length, beat)
        else:
            time.sleep(POLL_SECONDS)
    return found


def _key(train_file: Path, chat: ChatFormat, base: Path, max_length: int) -> str:
    names = sorted({path.name for pattern in _TOKENIZER_FILES for path in base.glob(pattern) if not path.name.endswith(".index.json")})
    deciding = [
        *(FORMAT, files.sha256_of_file(train_file), max_length, chat.template, TEMPLATE_DATE.isoformat()),
        *(version("transformers"), version("tokenizers"), [(name, files.sha256_of_file(base / name)) for name in names]),
    ]
    return files.sha256(json.dumps(deciding))[:32]


def _open(folder: Path) -> TokenizedExamples | None:
    try:
        return TokenizedExamples(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or cut short by a power cut


def _write(folder: Path, train_file: Path, chat: ChatFormat, max_length: int, beat: Heartbeat | None) -> None:
    size = max(1, train_file.stat().st_size)
    lengths, completions, rejected, dropped = array("i"), array("i"), list[RejectedLine](), 0
    for left in folder.parent.glob(".*.partial"):  # of a rank that was killed
        shutil.rmtree(left, ignore_errors=True)
    # Named by chance: a rank of an attempt that lost its lease may still be writing.
    with files.atomic_folder(folder, folder.with_name(f".{secrets.token_hex(6)}.partial"), replace=True, sync=True) as aside:
        aside.mkdir(mode=0o700)
        with (aside / _IDS).open("wb") as out:
            for read, examples in encode_conversations(read_conversations(train_file), chat, max_length):
                for example in examples:
                    if isinstance(example, RejectedLine):
                        dropped += 1
                        rejected += [example] if len(rejected) < REJECTED_NAMED else []
                    else:
                        out.write(example.ids.tobytes())
                        lengths.append(len(example))
                        completions.append(example.completion_length)
                if beat is not None:
                    beat(len(lengths), read / size)
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(np.frombuffer(lengths, np.int32), out=offsets[1:])
        np.save(aside / _OFFSETS, offsets, allow_pickle=False)
        np.save(aside / _COMPLETIONS, np.frombuffer(completions, np.int32), allow_pickle=False)
        meta = {"examples": len(lengths), "dropped": dropped, "rejected": [row.model_dump() for row in rejected]}
        files.write_text(aside / _META, json.dumps(meta))
