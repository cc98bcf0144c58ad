"""Checks, before a training starts, that the trackers that its recipe names are installed on this worker."""

from __future__ import annotations

from importlib.util import find_spec

from schemas.training import TrainingSpec
from workers.errors import UserError


def check_trackers(spec: TrainingSpec) -> None:
    """Make sure that each tracker of `report_to` can be imported.

    Raises:
        UserError: saying what to install.
    """
    lacking = [name for name in spec.report_to if find_spec(name) is None]
    if lacking:
        raise UserError(
            f"report_to: {', '.join(lacking)} is not installed where this worker runs: `pip install 'tweetmill[trackers]'` there, "
            "or leave it out"
        )
