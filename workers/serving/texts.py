"""Reads the body of a request, and makes sure that a tweet in it can be shown to a model."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import ClientDisconnect, Request

from workers.ingest.readers.errors import RowError
from workers.ingest.readers.text import check_characters
from workers.serving.refusals import Refused, unfit

BODY_SECONDS = 15.0
"""Time in which the body of a request must have come."""


async def read_object(request: Request, most: int) -> dict[str, Any]:
    """Return the JSON object of a request of up to `most` bytes.

    Raises:
        Refused: it is larger, too slow, or no JSON object.
    """
    body = await _read(request, most)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise unfit("the body is not valid JSON in UTF-8", code="invalid_json") from None
    if not isinstance(found, dict):
        raise unfit("the body is no JSON object", code="invalid_json")
    return found


async def _read(request: Request, most: int) -> bytes:
    too_large = Refused(413, f"the body is larger than {most} bytes: send fewer tweets at a time", "body_too_large")
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > most:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise too_large
    except TimeoutError:
        raise Refused(408, f"the body did not come within {BODY_SECONDS:g} seconds", "body_too_slow") from None
    except ClientDisconnect:
        raise Refused(400, "the client left", "client_left") from None
    return bytes(body)


def check_tweet(tweet: object, most: int, param: str) -> str:
    """Return a tweet that a model can be shown.

    Raises:
        Refused: it is no text, too long, or holds characters that are none.
    """
    if not isinstance(tweet, str):
        raise unfit(f"{param} is no text", param, "invalid_type")
    if len(tweet) > most:
        message = f"{param} has {len(tweet)} characters, and a tweet may have {most}: send the tweet alone"
        raise unfit(message, param, "context_length_exceeded")
    try:
        check_characters(param, tweet)
    except RowError as error:
        raise unfit(str(error), param, "invalid_text") from None
    return tweet
