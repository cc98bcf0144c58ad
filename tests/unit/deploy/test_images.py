"""What the Dockerfile and docker-compose.yml say of GPUs: a compiler and a cache that may run, shared locks, an index beside PyPI."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
STATE = "/home/tweetmill/state"


def stages() -> dict[str, str]:
    """The stages of the Dockerfile, each with those that it stands on."""
    text = (ROOT / "deploy" / "docker" / "Dockerfile").read_text().replace("\\\n", " ")
    found: dict[str, str] = {}
    for base, name, body in re.findall(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM |\Z)", text, re.MULTILINE | re.DOTALL):
        found[name] = found.get(base, "") + body
    return found


def variables(stage: str) -> dict[str, str]:
    """What a stage sets with ENV."""
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(re.findall(r"^ENV (.*)$", stages()[stage], re.MULTILINE))))


def options_of_tmpfs(service: str) -> dict[str, list[str]]:
    """The folders in memory of a service, each with its options."""
    folders = (entry.partition(":") for entry in COMPOSE["services"][service]["tmpfs"])
    return {path: options.split(",") for path, _, options in folders}


def test_the_gpu_image_compiles_into_a_cache_that_may_be_written_and_run() -> None:
    assert re.search(r"apt-get install .*\bgcc\b.*\bg\+\+", stages()["gpu-worker"]), "Triton and torch.compile call a C compiler"
    caches = {name: variables("gpu-worker")[name] for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TORCH_EXTENSIONS_DIR")}
    assert COMPOSE["services"]["gpu-worker"]["read_only"] is True
    in_memory = options_of_tmpfs("gpu-worker")
    for name, folder in caches.items():
        [options] = [options for path, options in in_memory.items() if Path(folder).is_relative_to(path)]
        assert {"exec", "uid=10001", "gid=10001"} <= set(options), name


def test_nothing_else_in_memory_may_be_run() -> None:
    may_run = {(name, path) for name in COMPOSE["services"] for path, options in options_of_tmpfs(name).items() if "exec" in options}
    assert may_run == {("gpu-worker", "/home/tweetmill/cache")}


@pytest.mark.parametrize("service", ["worker", "gpu-worker"])
def test_all_workers_of_a_host_share_one_folder_of_locks(service: str) -> None:
    assert f"locks:{STATE}/locks" in COMPOSE["services"][service]["volumes"]
    assert "locks" in COMPOSE["volumes"]
    assert f"{STATE}/locks" in stages()[service], "made in the image for its user: a volume is as the folder under it"


def test_gpus_are_numbered_as_the_driver_numbers_them() -> None:
    assert variables("gpu-worker")["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def wheel(folder: Path, name: str, version: str, requires: str = "") -> None:
    """Write a wheel with nothing in it, and its page of a package index."""
    page = folder / name.lower()
    page.mkdir(parents=True)
    file = page / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    (page / "index.html").write_text(f'<a href="{file.name}">{file.name}</a>')


def test_torch_comes_from_the_index_that_is_named_and_what_it_needs_from_the_default_one(tmp_path: Path) -> None:
    wheel(tmp_path / "default", "torch", "2.13.0", "sympy")
    wheel(tmp_path / "default", "sympy", "1.14.0")
    wheel(tmp_path / "named", "torch", "2.13.0+cu999", "sympy")
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\nsympy==1.14.0\n")
    [install] = re.findall(r"pip install ([^&\n]*\$TORCH_SPEC[^&\n]*)", stages()["gpu-requirements"])
    command = f'"{sys.executable}" -m pip install --dry-run --ignore-installed --disable-pip-version-check {install}'
    environment = {
        "PIP_INDEX_URL": (tmp_path / "default").as_uri(),
        "PIP_CONFIG_FILE": "/dev/null",
        "TORCH_INDEX": (tmp_path / "named").as_uri(),
        "TORCH_SPEC": "torch==2.13.0",
    }
    done = subprocess.run(["sh", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Would install sympy-1.14.0 torch-2.13.0+cu999" in done.stdout, done.stdout + done.stderr
