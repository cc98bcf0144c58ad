"""What more pairs cost: the time to write them, what a teacher would take for them, and a training on all of them.

Each is measured where that was possible: minutes a pair by `tweetmill review`, a teacher's price by the answers of this dataset, the time
of a training by the points of the curve itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from workers.catalog.curves import PointStatus
    from workers.catalog.teacher_costs import TeacherCost

MINUTES_A_PAIR = 2.0
"""Where nobody says how long a pair takes to write, and no review measured it."""

FEWEST_REVIEWED = 20
"""Reviewed rows from which their median time is taken for a pair's."""


@dataclass(frozen=True)
class Pace:
    """How long a pair takes: `minutes`, and who says so; `rows` were timed where that is `review`."""

    minutes: float = MINUTES_A_PAIR
    source: Literal["given", "review", "assumed"] = "assumed"
    rows: int = 0


@dataclass(frozen=True)
class TrainingTime:
    """Seconds of a training: `start`, and `a_pair` for each pair that is learnt from, as `points` trainings of a curve took.

    With equal epochs a larger set takes more steps, with equal steps as many: `a_pair` is 0 then.
    """

    start: float
    a_pair: float
    points: int
    nodes: int = 1

    @classmethod
    def of(cls, points: Sequence[PointStatus]) -> TrainingTime | None:
        """Fit it to the trainings of one method and origin, by least squares of what can't be negative; None before one has ended.

        Time goes by steps, and steps by pairs. Where the recipe says how many steps, the next training makes as many. Where epochs came to
        equally many, all of the time goes by the pairs: rather too much for more of them than too little.
        """
        from scipy.optimize import nnls

        timed = [(point.recipe["pairs"], point.steps, point.seconds) for point in points if point.seconds and point.steps]
        if not timed:
            return None
        nodes = points[0].recipe.get("nodes", 1)
        sizes, steps, seconds = zip(*timed, strict=True)
        if all(point.recipe["max_steps"] > 0 for point in points):
            return cls(sum(seconds) / len(seconds), 0.0, len(timed), nodes)
        if len(set(steps)) == 1:
            start, a_step = 0.0, sum(seconds) / sum(steps)
        else:
            (start, a_step), _ = nnls([[1.0, made] for made in steps], seconds)
        return cls(float(start), float(a_step) * sum(steps) / sum(sizes), len(timed), nodes)

    def seconds(self, size: float) -> float:
        """Return the seconds of one training on so many pairs."""
        return self.start + self.a_pair * size


@dataclass(frozen=True)
class Costs:
    """What is known of the price of pairs; `usd_per_hour` is that of one machine that trains."""

    pace: Pace = Pace()
    teacher: TeacherCost | None = None
    training: TrainingTime | None = None
    usd_per_hour: float | None = None

    def with_training(self, points: Sequence[PointStatus]) -> Costs:
        """Return the same with the time that these points took to train."""
        return replace(self, training=TrainingTime.of(points))

    def hours(self, pairs: float) -> float:
        """Return the hours that so many pairs take to write."""
        return pairs * self.pace.minutes / 60

    def of(self, pairs: float, gain: float | None, size: float) -> dict[str, Any]:
        """Return what so many pairs cost on top of `size` and what an hour of writing them brings, as plain JSON; None: nobody knows."""
        hours = self.hours(pairs)
        return {
            "pairs": pairs,
            "minutes_a_pair": self.pace.minutes,
            "minutes_from": self.pace.source,
            "rows_reviewed": self.pace.rows,
            "hours": hours,
            "gain_an_hour": gain / hours if hours and gain is not None else None,
            "teacher": None if self.teacher is None else self._of_teacher(self.teacher, pairs),
            "training": None if self.training is None else self._of_training(self.training, size + pairs),
        }

    def _of_teacher(self, teacher: TeacherCost, pairs: float) -> dict[str, Any]:
        a_pair = {"usd_a_pair": teacher.usd, "seconds_a_pair": teacher.seconds}
        return {"model": teacher.model, "asked": teacher.asked, **a_pair, "usd": pairs * teacher.usd, "seconds": pairs * teacher.seconds}

    def _of_training(self, training: TrainingTime, size: float) -> dict[str, Any]:
        seconds = training.seconds(size)
        usd = price(seconds, self.usd_per_hour, training.nodes)
        return {"size": size, "seconds": seconds, "usd": usd, "measured": training.points}


def price(seconds: float, usd_per_hour: float | None, nodes: int) -> float | None:
    """Return what so many seconds on so many machines cost; None where nobody says what an hour of one does."""
    return None if usd_per_hour is None else seconds / 3600 * usd_per_hour * nodes


def pace(given: float | None, dataset: str | None = None) -> Pace:
    """Return how long a pair takes: as somebody says, or as reviews of this dataset measured, or by default.

    Args:
        given: minutes; None: nobody said.
        dataset: whose reviews count, with those of the dataset that it was reviewed from; None: no reviews.
    """
    if given is not None:
        return Pace(given, "given")
    rows, seconds = _reviewed(dataset) if dataset is not None else (0, None)
    if seconds is None or rows < FEWEST_REVIEWED:
        return Pace()
    return Pace(seconds / 60, "review", rows)


def known(given: float | None, dataset: str | None, usd_per_hour: float | None) -> Costs:
    """Return what is known of the price of a dataset's pairs; `given`: minutes a pair, as in `pace`."""
    return Costs(pace(given, dataset), _teacher(dataset) if dataset is not None else None, None, usd_per_hour)


def _reviewed(name: str) -> tuple[int, float | None]:
    from workers import database
    from workers.catalog import datasets
    from workers.review import queries

    with database.session() as session:
        found = datasets.find(session, name)
        if found is None:
            return 0, None
        source = datasets.find(session, found.recipe.get("reviewed", {}).get("dataset", ""))
        return queries.pace(session, [found.id, *([source.id] if source is not None else [])])


def _teacher(name: str) -> TeacherCost | None:
    from workers import database
    from workers.catalog import datasets, teacher_costs

    with database.session() as session:
        found = datasets.find(session, name)
        return teacher_costs.of_dataset(session, found) if found is not None else None
