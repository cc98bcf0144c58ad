"""One engine is kept warm: for a shard with this worker's share of the cores, for a job of its own with all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.fake_vllm import installed
from tests.support.gpus import write_driver
from tests.support.tiny_model import build_tiny_model
from workers.configuration import settings_sources
from workers.errors import SettingsError
from workers.inference import builders, engines
from workers.inference.builders import vllm
from workers.inference.engine import UnusableDevice
from workers.inference.local.engine import TransformersEngine
from workers.inference.remote.engine import OpenAIEngine
from workers.inference.served.engine import ServedEngine
from workers.settings import get_settings


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(autouse=True)
def cold(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No engine yet, one thread for each, and everything as it was afterwards."""
    threads = torch.get_num_threads()
    for name in ("TWEETMILL_ENGINE", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TWEETMILL_THREADS", "1")
    get_settings.cache_clear()
    engines._warm.clear()
    yield monkeypatch
    engines._warm.clear()
    get_settings.cache_clear()
    torch.set_num_threads(threads)


def test_the_same_base_is_loaded_once_and_another_takes_its_place(base: Path, tmp_path: Path) -> None:
    engine = engines.engine_for(str(base))
    assert engines.engine_for(str(base)) is engine
    engines.engine_for(str(build_tiny_model(tmp_path)))
    assert len(engines._warm) == 1
    assert engines.engine_for(str(base)) is not engine


def test_a_shard_has_its_share_of_the_cores_and_a_job_of_its_own_has_them_all(base: Path) -> None:
    shard = engines.engine_for(str(base))
    assert torch.get_num_threads() == 1
    alone = engines.engine_for(str(base), all_cores=True)
    assert torch.get_num_threads() == os.cpu_count()
    assert engines.engine_for(str(base), all_cores=True) is alone
    assert alone is shard, "its weights are not read again"


def test_the_share_is_back_when_the_job_of_its_own_is_over(base: Path) -> None:
    engines.engine_for(str(base), all_cores=True)
    engines.engine_for(str(base))
    assert torch.get_num_threads() == 1
    assert get_settings().threads == 1, "the settings themselves stay as they were"


def test_a_server_needs_its_address_and_nothing_else(cold: pytest.MonkeyPatch) -> None:
    cold.setenv("TWEETMILL_ENGINE", "openai")
    get_settings.cache_clear()
    with pytest.raises(SettingsError, match="OPENAI_BASE_URL"):
        engines.engine_for("base")
    cold.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    get_settings.cache_clear()
    assert isinstance(engines.engine_for("base"), OpenAIEngine)


def test_what_asks_a_server_on_a_gpu_is_built_with_the_settings_that_the_server_has(
    cold: pytest.MonkeyPatch, base: Path, tmp_path: Path
) -> None:
    cold.setenv("PATH", os.pathsep.join((str(write_driver(tmp_path / "driver", 1)), os.defpath)))
    cold.setenv("TWEETMILL_ENGINE", "vllm")
    cold.setenv("TWEETMILL_VLLM_PROGRAM", str(installed(tmp_path / "bin")))
    get_settings.cache_clear()
    engine = engines.engine_for(str(base))
    assert isinstance(engine, ServedEngine)
    assert engine._program == vllm.program(get_settings())
    assert not engine._program.merges, "a GPU's server loads adapters"
    assert engine._concurrency == vllm.ON_GPU_CONCURRENCY


def test_a_module_among_the_builders_is_an_engine(cold: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "parrot.py").write_text("def build(settings, base):\n    return ('parrot', base)\n")
    cold.setattr(settings_sources, "ENGINE_BUILDERS", tmp_path)
    cold.setattr(builders, "__path__", [*builders.__path__, str(tmp_path)])
    cold.setenv("TWEETMILL_ENGINE", "parrot")
    get_settings.cache_clear()
    assert engines.engine_for("base") == ("parrot", "base")
    cold.setenv("TWEETMILL_ENGINE", "openai")
    get_settings.cache_clear()
    with pytest.raises(SettingsError, match=r"TWEETMILL_ENGINE: it should be 'parrot'"):
        get_settings()


def test_an_engine_for_a_gpu_that_pytorch_does_not_see_is_refused(base: Path, cold: pytest.MonkeyPatch) -> None:
    cold.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnusableDevice, match="sees no GPU here: install a build for CUDA"):
        TransformersEngine(str(base), device="cuda")


def test_only_the_engine_in_this_process_loads_torch() -> None:
    program = (
        "import sys\n"
        "from workers.inference import engines\n"
        "from workers.configuration.settings_sources import engine_names\n"
        "for name in engine_names():\n    engines.builder_of(name)\n"
        "assert {'transformers', 'openai'} <= set(engine_names())\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "False"]
