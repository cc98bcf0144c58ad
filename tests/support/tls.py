"""Make certificates, and terminate TLS in front of a server that does not speak it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.relay import listening, pump

# What a client of Postgres asks before it speaks TLS: the length of the message, and a number.
_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a folder of its own."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> Authority:
        """Make one."""
        folder.mkdir()
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        _openssl(folder, "req", "-x509", *_NEW_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority", "-days", "2", *usage)
        return cls(folder)

    @property
    def certificate(self) -> Path:
        """What clients must trust."""
        return self.folder / "ca.pem"

    def context_for(self, name: str) -> ssl.SSLContext:
        """What a server of this host name needs."""
        (self.folder / "extensions").write_text(f"subjectAltName=DNS:{name}\nauthorityKeyIdentifier=keyid\n")
        _openssl(self.folder, "req", "-new", *_NEW_KEY, "-keyout", "server.key", "-out", "server.csr", "-subj", f"/CN={name}")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "extensions", "-days", "2")
        _openssl(self.folder, "x509", "-req", "-in", "server.csr", *signed, "-out", "server.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        return context


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@contextmanager
def tls_listener(context: ssl.SSLContext, socket: Path, *, postgres: bool = False) -> Iterator[int]:
    """Listen with TLS in front of a Unix socket; yields the port on 127.0.0.1. Postgres's clients ask before they speak TLS."""

    async def opened(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
            if postgres:
                assert await reader.readexactly(8) == _SSL_REQUEST
                writer.write(b"S")
                await writer.start_tls(context)
            inside_reader, inside_writer = await asyncio.open_unix_connection(str(socket))
            await asyncio.gather(pump(reader, inside_writer), pump(inside_reader, writer))

    with listening(opened, None if postgres else context) as port:
        yield port
