"""How vLLM is started, and what of it is refused before a worker takes a job."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_vllm import installed
from tests.support.gpus import uuid_of, write_driver
from workers.errors import SettingsError, UserError
from workers.inference.builders import vllm
from workers.inference.engine_builders import ServerBuilder, builder_of
from workers.inference.served import merging, sockets
from workers.inference.served.launcher import task_of
from workers.inference.served.program import Patience, Program, Served, Task
from workers.settings import get_settings


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """vLLM is there, and the environment is to be changed."""
    monkeypatch.setenv("TWEETMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TWEETMILL_VLLM_PROGRAM", str(installed(tmp_path / "bin")))
    get_settings.cache_clear()
    yield monkeypatch
    get_settings.cache_clear()


def started(**environment: str) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        get_settings.cache_clear()
        built = vllm.program(get_settings())
    get_settings.cache_clear()
    return built.started(Served("/models/{port} base", 2048), Path("1.sock"), 0)


def test_places_are_filled_in_once_and_nothing_passes_through_a_shell(program: pytest.MonkeyPatch) -> None:
    command = started(TWEETMILL_VLLM_ARGUMENTS="--enforce-eager --compilation-config '{\"level\": 3}'")
    assert command[1:3] == ["serve", "/models/{port} base"]
    assert command[command.index("--uds") + 1] == "1.sock"
    assert command[command.index("--max-model-len") + 1] == "2048"
    assert command[-3:] == ["--enforce-eager", "--compilation-config", '{"level": 3}']


@pytest.mark.parametrize(
    "argument",
    [
        "--trust-remote-code",
        "--trust_remote_code",
        "--trust-rem",
        "--host=0.0.0.0",
        "--api-key x",
        "--enable-log-requests",
        "--uds x.sock",
    ],
)
def test_an_argument_that_opens_the_server_or_logs_tweets_is_refused(program: pytest.MonkeyPatch, argument: str) -> None:
    with pytest.raises(SettingsError, match=r"TWEETMILL_VLLM_ARGUMENTS: .* is for tweetmill to set"):
        started(TWEETMILL_VLLM_ARGUMENTS=argument)


@pytest.mark.parametrize("arguments", ["--name 'half", "--max-lora-rank many"])
def test_arguments_that_can_not_be_read_are_refused(program: pytest.MonkeyPatch, arguments: str) -> None:
    with pytest.raises(SettingsError, match="TWEETMILL_VLLM_ARGUMENTS"):
        started(TWEETMILL_VLLM_ARGUMENTS=arguments)


def test_without_vllm_the_error_says_how_to_get_it(program: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"there is no program .*/nothing\. Install it .* TWEETMILL_VLLM_PROGRAM"):
        started(TWEETMILL_VLLM_PROGRAM=str(tmp_path / "nothing"))
    program.delenv("TWEETMILL_VLLM_PROGRAM")
    with pytest.raises(SettingsError, match="vLLM is not installed here"):
        started(PATH=str(tmp_path / "nothing"))


def test_there_is_a_server_for_each_gpu_that_the_worker_sees(program: pytest.MonkeyPatch, tmp_path: Path) -> None:
    driver = write_driver(tmp_path / "driver", 3)
    program.setenv("PATH", os.pathsep.join((str(driver), os.defpath)))
    program.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    task = task_of(get_settings(), vllm.program(get_settings()), tmp_path)
    assert task.devices == (uuid_of(0), uuid_of(2))
    assert Task.decoded(task.encoded()) == task
    program.setenv("TWEETMILL_DEVICE", "cpu")
    get_settings.cache_clear()
    assert task_of(get_settings(), vllm.program(get_settings()), tmp_path).devices == ()


@pytest.mark.parametrize(
    ("arguments", "merges", "rank"), [("", True, 16), ("--max-lora-rank 32", False, 32), ("--max_lora_rank=8", False, 8)]
)
def test_on_a_cpu_adapters_are_merged_unless_the_arguments_have_a_limit_for_them(
    program: pytest.MonkeyPatch, arguments: str, merges: bool, rank: int
) -> None:
    program.setenv("TWEETMILL_DEVICE", "cpu")
    program.setenv("TWEETMILL_VLLM_ARGUMENTS", arguments)
    get_settings.cache_clear()
    built = vllm.program(get_settings())
    assert (built.merges, built.rank) == (merges, rank)


def test_on_a_gpu_adapters_are_loaded(program: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program.setenv("PATH", os.pathsep.join((str(write_driver(tmp_path / "driver", 1)), os.defpath)))
    assert not vllm.program(get_settings()).merges


def test_a_gpu_that_is_asked_for_must_be_there(program: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program.setenv("TWEETMILL_DEVICE", "cuda")
    program.setenv("PATH", str(tmp_path / "nothing"))
    get_settings.cache_clear()
    with pytest.raises(SettingsError, match="this worker sees no GPU"):
        task_of(get_settings(), vllm.program(get_settings()), tmp_path)


def test_what_a_server_needs_of_the_environment_it_gets_and_keys_it_does_not(program: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "X_BEARER_TOKEN", "DATABASE_URL", "VLLM_LOGGING_LEVEL"):
        program.setenv(name, "postgresql://me@db/x" if name == "DATABASE_URL" else "something")
    get_settings.cache_clear()
    given = task_of(get_settings(), vllm.program(get_settings()), tmp_path).environment
    assert {"VLLM_LOGGING_LEVEL"} == {"OPENAI_API_KEY", "HF_TOKEN", "X_BEARER_TOKEN", "DATABASE_URL", "VLLM_LOGGING_LEVEL"} & given.keys()


@pytest.mark.parametrize(
    ("config", "plain"),
    [
        ({"r": 16}, True),
        ({"r": 64}, False),
        ({"r": 8, "use_dora": True}, False),
        ({"r": 8, "modules_to_save": ["lm_head"]}, False),
        ({"r": 8, "rank_pattern": {"q_proj": 32}}, False),
        ({"r": 8, "bias": "all"}, False),
    ],
)
def test_an_adapter_that_the_server_does_not_load_is_merged(tmp_path: Path, config: dict[str, object], plain: bool) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    assert merging.is_served_as_adapter(tmp_path, rank=16) is plain


def test_a_model_that_is_not_on_this_node_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no model in .*demo on this node"):
        merging.is_served_as_adapter(tmp_path / "demo", rank=16)


def test_rests_between_starts_double_up_to_a_limit() -> None:
    assert [Patience(first=1, longest=5).rest(deaths) for deaths in (1, 2, 3, 4)] == [1, 2, 4, 5]


def test_sockets_lie_in_a_short_folder_of_their_own_however_long_the_home_is(tmp_path: Path) -> None:
    folder = sockets.folder_of(tmp_path / ("long" * 40), 4711)
    assert len(str(folder / sockets.CONTROL)) < 100
    assert sockets.folder_of(Path("/srv/mill"), 4711) == Path("/srv/mill/run/served-4711")


def test_engines_with_a_server_are_told_from_the_others_by_their_module() -> None:
    assert isinstance(builder_of("vllm"), ServerBuilder)
    assert not isinstance(builder_of("openai"), ServerBuilder)
    assert not isinstance(builder_of("transformers"), ServerBuilder)


def test_another_program_is_one_more_description() -> None:
    llama = Program("llama_server", ("llama-server", "-m", "{model}", "--port", "{port}", "-c", "{length}"), "LLAMA_API_KEY")
    assert llama.started(Served("/models/base", 2048), Path("/x"), 8123)[-4:] == ["--port", "8123", "-c", "2048"]
    assert not llama.on_socket
