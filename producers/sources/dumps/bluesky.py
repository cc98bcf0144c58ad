"""Recognises dumps of Bluesky: feeds, searches, an account's records, and Jetstream's lines."""

from __future__ import annotations

from producers.sources.lines import Fields, Notice

POST = "app.bsky.feed.post"


def recognised(row: Fields) -> Fields | Notice | None:
    """Return a post with its address and author beside its text, the name of what is no post, or None for what is not Bluesky's."""
    if isinstance(row.get("did"), str) and row.get("kind") in ("commit", "identity", "account"):
        return _of_jetstream(row)
    if isinstance(row.get("reason"), dict) and isinstance(row.get("post"), dict):
        return Notice("pinned post" if "Pin" in str(row["reason"].get("$type")) else "repost")  # type: ignore[attr-defined]
    record = row.get("record") or row.get("value")
    if not isinstance(record, dict) or not isinstance(row.get("uri"), str):
        return None
    if record.get("$type", POST) != POST:
        return Notice("record that is no post")
    return {**record, "id": row["uri"], "author": row.get("author") or _account_of(str(row["uri"]))}


def _of_jetstream(row: Fields) -> Fields | Notice:
    commit = row.get("commit")
    if not isinstance(commit, dict):
        return Notice(f"{row['kind']} event")
    if commit.get("collection") != POST:
        return Notice("record that is no post")
    record = commit.get("record")
    if commit.get("operation") != "create" or not isinstance(record, dict):
        return Notice("deletion" if commit.get("operation") == "delete" else "update")
    return {**record, "id": f"at://{row['did']}/{POST}/{commit.get('rkey')}", "author": row["did"]}


def _account_of(address: str) -> str | None:
    return address.split("/")[2] if address.startswith("at://") and address.count("/") > 2 else None
