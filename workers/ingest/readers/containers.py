"""Opens a file or standard input and unpacks it, as many times as it is packed. What it is shows in how its bytes begin.

Nothing is unpacked to disk or held in memory. What can't be read as text is named, with what to do about it.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from workers.ingest.readers import zip_archives
from workers.ingest.readers.errors import DamagedError, SourceError

STDIN = "-"
DEEPEST_ARCHIVE = 3  # archives within archives
HEAD = 1024  # bytes that are looked at
PARQUET = b"PAR1"
_LONGEST_MAGIC = 16
_BUFFER = 128 * 1024

_BZIP2 = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")
_ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")
_SAVE_AS_CSV = "save its sheet as CSV (UTF-8) and give that"
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"SQLite format 3\0", "an SQLite database: write its table as CSV, sqlite3 -header -csv FILE 'SELECT id, text FROM …' > tweets.csv"),
    (b"%PDF-", "a PDF, which is no table: ask for the data as CSV or JSON"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", f"an Excel workbook of the old kind: {_SAVE_AS_CSV}"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it, 7z x FILE, and give what comes out"),
    (b"Rar!\x1a\x07", "a RAR archive: unpack it and give what comes out"),
    (b"\x04\x22\x4d\x18", "packed with lz4: lz4 -dc FILE | tweetmill ingest -"),
    (b"ARROW1", "an Arrow file: write it as Parquet or CSV"),
    (b"FEA1", "a Feather file: write it as Parquet or CSV"),
    (b"ORC", "an ORC file: write it as Parquet or CSV"),
    (b"Obj\x01", "an Avro file: write it as JSON Lines, avro-tools tojson FILE"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file: write its table as CSV"),
    (b"\x93NUMPY", "a NumPy array: write it as CSV"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"\x7fELF", "a program"),
)  # fmt: skip
_PICKLE = re.compile(rb"\x80[\x02-\x05][\x00-\x1f\x80-\xff\]}(cNKX]")


@contextmanager
def opened(path: str | Path, on_open: Callable[[BinaryIO], None] | None = None) -> Iterator[BinaryIO]:
    """Open `path`, or standard input for `-`, and yield its bytes, unpacked.

    `on_open` is called with the file as it lies on disk, whose `tell()` says how far it is read.

    Raises:
        SourceError: there is no such file, it is a folder, it may not be read, or it holds what is no text.
    """
    with ExitStack() as stack:
        raw = _stdin() if str(path) == STDIN else stack.enter_context(_opened_file(Path(path)))
        if on_open is not None and str(path) != STDIN:
            on_open(raw)
        yield _unpacked(raw, stack)


def check_readable(path: str | Path) -> None:
    """Raise `SourceError` unless `path` is `-` or something that can be opened as a file."""
    if str(path) == STDIN:
        return
    if not Path(path).exists():
        raise SourceError(f"{path} does not exist: check the path, or give - to read standard input")
    if Path(path).is_dir():
        raise SourceError(f"{path} is a folder: name one file in it, or pipe them all: cat {path}/*.jsonl | … -")


def _stdin() -> BinaryIO:
    if sys.stdin is None or sys.stdin.closed:
        raise SourceError("standard input is closed: name a file, or pipe one in")
    return sys.stdin.buffer


def _opened_file(path: Path) -> BinaryIO:
    check_readable(path)
    try:
        return path.open("rb", buffering=_BUFFER)
    except OSError as error:
        raise SourceError(f"{path} cannot be opened ({error.strerror}): check its permissions") from error


def _unpacked(stream: BinaryIO, stack: ExitStack) -> BinaryIO:
    """Return what is in the archives around it, if there are any."""
    for _ in range(DEEPEST_ARCHIVE):
        head, stream = peeked(stream)
        inner = _inside(head, stream, stack)
        if inner is None:
            _refuse_foreign(head)
            return stream
        stream = inner
    raise SourceError(f"there are more than {DEEPEST_ARCHIVE} archives around the data: unpack it")


def _inside(head: bytes, stream: BinaryIO, stack: ExitStack) -> BinaryIO | None:
    if head.startswith(b"\x1f\x8b"):
        return _guarded(cast("IO[bytes]", gzip.GzipFile(fileobj=stream)), "gzip", stack)
    if _BZIP2.match(head):
        return _guarded(bz2.BZ2File(stream), "bzip2", stack)
    if head.startswith(b"\xfd7zXZ\0"):
        return _guarded(lzma.LZMAFile(stream), "xz", stack)
    if _ZSTD.match(head):
        return _guarded(_zstd(stream), "zstd", stack)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _guarded(zip_archives.member(stream, stack), "zip", stack)
    return None


def _zstd(stream: BinaryIO) -> IO[bytes]:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return cast("IO[bytes]", zstd.ZstdFile(stream))


def _refuse_foreign(head: bytes) -> None:
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            raise SourceError(f"it is {what}")
    if head[257:262] == b"ustar":
        raise SourceError("it is a tar archive: unpack it, tar xf FILE, and give the files in it")
    if _PICKLE.match(head):
        raise SourceError("it is a Python pickle, which may run code when it is read: write it as JSON Lines or CSV")


def peeked(stream: BinaryIO) -> tuple[bytes, BinaryIO]:
    """Return the first bytes of a stream, and the stream as it was before them. A pipe that gives less at first is waited for."""
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", stream), _BUFFER)
    head = buffered.peek(HEAD)[:HEAD]
    if len(head) >= _LONGEST_MAGIC or not head:
        return head, buffered
    head = buffered.read(_LONGEST_MAGIC)
    return head, io.BufferedReader(cast("io.RawIOBase", _Rejoined(head, buffered)), _BUFFER)


class _Rejoined(io.RawIOBase):
    """Bytes that were read already, and then the rest of their stream."""

    def __init__(self, head: bytes, rest: io.BufferedReader) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        part, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        part = part or self._rest.read1(len(buffer))
        buffer[: len(part)] = part
        return len(part)


def _guarded(inner: IO[bytes], name: str, stack: ExitStack) -> BinaryIO:
    stack.callback(inner.close)
    return io.BufferedReader(cast("io.RawIOBase", _Guarded(inner, name)), _BUFFER)


class _Guarded(io.RawIOBase):
    """An archive's content, whose damage is raised as a user's error."""

    def __init__(self, inner: IO[bytes], name: str) -> None:
        self._inner, self._name = inner, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        try:
            part = self._inner.read1(len(buffer)) if hasattr(self._inner, "read1") else self._inner.read(len(buffer))
        except (SourceError, MemoryError):
            raise
        except Exception as error:  # each library has errors of its own, and some raise OSError without a number
            if isinstance(error, OSError) and error.errno is not None:
                raise
            if "memory" in str(error):
                raise SourceError("it is packed with a window too large to hold: zstd -dc --long=31 FILE | tweetmill ingest -") from error
            raise DamagedError(f"the {self._name} archive is damaged or incomplete: fetch it again") from error
        buffer[: len(part)] = part
        return len(part)
