"""Recognises dumps of Mastodon and its kin: statuses of the API, and outboxes in ActivityStreams. Their texts are HTML."""

from __future__ import annotations

from producers.sources.lines import Fields, Notice, RefusalError
from workers.text.html import to_text

_POSTS = ("Note", "Question", "Article", "Page")
_ACTIVITIES = {"Announce": "boost", "Delete": "deletion", "Update": "update"}


def recognised(row: Fields) -> Fields | Notice | RefusalError | None:
    """Return a post, its text made plain, the name of what is no post, or None for what is not of these networks."""
    if isinstance(row.get("account"), dict) and isinstance(row.get("content"), str):
        return Notice("boost") if isinstance(row.get("reblog"), dict) else {**row, "content": to_text(str(row["content"])).strip()}
    kind = row.get("type")
    if kind in _POSTS and isinstance(row.get("content"), str):
        return _of_note(row, row.get("actor"))
    if not isinstance(kind, str) or "object" not in row or not ("actor" in row or "published" in row):
        return None
    if kind != "Create":
        return Notice(_ACTIVITIES.get(kind, f"{kind} activity" if kind.isalpha() and len(kind) < 30 else "other activity"))
    note = row["object"]
    if not isinstance(note, dict):
        return RefusalError("object", "the outbox names the post and does not hold it")
    return _of_note({"published": row.get("published"), **note}, row.get("actor"))


def _of_note(note: Fields, actor: object) -> Fields:
    languages, content = note.get("contentMap"), note.get("content")
    return {
        "id": note.get("id"),
        "text": to_text(content).strip() if isinstance(content, str) else None,
        "author": note.get("attributedTo") or actor,
        "lang": next(iter(languages)) if isinstance(languages, dict) and len(languages) == 1 else None,
        "created_at": note.get("published"),
        "conversation": note.get("conversation") or note.get("inReplyTo"),
    }
