"""Registers the kinds of live sources that `tweetmill stream` knows. A new one is a module with a class, and the class in `KINDS`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from producers.sources.files import name_of
from producers.sources.live.jetstream.source import Jetstream
from producers.sources.live.local_file import LocalFile
from producers.sources.live.mastodon.source import Mastodon
from producers.sources.live.pipe import Pipe
from producers.sources.live.watched_folder import WatchedFolder
from producers.sources.live.x_api.source import XStream
from producers.sources.names import Names
from workers.ingest.live import LiveSource
from workers.ingest.readers.errors import SourceError


@dataclass(frozen=True)
class LiveOptions:
    """How a source is read. Each kind takes what concerns it.

    Attributes:
        name: the source's name that tweets carry; None: made of the address.
        names: how the fields of rows are called, where the table of names does not say it.
        encoding: of text, where no mark tells it; None: UTF-8.
        follow: a file is read on as it grows, instead of to its end.
        languages: tags such as `en` or `pt-BR` whose tweets are wanted of a network; none: all. See `producers.sources.live.languages`.
        rules: that X's filtered stream is to have; none: those that it has.
        max_usd: dollars that may be spent on reading X, over all starts that share a cursor.
        from_start: it is read without the cursor of where it was left.
    """

    name: str | None = None
    names: Names = field(default_factory=Names)
    encoding: str | None = None
    follow: bool = False
    languages: frozenset[str] = frozenset()
    rules: tuple[str, ...] = ()
    max_usd: float | None = None
    from_start: bool = False

    @property
    def given(self) -> frozenset[str]:
        """The options of the command line that concern some kinds of sources alone, where they say something."""
        said = {
            "--lang": bool(self.languages),
            "--rule": bool(self.rules),
            "--max-usd": self.max_usd is not None,
            "--map": bool(self.names.mapped),
            "--encoding": self.encoding is not None,
        }
        return frozenset(option for option, there in said.items() if there)


class Kind(Protocol):
    """A class of live sources."""

    def __call__(self, address: str, options: LiveOptions, /) -> LiveSource:
        """Return the source of an address; nothing is read yet.

        Raises:
            SourceError: the address or an option can't be used, or there is nothing to read.
        """
        ...

    def takes(self, address: str, /) -> bool:
        """Whether an address is one of this kind."""
        ...


# The first that takes an address has it. Any address may be a path, so what reads paths comes last.
KINDS: tuple[Kind, ...] = (Jetstream, Mastodon, XStream, Pipe, WatchedFolder, LocalFile)

# An option that says nothing to a source is refused: who gives --lang for a file would take its summaries for those of one language.
_NETWORKS: tuple[Kind, ...] = (Jetstream, Mastodon, XStream)
_CONCERNS: tuple[tuple[str, str, tuple[Kind, ...]], ...] = (
    ("--lang", "networks", _NETWORKS),
    ("--rule", "X's stream", (XStream,)),
    ("--max-usd", "X's stream", (XStream,)),
    ("--map", "files and pipes", (Pipe, WatchedFolder, LocalFile)),
    ("--encoding", "files and pipes", (Pipe, WatchedFolder, LocalFile)),
)


def default_name(address: str) -> str:
    """Return the name of a stream from an address, where none is given: the file's without endings, a server's host."""
    if "://" in address:
        return urlsplit(address).hostname or "stream"
    is_network = ":" in address and not Path(address).exists()
    return address if is_network else name_of(address.rstrip("/")) or "stream"


def goes_on(at: str, before: str) -> bool:
    """Whether reading at one address goes on where it was left at another: servers of Bluesky's stream have the same posts."""
    return Jetstream.takes(at) and Jetstream.takes(before)


def open_live(address: str, options: LiveOptions) -> LiveSource:
    """Return the live source of an address: a path, `-`, or one that begins with the name of a network.

    Raises:
        SourceError: the address or an option can't be used, or there is nothing to read.
    """
    kind = next((kind for kind in KINDS if kind.takes(address)), None)
    if kind is None:
        raise SourceError(f"{address} does not exist: check the path, or give - to read standard input")
    source = kind(address, options)
    for option, whose, kinds in _CONCERNS:
        if option in options.given and kind not in kinds:
            raise SourceError(f"{option} is for {whose} and says nothing to this source: leave it out")
    return source
