"""The verb doctor: what this machine has, and whether a recipe fits on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.render.exit_codes import DONE, FAILED
from producers.render.output import STACK, AsJson, emit, example, line, say, styled
from producers.submitting import Overrides
from schemas.numbers import HIGHEST_PRICE, LARGEST_GPU

if TYPE_CHECKING:
    from rich.console import RenderableType

_LIBRARIES = ("tweetmill", "torch", "transformers", "peft", "accelerate", "deepspeed", "bitsandbytes", "safetensors")
_GIB = 2**30


def register(app: typer.Typer) -> None:
    """Add the verb."""
    with_recipe = "tweetmill doctor -r recipes/demo-train.yaml"
    app.command(rich_help_panel=STACK, epilog=example("tweetmill doctor", with_recipe, f"{with_recipe} --gpu-memory 24 --json"))(doctor)


def doctor(
    recipe: Annotated[Path | None, typer.Option("--recipe", "-r", metavar="FILE", help="A training recipe to estimate.")] = None,
    overrides: Overrides = None,
    usd_per_hour: Annotated[
        float | None, typer.Option(min=0, max=HIGHEST_PRICE, help="Price of one machine, for the cost of the run.")
    ] = None,
    gpu_memory: Annotated[
        float | None,
        typer.Option(min=0.1, max=LARGEST_GPU, metavar="GIB", help="Judge by a GPU of this memory, not by those here."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what this machine has: driver, GPUs, versions, servers, disk. With a recipe: memory, tokens, time and price, and what would fit.

    Needs no server: what can't be asked is unknown. Exit code 1 when the recipe does not fit.
    """
    from producers.recipes import read_training
    from workers.errors import SettingsError

    if recipe is None and overrides:
        raise SettingsError("overrides change a recipe: give one with -r")
    reading: dict[str, Any] = {"machine": _machine()}
    if recipe is not None:
        reading |= _judged(read_training(recipe, overrides or []), usd_per_hour, gpu_memory)
    emit(reading, as_json, _table)
    if not as_json and reading.get("fits") is False:
        say(f"It does not fit: {reading['suggestion'] or 'no setting of this recipe would; take a smaller base or more GPUs'}.")
    raise typer.Exit(FAILED if reading.get("fits") is False else DONE)


def _machine() -> dict[str, Any]:
    """What this machine has; JSON-like."""
    from importlib.metadata import PackageNotFoundError, version

    from deploy.health import status
    from deploy.local.home import Home
    from workers.errors import Unavailable
    from workers.estimates.machine import half_type
    from workers.gpus.inventory import inventory
    from workers.memory import host_memory
    from workers.settings import get_settings

    versions: dict[str, str | None] = {}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    problem = None
    try:
        gpus = inventory()
    except Unavailable as error:
        gpus, problem = (), str(error)
    settings = get_settings()
    servers = status(settings, Home(settings.home))
    answers = {
        name: {"answers": servers[name]["answers"], "version": servers[name].get("version"), "error": servers[name].get("error")}
        for name in ("redis", "postgres")
    }
    return {
        "gpus": [
            {
                "uuid": gpu.uuid,
                "name": gpu.name,
                "memory_bytes": gpu.memory,
                "used_bytes": gpu.used,
                "driver": gpu.driver,
                "compute_capability": None if gpu.capability is None else ".".join(map(str, gpu.capability)),
                "dtype": half_type(gpu),
            }
            for gpu in gpus
        ],
        "host_memory_bytes": host_memory(),
        "versions": versions,
        "servers": answers,
        "workers": [worker["name"] for worker in servers["workers"]],
        "problems": [*servers["problems"], *([problem] if problem else [])],
        "home": servers["home"],
        "disk_free_gib": servers["disk_free_gib"],
    }


def _judged(spec: Any, usd_per_hour: float | None, gpu_memory: float | None) -> dict[str, Any]:
    """What the recipe needs and whether it fits here; JSON-like."""
    from workers.errors import SettingsError, Unavailable
    from workers.estimates.architecture import read_architecture
    from workers.estimates.fitting import config_folder, judge
    from workers.estimates.machine import Device, device_for, visible
    from workers.gpus.inventory import inventory

    if gpu_memory is not None:
        name = f"a GPU of {gpu_memory:g} GiB"
        device: Device | None = Device(True, int(gpu_memory * _GIB), 4 if spec.asked_dtype == "float32" else 2, name)
    else:
        try:
            device = device_for(spec, visible(inventory()))
        except Unavailable as error:
            raise SettingsError(f"{error}. --gpu-memory GIB judges by a GPU of that memory") from None
    if device is None:
        raise SettingsError("the recipe says device: cuda, and there is no GPU here: --gpu-memory GIB judges by a GPU of that memory")
    architecture = read_architecture(config_folder(spec.base))
    verdict = judge(architecture, spec, device)
    parameters, memory = verdict.estimate.parameters, verdict.estimate.memory
    sizes = (parameters.total, parameters.trainable, len(architecture.layers))
    tokens, rate, source = _pace(spec, device, sizes, assumed=gpu_memory is not None)
    seconds = None if tokens is None or rate is None else tokens / rate
    return {
        "recipe": {
            "name": spec.name,
            "base": spec.base,
            "method": spec.method,
            "zero_stage": spec.zero_stage,
            "world_size": spec.world_size,
        },
        "device": {"name": device.name, "gpu": device.on_gpu, "memory_bytes": device.bytes, "dtype_bytes": device.dtype_bytes},
        "trainable_parameters": parameters.trainable,
        "total_parameters": parameters.total,
        "fits": verdict.fits,
        "fits_with_smaller_micro_batches": verdict.fits_smallest,
        "per_gpu_bytes": {
            "weights": memory.weights,
            "gradients": memory.gradients,
            "optimizer": memory.optimizer,
            "activations": memory.activations,
            "overhead": memory.overhead,
            "host": memory.host,
            "total": memory.total,
        },
        "tokens": tokens,
        "tokens_per_second": rate,
        "rate_from": source,
        "seconds": seconds,
        "usd": None if seconds is None or usd_per_hour is None else round(seconds / 3600 * usd_per_hour * spec.nodes, 4),
        "suggestion": verdict.suggestion,
    }


def _pace(spec: Any, device: Any, sizes: tuple[int, int, int], *, assumed: bool) -> tuple[int | None, float | None, str]:
    """Return the tokens of the run, tokens a second, and where that number is from; None for what is not known.

    `sizes` are the model's parameters, those that are trained, and its layers.
    """
    from workers.database import session
    from workers.estimates import history
    from workers.estimates.machine import tokens_per_second

    tokens, own, each = None, None, None
    try:
        with session() as opened:
            size = history.size_of(opened, spec)
            if size is not None:
                tokens, each = history.tokens_of_run(spec, size), size.tokens / size.lines
            own = None if assumed else history.last_rate(opened, spec)
    except Exception:  # noqa: S110 - doctor works without servers, and says above that they do not answer
        pass
    if own is not None:
        return tokens, own, "the last training like it here"
    return tokens, tokens_per_second(device, spec, *sizes, each), "a table of cards and cores"


def _table(reading: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    facts = [*_machine_facts(reading["machine"]), *(_recipe_facts(reading) if "fits" in reading else ())]
    for name, fact, style in facts:
        table.add_row(name, styled(line(fact), style))
    return Group(table)


def _machine_facts(machine: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the name, the text and the style of each fact of the machine."""
    for gpu in machine["gpus"]:
        free = (gpu["memory_bytes"] - gpu["used_bytes"]) / _GIB
        told = f"{gpu['name']}, {free:.1f} of {gpu['memory_bytes'] / _GIB:.1f} GiB free, {gpu['dtype']}, driver {gpu['driver']}"
        yield "gpu", told, "green"
    if not machine["gpus"]:
        yield "gpu", "none: trainings run on the CPU", "yellow"
    yield "memory", f"{machine['host_memory_bytes'] / _GIB:.1f} GiB of the host available", ""
    there = [f"{name} {number}" for name, number in machine["versions"].items() if number]
    missing = [name for name, number in machine["versions"].items() if not number]
    yield "versions", ", ".join(there) + (f"; not installed: {', '.join(missing)}" if missing else ""), ""
    for name, server in machine["servers"].items():
        yield (
            name,
            server["version"] or "answers" if server["answers"] else f"no answer: {server['error']}",
            "" if server["answers"] else "red",
        )
    yield "workers", ", ".join(machine["workers"]) or "none alive", "" if machine["workers"] else "yellow"
    yield from (("problem", problem, "red") for problem in machine["problems"])
    yield "home", f"{machine['home']} ({machine['disk_free_gib']} GiB free)", ""


def _recipe_facts(reading: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the name, the text and the style of each fact of the recipe."""
    recipe, needs, device = reading["recipe"], reading["per_gpu_bytes"], reading["device"]
    yield "recipe", f"{recipe['name']}: {recipe['method']} on {Path(recipe['base']).name}, ZeRO-{recipe['zero_stage']}", ""
    yield "trained", f"{reading['trainable_parameters']:,} of {reading['total_parameters']:,} parameters", ""
    parts = ", ".join(f"{name} {needs[name] / _GIB:.2f}" for name in needs if name not in ("total", "host") and needs[name])
    yield "each rank", f"{needs['total'] / _GIB:.2f} GiB: {parts}", ""
    if needs["host"]:
        yield "offloaded", f"{needs['host'] / _GIB:.2f} GiB of the host for each rank", ""
    has = f"{device['name']} has {device['memory_bytes'] / _GIB:.1f} GiB"
    yield ("fits", f"yes: {has}", "green") if reading["fits"] else ("fits", f"no: {has}", "red")
    if reading["suggestion"]:
        yield "what fits", reading["suggestion"], "yellow"
    yield "tokens", f"{reading['tokens']:,}" if reading["tokens"] else "unknown: the dataset can't be asked, or is not there", ""
    if reading["tokens_per_second"]:
        yield "speed", f"{reading['tokens_per_second']:,.0f} tokens a second, by {reading['rate_from']}", ""
    if reading["seconds"] is not None:
        price = "" if reading["usd"] is None else f", ${reading['usd']:.2f}"
        yield "time", f"{reading['seconds'] / 60:.0f} minutes{price}", ""
