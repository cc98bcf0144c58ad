"""Several trainings one after the other in one group of ranks, where a group for each would take ten times as long.

`python -m tests.support.rank_series REPORT PAYLOAD…` is one rank: it trains each payload as a rank of its own does, and appends a line to
REPORT for each.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workers.training.protocol.outcome import RESULT_FILE, TrainingResult
from workers.training.protocol.payload import RunPayload
from workers.training.protocol.progress import ProgressReader, Step


@dataclass(frozen=True)
class Measured:
    """What one rank measured of one training.

    Attributes:
        trainable: elements that are trained, on all ranks together.
        trainable_bytes: of those weights in the model's type.
        optimizer_bytes: of the fp32 weights and the moments that this rank keeps.
        largest_allocation: the most bytes that one call of `torch.empty` or `torch.zeros` took while DeepSpeed was set up.
    """

    trainable: int
    trainable_bytes: int
    optimizer_bytes: int
    largest_allocation: int


def train_all(runs: list[RunPayload], folder: Path, ranks: int = 2) -> list[list[Measured]]:
    """Train all payloads in one group of `ranks` processes; return for each what its ranks measured, in rank order."""
    payloads = []
    for run in runs:
        run.run_folder.mkdir(parents=True, exist_ok=True)
        payloads.append(str(run.write()))
    env = {**os.environ, "WORLD_SIZE": str(ranks), "ACCELERATE_USE_DEEPSPEED": "true", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    processes = []
    for rank in range(ranks):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        command = [sys.executable, "-m", "tests.support.rank_series", str(folder / f"rank{rank}.jsonl"), *payloads]
        with (folder / f"rank{rank}.log").open("wb") as log:
            processes.append(subprocess.Popen(command, env=env | own, stdout=log, stderr=log))
    _wait(processes, folder)
    lines = [[json.loads(line) for line in (folder / f"rank{rank}.jsonl").read_text().splitlines()] for rank in range(ranks)]
    return [[Measured(**line) for line in of_a_run] for of_a_run in zip(*lines, strict=True)]


def _wait(processes: list[subprocess.Popen[bytes]], folder: Path) -> None:
    try:
        while any(process.poll() is None for process in processes) and not any(process.poll() for process in processes):
            time.sleep(0.05)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
    failed = [rank for rank, process in enumerate(processes) if process.returncode > 0]
    assert not failed, "".join((folder / f"rank{rank}.log").read_text()[-4000:] for rank in failed)


def losses(run: RunPayload) -> dict[int, float]:
    """The loss of each step that a training made."""
    return {event.step: event.loss for event in ProgressReader(run.run_folder).read() if isinstance(event, Step)}


def result(run: RunPayload) -> TrainingResult:
    return TrainingResult.model_validate_json((run.run_folder / RESULT_FILE).read_text())


def _train_here(payloads: list[Path], report: Path) -> None:
    from accelerate.state import AcceleratorState

    from workers.training.rank import loop

    seen: list[Measured] = []
    run_steps, load_trainable = loop._run_steps, loop.load_trainable
    largest = [0]

    def loading_watched(*arguments: Any) -> Any:
        with _Allocations() as allocations:
            loaded = load_trainable(*arguments)
        largest[0] = allocations.largest
        return loaded

    def measured_after(trainer: Any, *arguments: Any) -> Any:
        outcome = run_steps(trainer, *arguments)
        seen.append(_measure(trainer, largest[0]))
        return outcome

    loop._run_steps, loop.load_trainable = measured_after, loading_watched
    with report.open("w") as out:
        for payload in payloads:
            loop.train(RunPayload.read(payload))
            out.write(json.dumps(asdict(seen.pop())) + "\n")
            out.flush()
            AcceleratorState._reset_state(reset_partial_state=True)
            gc.collect()


class _Allocations:
    """Watches `torch.empty` and `torch.zeros` while DeepSpeed builds its engine."""

    def __enter__(self) -> _Allocations:
        import deepspeed
        import torch

        self.largest = 0
        self._deepspeed, self._initialize = deepspeed, deepspeed.initialize

        def watched(original: Any) -> Any:
            def allocate(*arguments: Any, **options: Any) -> Any:
                tensor = original(*arguments, **options)
                if tensor.device.type != "meta":
                    self.largest = max(self.largest, tensor.numel() * tensor.element_size())
                return tensor

            return allocate

        def initialize(*arguments: Any, **options: Any) -> Any:
            empty, zeros = torch.empty, torch.zeros
            torch.empty, torch.zeros = watched(empty), watched(zeros)
            try:
                return self._initialize(*arguments, **options)
            finally:
                torch.empty, torch.zeros = empty, zeros

        deepspeed.initialize = initialize
        return self

    def __exit__(self, *_: object) -> None:
        self._deepspeed.initialize = self._initialize


def _measure(trainer: Any, largest: int) -> Measured:
    trainable = trainer.method.trainable(trainer.model.module).values()
    elements = sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in trainable)
    states = trainer.model.basic_optimizer.state
    kept = [tensor for state in states.values() for tensor in state.values() if getattr(tensor, "dim", int)()]
    # The keys of the state are the fp32 weights: copies but at ZeRO 0 in float32, where they are the model's own.
    return Measured(
        trainable=elements,
        trainable_bytes=elements * next(iter(trainable)).element_size(),
        optimizer_bytes=sum(tensor.numel() * tensor.element_size() for tensor in [*states, *kept]),
        largest_allocation=largest,
    )


if __name__ == "__main__":
    _train_here([Path(name) for name in sys.argv[2:]], Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)
