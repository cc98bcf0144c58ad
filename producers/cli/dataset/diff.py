"""The verb that says how two datasets differ: dataset diff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.render.output import AsJson, brief, emit, styled

if TYPE_CHECKING:
    from rich.console import RenderableType

_SHOWN = 3
_KINDS = {"only_a": "only in {a}", "only_b": "only in {b}", "changed": "another target", "moved": "another split"}


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A dataset's name.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another's.")],
    shown: Annotated[int, typer.Option("--examples", "-n", min=0, max=1000, help="Examples of each kind to show.")] = _SHOWN,
    as_json: AsJson = False,
) -> None:
    """Say how two datasets differ: in their recipes, their counts by split and origin, and their examples.

    An example is a tweet with its target, whoever brought it.
    """
    from workers import database
    from workers.catalog import datasets
    from workers.catalog.examples import dataset_diff

    with database.session() as session:
        one, other = datasets.resolve(session, a), datasets.resolve(session, b)
        seen: dict[str, Any] = {"a": a, "b": b, "same": one.fingerprint == other.fingerprint}
        seen["fingerprints"] = {"a": one.fingerprint, "b": other.fingerprint}
        seen["recipe"] = dataset_diff.recipe_differences(one.recipe, other.recipe)
        seen["counts"] = _side_by_side(datasets.counts(session, one.id), datasets.counts(session, other.id))
        seen |= dataset_diff.example_differences(session, one.id, other.id, shown)
    emit(seen, as_json, _page)


def _side_by_side(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> list[dict[str, Any]]:
    of_a, of_b = ({(row["split"], row["origin"]): row["examples"] for row in rows} for rows in (left, right))
    kinds = sorted(of_a.keys() | of_b.keys(), key=lambda kind: (kind[0] != "train", kind[1]))
    return [
        {"split": split, "origin": origin, "a": of_a.get((split, origin), 0), "b": of_b.get((split, origin), 0)} for split, origin in kinds
    ]


def _page(seen: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    facts = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    facts.add_column("", no_wrap=True)
    for name in (seen["a"], seen["b"]):
        facts.add_column(styled(name), overflow="fold")
    facts.add_row("fingerprint", seen["fingerprints"]["a"][:12], seen["fingerprints"]["b"][:12])
    for row in seen["recipe"]:
        facts.add_row(f"recipe {row['key']}", *(styled("none" if row[side] is None else brief(row[side]) or "none") for side in ("a", "b")))
    for row in seen["counts"]:
        facts.add_row(f"{row['split']} {row['origin']}", f"{row['a']:,}", f"{row['b']:,}")
    parts: list[RenderableType] = [facts]
    for kind, title in _KINDS.items():
        parts += _examples(title.format(**seen), seen[kind])
    if seen["same"]:
        parts.append(styled("The same examples in the same splits.", style="bold"))
    return Group(*parts)


def _example(row: dict[str, Any]) -> tuple[str, dict[str, str]]:
    key = next(str(row[column])[:8] for column in row if column.startswith("key"))
    return key, {column: str(value) for column, value in row.items() if not column.startswith("key")}


def _examples(title: str, found: dict[str, Any]) -> list[RenderableType]:
    from producers.render.examples import blocks

    if not found["count"]:
        return []
    parts: list[RenderableType] = [styled(f"\n{title}: {found['count']:,}", style="bold")]
    parts.append(blocks(map(_example, found["examples"])))
    return parts
