"""A learning curve as people read it: its points beside the baselines, what more pairs would bring, and the verdict in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from producers.render.output import line, styled
from producers.render.quantities import duration

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType
    from rich.table import Table

_NOTHING = 1e-9  # gains below it come of rounding in a fit
_PACE_FROM = {"given": "as you say", "assumed": "a guess"}
_SAID = {"continue": "Continue: more pairs are worth it", "stop": "Stop: more pairs are not worth it"}

_OF_SCORES = (
    "One seed a size: each point is taken to be as uncertain as its own score. Points of the same rows differ less by chance, so these "
    "intervals are cautious; more seeds tell them closer."
)


def fitted_page(answer: Mapping[str, Any]) -> RenderableType:
    """Return what was fitted to points: them, what is foretold, and the verdict."""
    from rich.console import Group

    return Group(points_table(answer), "", *verdict_words(answer))


def points_table(answer: Mapping[str, Any]) -> Table:
    """Return the means by size, and below them what is foretold with its interval; the dots beside them are the curve, on its side."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("pairs", "value", "95% interval", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    rows = [*answer["points"], *answer["predictions"]]
    ends = [each[end] for each in rows for end in ("value", "low", "high") if each[end] is not None]
    low, high = min(ends), max(ends)
    for point in answer["points"]:
        first, last = (point["value"] if point[end] is None else point[end] for end in ("low", "high"))
        interval = "" if point["low"] is None else f"{first:.4g} to {last:.4g}"
        table.add_row(
            f"{point['size']:g}", f"{point['value']:.4g}", interval, str(point["n"]), dot_line(point["value"], first, last, low, high)
        )
    for each in answer["predictions"]:
        drawn = dot_line(each["value"], each["low"], each["high"], low, high)
        table.add_row(f"{each['size']:g}", f"{each['value']:.4g}", f"{each['low']:.4g} to {each['high']:.4g}", "foretold", drawn)
    return table


def dot_line(value: float, low: float, high: float, left: float, right: float, width: int = 22) -> str:
    """Return `├──●──┤` on a scale from `left` to `right` that is `width` characters wide; a dot alone where the interval has no width."""

    def place(number: float) -> int:
        return round((number - left) / (right - left) * (width - 1)) if right > left else 0

    first, dot, last = place(low), place(value), place(high)
    cells = [" "] * first + ["─"] * (last - first + 1)
    cells[first], cells[last] = "├", "┤"
    cells[dot] = "●"
    return "".join(cells)


def verdict_words(answer: Mapping[str, Any]) -> Sequence[str]:
    """Return the verdict in sentences: whether training pays, what to do, what more pairs bring and cost, what is not to be relied on."""
    from workers.curves.extrapolation import FEWEST_SIZES

    lines = [baseline_words(answer["against"][0])] if answer.get("against") else []
    lines.append(_headline(answer))
    if answer["verdict"] == "unsure":
        lines.append(_what_tells(answer["label"], answer["sizes"]))
    gain, another = answer["gain"], answer["another"]
    if len(answer["points"]) >= FEWEST_SIZES:  # of fewer nothing is foretold
        lines.append(f"Twice the pairs would bring {_gain(gain)}; {answer['worth']:.3g} counts.")
        lines += _cost_words(answer["cost"])
        lines.append(f"Another {another['pairs']} pairs would bring {_gain(another)}{_not_relied_on(another['refused'], answer)}.")
    return [*lines, *_cost_words(another["cost"]), *_refusals(answer)]


def _headline(answer: Mapping[str, Any]) -> str:
    """Say what to do. What more pairs bring is one question; whether the models are worth using is another, where they are proven worse."""
    verdict = _SAID.get(answer["verdict"], f"Unsure: {answer['reason']}")
    better = better_without(answer)
    if better is None:
        return f"{verdict}."
    if answer["verdict"] == "continue":
        verdict = "More pairs still bring something"
    but = "and" if answer["verdict"] == "stop" else "but"
    told = f"{verdict}, {but} at {answer['points'][-1]['size']:,.0f} pairs the model is worse than {line(better['baseline'])}: use that"
    return f"{told}." if answer["verdict"] == "stop" else f"{told}{_unless(answer, better)}"


def _unless(answer: Mapping[str, Any], better: Mapping[str, Any]) -> str:
    """Return how the advice to use a system without training ends: by whether more pairs are foretold to pass it."""
    found = outlook(answer, better)
    if found.by is None:
        return ". Nothing that can be relied on says whether more pairs would pass it."
    foretold = f"{found.by['low']:.1f} to {found.by['high']:.1f} foretold at {found.by['size']:,.0f}, where it has {better['score']:.1f}"
    if found.answer == "passes":
        return f", unless you go on to the pairs that are foretold to pass it ({foretold})."
    if found.answer == "below":
        return f". More pairs are not foretold to reach it ({foretold})."
    return f", unless more pairs pass it, which is open ({foretold})."


def _what_tells(label: int | None, sizes: Sequence[float] | None) -> str:
    """Say what would end the doubt: other sizes where there are too few, more pairs, or neither."""
    if sizes:
        told = f"--sizes {sizes_told(sizes)}"
        return f"Label {label} more to know, and give {told}." if label else f"Smaller subsets of the same pairs tell: give {told}."
    return f"Label {label} more to know." if label else "More pairs alone would hardly tell: use more seeds or test rows."


def sizes_told(sizes: Sequence[float]) -> str:
    """Return sizes as `--sizes` reads them."""
    return ",".join(f"{size:.15g}" for size in sizes)


def _refusals(answer: Mapping[str, Any]) -> list[str]:
    """Return which sizes are not to be relied on, those of one reason together; the verdict's own reason is not said twice."""
    sizes: dict[str, list[str]] = {}
    for each in answer["predictions"]:
        if each["refused"]:
            sizes.setdefault(each["refused"], []).append(f"{each['size']:g}")
    return [f"{' and '.join(those)} pairs{_not_relied_on(why, answer)}." for why, those in sizes.items()]


def _not_relied_on(why: str | None, answer: Mapping[str, Any]) -> str:
    """Return what follows a forecast that is refused, for what reason unless the verdict gave the same; nothing where it is not."""
    if why is None:
        return ""
    return ": not to be relied on" + ("" if why == answer["reason"] else f", {why}")


def better_without(answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the best system without training that the largest size's models are proven worse than, as `against` has it; None: none is."""
    return next((each for each in answer.get("against") or () if each["answer"] == "worse"), None)


@dataclass(frozen=True)
class Outlook:
    """Whether more pairs are foretold to pass a system without training, and by what is foretold of how many.

    Attributes:
        answer: `passes` where a whole interval lies above it, `below` where that of most pairs lies below it, `open` where neither does,
            `unknown` where nothing is foretold that can be relied on.
        by: the prediction that tells, as plain JSON; None where none does.
    """

    answer: Literal["passes", "below", "open", "unknown"]
    by: Mapping[str, Any] | None = None


def outlook(answer: Mapping[str, Any], better: Mapping[str, Any]) -> Outlook:
    """Return whether what is foretold of a series passes the system `better`, which `better_without` returned of it."""
    largest = answer["points"][-1]["size"]
    ahead = [each for each in answer["predictions"] if each["size"] > largest and not each["refused"]]
    if not ahead:
        return Outlook("unknown")
    above = next((each for each in ahead if each["low"] > better["score"]), None)
    if above is not None:
        return Outlook("passes", above)
    return Outlook("below" if ahead[-1]["high"] < better["score"] else "open", ahead[-1])


def baseline_words(held: Mapping[str, Any]) -> str:
    """Say whether the models of the largest size are above the best of what needs no training."""
    how = "paired on" if held["paired"] else "not paired, on"
    of = f"({held['low']:+.1f} to {held['high']:+.1f}, {how} {held['n']:,} rows)"
    name = line(held["baseline"])
    if held["answer"] == "better":
        return f"Training pays: the largest size is above {name}, the best without training, by {held['difference']:.1f} {of}."
    if held["answer"] == "worse":
        return f"Training does not pay: {name}, without training, is better than the largest size by {-held['difference']:.1f} {of}."
    return f"Not shown that training pays: {name}, without training, may be as good. The largest size: {held['difference']:+.1f} {of}."


def _signed(value: float) -> str:
    """Return a gain with its sign; what only rounding tells from nothing is nothing."""
    return f"{0.0 if abs(value) < _NOTHING else value:+.3g}"


def _gain(gain: Mapping[str, Any]) -> str:
    return f"{_signed(gain['value'])} ({_signed(gain['low'])} to {_signed(gain['high'])})"


def _cost_words(cost: Mapping[str, Any]) -> list[str]:
    """Return what pairs cost, a sentence for each way to pay: your time, a teacher, a training on all of them."""
    source = _PACE_FROM.get(cost["minutes_from"], f"by {cost['rows_reviewed']:,} rows reviewed")
    gain = f", {_signed(cost['gain_an_hour'])} an hour" if cost["gain_an_hour"] is not None else ""
    each = f"{cost['minutes_a_pair']:.2g} min each, {source}"
    lines = [f"{cost['pairs']:,.0f} pairs are {duration(cost['hours'] * 3600)} of your time ({each}){gain}."]
    if teacher := cost["teacher"]:
        price = f"{teacher['usd']:.2f} USD" if teacher["usd"] else duration(teacher["seconds"])
        lines.append(f"Of {line(teacher['model'])}, {price} (by {teacher['asked']:,} answers of this dataset).")
    if training := cost["training"]:
        usd = "" if training["usd"] is None else f", {training['usd']:.2f} USD"
        timed = "1 that was" if training["measured"] == 1 else f"{training['measured']} that were"
        lines.append(f"A training on all {training['size']:,.0f}: {duration(training['seconds'])}{usd} (by {timed} timed here).")
    return lines


def progress_words(name: str, answer: Mapping[str, Any], detail: str) -> str:
    """Say how many points have a score, and how to get the others where nobody has asked for theirs."""
    if answer["done"] == answer["points"]:
        return f"All {answer['points']} points."
    told = f"{answer['done']} of {answer['points']} points: {detail}"
    if answer["not_asked"]:
        told += f". Nobody has asked for {answer['not_asked']} scores: `tweetmill curve show {line(name)} --wait` does"
    return told


def drawn_page(answer: Mapping[str, Any]) -> RenderableType:
    """Return a curve that was drawn over the queue: a part for each method and origin, after the baselines on the same rows."""
    from rich.console import Group

    parts: list[RenderableType] = []
    if answer["baselines"]:
        parts.append(styled(_without_training(answer["baselines"], answer["n"]), style="dim"))
    for name, series in answer["series"].items():
        parts += [styled(line(name), style="bold"), points_table(series), "", *verdict_words(series), ""]
    if answer["failed"]:
        parts.append(styled(f"{answer['failed']} points have no score: `tweetmill jobs --state failed` lists their jobs.", style="yellow"))
    if answer["left_out"]:
        left_out = f"{answer['left_out']} points of another base, dataset or version of the prompts are left out."
        parts.append(styled(left_out, style="yellow"))
    if answer["other_recipes"]:
        parts.append(styled(other_recipes_words(answer["other_recipes"]), style="yellow"))
    parts.append(styled(answer["budget_words"], style="dim"))
    if any(series["errors_from"] == "points" for series in answer["series"].values()):
        parts.append(styled(_OF_SCORES, style="dim"))
    return Group(*parts)


def other_recipes_words(count: int) -> str:
    """Say how many points that bear the curve's name are not shown with it, since their recipe was another one."""
    told = "1 point of another recipe is" if count == 1 else f"{count} points of other recipes are"
    return f"{told} left out: only the newest recipe of this name is shown."


def _without_training(baselines: Mapping[str, Any], rows: int) -> str:
    """Return what each system without training scored, the best first."""
    best_first = sorted(baselines.items(), key=lambda each: -each[1]["value"])
    scores = [f"{line(name)} {each['value']:.1f} ({each['low']:.1f} to {each['high']:.1f})" for name, each in best_first]
    return f"SARI on {rows:,} held-back rows. Without training: {', '.join(scores)}."


def plan_table(plan: Mapping[str, Any]) -> RenderableType:
    """Return what a curve will take, before it starts."""
    from rich.console import Group
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("pairs", "points", "steps each", "examples seen"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in plan["sizes"]:
        table.add_row(f"{row['size']:,}", str(row["points"]), row["steps"], f"{row['examples']:,}")
    return Group(table, "", plan["words"])


def save_plot(series: Mapping[str, Mapping[str, Any]], metric: str, title: str, path: Path) -> None:
    """Draw curves as an image: what was measured, and what is foretold with its interval.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the ending names no form of image.
    """
    from producers.render.plots import save_curves

    measured = {name: [(point["size"], point["value"]) for point in answer["points"]] for name, answer in series.items()}
    foretold = {
        name: [(each["size"], each["value"], each["low"], each["high"]) for each in answer["predictions"]]
        for name, answer in series.items()
    }
    save_curves(measured, foretold, metric, title, path)
