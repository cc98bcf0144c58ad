"""A disk that is full or can't be written to is told in a sentence, or gone round, whatever library meets it."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel
from safetensors import SafetensorError

from workers.exports import children, room
from workers.exports.roundtrip import check

FULL = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
    OSError("100000 requested and 8176 written"),  # numpy
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    Exception("Disk quota exceeded (os error 122)"),  # tokenizers
]
OTHERS = [OSError(errno.EIO, os.strerror(errno.EIO)), SafetensorError("incomplete metadata"), ValueError("28")]


class Asked(BaseModel):
    """A request, and its report."""


@pytest.mark.parametrize("error", FULL, ids=repr)
def test_a_child_that_finds_the_disk_full_reports_it_as_a_sentence(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(_: Asked) -> Asked:
        raise error

    said = io.StringIO()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"{}")))
    monkeypatch.setattr(sys, "stdout", said)
    assert children.serve(Asked, work) == 0
    told = json.loads(said.getvalue())
    assert told["user"]
    assert told["failed"].startswith("the disk is full: ")


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_what_is_no_full_disk_is_not_taken_for_one(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, room.told():
        raise error
    assert raised.value is error


def test_what_a_check_needs_meanwhile_lies_elsewhere_where_nothing_can_be_written_beside_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, beside = tempfile.mkdtemp, tmp_path / "disk"

    def refused(suffix: Any = None, prefix: Any = None, dir: Any = None) -> str:  # noqa: A002
        if dir == beside:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return made(suffix, prefix, dir)

    monkeypatch.setattr(tempfile, "mkdtemp", refused)
    with check._scratch_of(beside / "export") as scratch:
        assert scratch.is_dir()
        assert scratch.parent == Path(tempfile.gettempdir())
    assert not scratch.exists()
