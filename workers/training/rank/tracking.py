"""Hands a run's numbers to Accelerate's trackers, where a recipe's `report_to` names some. It loads torch.

Their files lie in the run's folder, and nothing leaves the machine: the launcher keeps from a rank what would have trackio send it. They
get numbers and settings alone, no text of a tweet.
"""

from __future__ import annotations

from typing import Any

from workers.training.protocol.payload import RunPayload
from workers.training.protocol.progress import Done, Evaluated, Event, ProgressWriter, Step

STEP_NUMBERS = ("loss", "learning_rate", "tokens_per_second", "peak_memory_bytes")


class TrackedProgress(ProgressWriter):
    """Appends events as its base does, and reports the numbers of steps and evaluations to the trackers of the spec.

    Args:
        run: the payload of the ranks.
        accelerator: of Hugging Face, on rank 0.
    """

    def __init__(self, run: RunPayload, accelerator: Any) -> None:
        super().__init__(run.run_folder)
        self._accelerator = accelerator
        if run.spec.report_to:
            _start(run, accelerator)

    def write(self, event: Event) -> None:
        """Append `event`, and report what is a number in it."""
        super().write(event)
        if isinstance(event, Step):
            self._accelerator.log({name: getattr(event, name) for name in STEP_NUMBERS}, step=event.step)
        elif isinstance(event, Evaluated):
            self._accelerator.log(event.numbers, step=event.step)
        elif isinstance(event, Done):
            for tracker in self._accelerator.trackers:
                tracker.finish()


def _start(run: RunPayload, accelerator: Any) -> None:
    from accelerate.tracking import filter_trackers

    folder = run.trackers_folder
    folder.mkdir(parents=True, exist_ok=True)
    accelerator.project_configuration.logging_dir = str(folder / "tensorboard")
    accelerator.log_with = filter_trackers(list(run.spec.report_to), accelerator.logging_dir)
    settings = {name: value for name, value in run.spec.model_dump(mode="json").items() if isinstance(value, bool | int | float | str)}
    how = {"trackio": {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}}
    accelerator.init_trackers(run.spec.name, settings, how)
