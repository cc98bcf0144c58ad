"""Zip archives: the one file of data in them, or a sentence that says which there are."""

from __future__ import annotations

import re
import zipfile
from contextlib import ExitStack
from typing import IO, BinaryIO

from workers.ingest.errors import DamagedError, SourceError

_DATA = re.compile(r"\.(?:csv|tsv|tab|txt|js|json|jsonl|ndjson|parquet)(?:\.(?:gz|bz2|xz|zst))?$", re.IGNORECASE)
_ASIDE = re.compile(r"(?:^|/)(?:__MACOSX/|\.|(?:read.?me|licen[cs]e|changelog|manifest)\b)", re.IGNORECASE)
# X's account archive holds a hundred files of data; the tweets are in this one.
_OF_X = re.compile(r"(?:^|/)data/tweets?\.js$")
_SHOWN = 5


def member(stream: BinaryIO, stack: ExitStack) -> IO[bytes]:
    """The content of the only file in the archive that looks like data.

    Raises:
        SourceError: there is none, there are several, or it is another kind of file that a zip archive carries.
    """
    if not stream.seekable():
        raise SourceError("it is a zip archive, which can't be read from a pipe: give the file, or pipe its content: unzip -p FILE | … -")
    try:
        archive = stack.enter_context(zipfile.ZipFile(stream))
        chosen = _chosen(archive)
        if chosen.flag_bits & 1:
            raise SourceError(f"{_plain(chosen.filename)} in the zip archive has a password: unpack it and give what comes out")
        return stack.enter_context(archive.open(chosen))
    except NotImplementedError as error:
        raise SourceError("the zip archive is packed in a way that can't be read here: unpack it and give what comes out") from error
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DamagedError("the zip archive is damaged or incomplete: fetch it again") from error


def _chosen(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    files = [info for info in archive.infolist() if not info.is_dir()]
    names = {info.filename for info in files}
    if "[Content_Types].xml" in names:
        raise SourceError("it is a document of an office program, such as an Excel workbook: save its sheet as CSV (UTF-8) and give that")
    if "mimetype" in names and "content.xml" in names:
        raise SourceError("it is an OpenDocument file: save its sheet as CSV (UTF-8) and give that")
    looks_like_data = [info for info in files if _DATA.search(info.filename) and not _ASIDE.search(info.filename)]
    of_x = [info for info in looks_like_data if _OF_X.search(info.filename)]
    candidates = of_x or looks_like_data or (files if len(files) == 1 else [])
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise SourceError(f"the zip archive holds no file of data, such as tweets.csv or tweets.jsonl, among its {len(files)} files")
    shown = ", ".join(_plain(info.filename) for info in candidates[:_SHOWN]) + (", …" if len(candidates) > _SHOWN else "")
    raise SourceError(f"the zip archive holds {len(candidates)} files of data: {shown}. Unpack it and give them one by one")


def _plain(name: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in name)[-80:]
