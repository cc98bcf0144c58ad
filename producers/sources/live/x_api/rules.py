"""Brings the rules of X's filtered stream in line with those that are wanted.

https://docs.x.com/x-api/posts/filtered-stream/integrate/build-a-rule. Rules belong to the app of the token: each stream of it gets what any
of them matches, and each post is paid for. So a rule that somebody else made is never removed, and not read along either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import httpx

from producers.sources.live import http_streams
from producers.sources.live.http_streams import StatusError, TooLongError
from workers.ingest.readers.errors import SourceError
from workers.showable import showable

TAG = "tweetmill"
"""Of the rules that are made here: these alone are removed."""

PATH = "/2/tweets/search/stream/rules"
_LONGEST_DETAIL = 300


@dataclass(frozen=True)
class Rule:
    """A rule that is in force."""

    identity: str
    value: str
    tag: str | None


async def agree(client: httpx.AsyncClient, wanted: Sequence[str]) -> None:
    """Add the rules that are missing and remove those of `TAG` that are not wanted any more. Without any wanted, leave them as they are.

    Raises:
        SourceError: there are none, others would be read along, or one is refused.
        StatusError: the API refuses a request.
    """
    there = await _in_force(client)
    if not wanted:
        if not there:
            raise SourceError("the app of X_BEARER_TOKEN has no rules, so X would send nothing: give at least one --rule")
        return
    surplus = [rule for rule in there if rule.value not in wanted]
    others = sum(rule.tag != TAG for rule in surplus)
    if others:
        raise SourceError(
            f"the app of X_BEARER_TOKEN has {others} other rule{'s' * (others > 1)}, whose posts would be sent and paid for here too: "
            "give each of them as --rule, remove them, or take the token of another app"
        )
    values = {rule.value for rule in there}
    missing = [value for value in dict.fromkeys(wanted) if value not in values]
    if missing:
        await _change(client, {"add": [{"value": value, "tag": TAG} for value in missing]}, missing)
    if surplus:
        await _change(client, {"delete": {"ids": [rule.identity for rule in surplus]}}, ())


async def _in_force(client: httpx.AsyncClient) -> list[Rule]:
    async with client.stream("GET", PATH) as response:
        answer = await _answer(response)
    listed = answer.get("data")
    found = [each for each in (listed if isinstance(listed, list) else []) if isinstance(each, dict)]
    return [Rule(str(each.get("id")), str(each.get("value")), each.get("tag")) for each in found]


async def _change(client: httpx.AsyncClient, change: Mapping[str, object], added: Sequence[str]) -> None:
    async with client.stream("POST", PATH, json=change) as response:
        answer = await _answer(response)
    errors = answer.get("errors")
    for error in errors if isinstance(errors, list) else ():
        if isinstance(error, dict) and error.get("title") != "DuplicateRule":
            _refuse(error, added)


async def _answer(response: httpx.Response) -> Mapping[str, object]:
    if response.status_code not in (httpx.codes.OK, httpx.codes.CREATED):
        raise StatusError(response.status_code)
    try:
        answer = await http_streams.document(response)
    except (ValueError, TooLongError):
        answer = None
    if not isinstance(answer, dict):
        raise SourceError("X answers about its rules in a way that is not known: check the address")
    return answer


def _refuse(error: Mapping[str, object], added: Sequence[str]) -> NoReturn:
    value, details = error.get("value"), error.get("details")
    which = f"--rule number {added.index(value) + 1} of those to add" if value in added else "a change of its rules"
    told = details[0] if isinstance(details, list) and details else error.get("detail") or error.get("title") or "it gives no reason"
    raise SourceError(f"X refuses {which}: {showable(str(told)[:_LONGEST_DETAIL], one_line=True)}")
