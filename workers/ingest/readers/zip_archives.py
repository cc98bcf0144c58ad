"""Opens the one file of data in a zip archive, or says which there are."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import IO, BinaryIO, cast

from workers.ingest.readers.errors import DamagedError, SourceError

_DATA = re.compile(r"\.(?:csv|tsv|tab|txt|js|json|jsonl|ndjson|parquet)(?:\.(?:gz|bz2|xz|zst))?$", re.IGNORECASE)
_ASIDE = re.compile(r"(?:^|/)(?:__MACOSX/|\.|(?:read.?me|licen[cs]e|changelog|manifest)\b)", re.IGNORECASE)
# X's account archive holds a hundred scripts; the tweets are in these, of which large accounts have several. Before there were
# folders, they lay at the top.
_OF_X = re.compile(r"(?:^|/)tweets?(?:-part(?P<part>\d{1,5}))?\.js$")
# Still older ones have a script for each month, and all of them once more as a table.
_TABLE_OF_X, _MONTH_OF_X = re.compile(r"(?:^|/)tweets\.csv$"), re.compile(r"(?:^|/)data/js/tweets/\d{4}_\d\d\.js$")
_SHOWN = 5


def member(stream: BinaryIO, stack: ExitStack) -> IO[bytes]:
    """Open the only file in the archive that looks like data; of X's archives the parts that hold tweets, one after the other.

    Raises:
        SourceError: there is none, there are several, or it is another kind of file that a zip archive carries.
    """
    if not stream.seekable():
        advice = "give the zip file itself, or its content: unzip -p FILE | … -"
        raise SourceError(f"it is a zip archive from a pipe or inside another archive: {advice}")
    try:
        archive = stack.enter_context(zipfile.ZipFile(stream))
        chosen = _chosen(archive)
        for info in chosen:
            if info.flag_bits & 1:
                raise SourceError(f"{_plain(info.filename)} in the zip archive has a password: unpack it and give what comes out")
        contents = _InOrder([partial(archive.open, info) for info in chosen])
        return stack.enter_context(cast("IO[bytes]", io.BufferedReader(contents)))
    except NotImplementedError as error:  # zipfile's own, for a kind of packing that Python does not know
        raise SourceError("the zip archive is packed in a way that can't be read here: unpack it and give what comes out") from error
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DamagedError("the zip archive is damaged or incomplete: fetch it again") from error


class _InOrder(io.RawIOBase):
    """What several files hold, each opened when the one before has ended; what follows begins a line."""

    def __init__(self, opening: Sequence[Callable[[], IO[bytes]]]) -> None:
        self._opening = list(opening)
        self._file = self._opening.pop(0)()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        part = self._file.read(len(buffer))
        if not part and self._opening:
            self._file.close()
            self._file, part = self._opening.pop(0)(), b"\n"
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        self._file.close()
        super().close()


def _chosen(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    files = [info for info in archive.infolist() if not info.is_dir()]
    names = {info.filename for info in files}
    if "[Content_Types].xml" in names:
        raise SourceError("it is a document of an office program, such as an Excel workbook: save its sheet as CSV (UTF-8) and give that")
    if "mimetype" in names and "content.xml" in names:
        raise SourceError("it is an OpenDocument file: save its sheet as CSV (UTF-8) and give that")
    looks_like_data = [info for info in files if _DATA.search(info.filename) and not _ASIDE.search(info.filename)]
    candidates = looks_like_data or (files if len(files) == 1 else [])
    if of_x := _of_x(candidates):
        return of_x
    if len(candidates) == 1:
        return candidates
    if not candidates:
        raise SourceError(f"the zip archive holds no file of data, such as tweets.csv or tweets.jsonl, among its {len(files)} files")
    shown = ", ".join(_plain(info.filename) for info in candidates[:_SHOWN]) + (", …" if len(candidates) > _SHOWN else "")
    raise SourceError(f"the zip archive holds {len(candidates)} files of data: {shown}. Unpack it and give them one by one")


def _of_x(files: Sequence[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """Return the files of tweets where these are an account's archive."""
    if any(_MONTH_OF_X.search(info.filename) for info in files):
        return [info for info in files if _TABLE_OF_X.search(info.filename)][:1]
    scripts = all(info.filename.endswith(".js") for info in files)
    inside = [info for info in files if scripts or "/data/" in f"/{info.filename}"]
    parts = [(int(found["part"] or 0), info) for info in inside if (found := _OF_X.search(info.filename))]
    return [info for _, info in sorted(parts, key=lambda part: part[0])]


def _plain(name: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in name)[-80:]
