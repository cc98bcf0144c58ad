"""Defines what a request is refused with: a status, and an error in the form of OpenAI's API."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class Refused(Exception):
    """A request that gets no answer.

    Args:
        status: of HTTP.
        message: what is wrong, and what to do; never a word of a tweet.
        code: for programs.
        param: the parameter that is wrong.
        retry_after: seconds after which another try is worth it.
    """

    def __init__(self, status: int, message: str, code: str, param: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after = retry_after

    def response(self) -> JSONResponse:
        """Return the response."""
        headers: dict[str, str] = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body(), self.status, headers)

    def body(self) -> Mapping[str, Any]:
        """Return the error as OpenAI's clients read it."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def unfit(message: str, param: str | None = None, code: str = "invalid_value") -> Refused:
    """Return the refusal of a request that can never be answered as it is."""
    return Refused(400, message, code, param)
