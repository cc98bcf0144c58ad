"""The verb that shows where an example came from: why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.render.output import DATA, AsJson, emit, example, json_text, styled

if TYPE_CHECKING:
    from rich.console import RenderableType

_FACTS = {
    "seed": "seed",
    "copy": "copy",
    "teacher": "teacher",
    "prompt_sha256": "prompt's sha256",
    "scores": "scores",
    "reviewer": "reviewer",
    "licence": "licence",
}
_SHOWN = {"review", "source", "kind", "operations", "tweet_id", "file", "file_sha256", "place", "form", "human", *_FACTS}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel=DATA, epilog=example("tweetmill why 3f2a9c", "tweetmill why 3f2a9c --json | jq .operations"))(why)


def why(
    reference: Annotated[str, typer.Argument(metavar="EXAMPLE", help="An example's key, or the beginning of it.")],
    as_json: AsJson = False,
) -> None:
    """Show where an example came from: its source, what was done to it with which seed, who wrote and checked it, and its licence.

    `tweetmill dataset show` and `tweetmill dataset diff --json` name examples by their keys.
    """
    from workers import database
    from workers.catalog.examples import lineage

    with database.session() as session:
        seen = lineage.why(session, reference)
    emit(seen, as_json, _page)


def _page(seen: dict[str, Any]) -> RenderableType:
    from rich.table import Table

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column()
    rows = {
        "example": seen["example"],
        "in": ", ".join(f"{each['name']} ({each['split']}, cluster {each['cluster']})" for each in seen["datasets"]),
    }
    rows |= {"stage": seen["stage"], "tweet": seen["prompt"], "target": seen["target"], "source": _source(seen["source"])}
    if seen["origin"] == "noise":
        rows["operations"] = "\n".join(map(_operation, seen["operations"] or [])) or "none: it came out as it went in"
    rows |= {title: _plain(seen[name]) for name, title in _FACTS.items() if seen[name] is not None or name in ("reviewer", "licence")}
    if seen["review"]:
        rows["review"] = _review(seen["review"])
    rows |= {name: _plain(value) for name, value in seen["lineage"].items() if name not in _SHOWN}
    for name, value in rows.items():
        facts.add_row(name, styled(value))
    return facts


def _source(source: dict[str, Any]) -> str:
    lines = [str(source["kind"])]
    if source.get("file"):
        lines.append(f"{source['place']} of {source['file']}, form {source['form']}, sha256 {source['file_sha256']}…")
        lines.append("a person wrote the answer" if source["human"] else "nobody said that a person wrote the answer")
    if source.get("tweet"):
        lines.append(
            f"tweet {source['tweet']} of {source['tweet_source']}" + (f" by {source['tweet_author']}" * bool(source["tweet_author"]))
        )
    if source.get("pair"):
        lines.append(f"curated pair {source['pair'][:8]}")
    if source.get("text_sha256"):
        lines.append(f"text's sha256 {source['text_sha256'][:12]}…")
    return "\n".join(lines)


def _review(verdict: dict[str, Any]) -> str:
    """`edited on 2026-11-02; before: …`, or what it will become where the review is not applied yet."""
    rule = verdict.get("rule")
    parts = [
        f"{verdict['verdict']} on {str(verdict['at'])[:10]}"
        + (f" by a rule: replace {rule['replace']} by {rule['by'] or 'nothing'}" if rule else "")
    ]
    parts += [f"{title}: {verdict[name]}" for name, title in (("before", "before"), ("edited", "to become")) if verdict.get(name)]
    return "\n".join(parts)


def _operation(operation: Any) -> str:
    """`swap at word 3`, and whatever else is noted of it."""
    if not isinstance(operation, dict):
        return str(operation)
    at = operation.get("at")
    more = [f"{key} {_plain(value)}" for key, value in operation.items() if key not in ("kind", "at") and value is not None]
    return ", ".join([str(operation.get("kind", "operation")) + (f" at word {at}" if at is not None else ""), *more])


def _plain(value: Any) -> str:
    if value is None:
        return "none noted"
    return value if isinstance(value, str) else json_text(value)
