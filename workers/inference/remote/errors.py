"""Turns what a chat server says into errors that say what is wrong and what to change, with the server's own words at the end."""

from __future__ import annotations

from workers.errors import UserError
from workers.inference.engine import EngineError
from workers.inference.remote.error_reading import Complaint


class PromptError(Exception):
    """This prompt alone can't be answered, and asking again does not help.

    Attributes:
        status: the server's, 0 without one.
        about_prompt: it says so itself, so that it is not the server's own fault.
    """

    def __init__(self, message: str, status: int = 0, *, about_prompt: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.about_prompt = about_prompt


class Refusal(EngineError, UserError):
    """The server refuses all requests: somebody must change the key, the model, the address or the account first."""


class NoSuchModel(Refusal):
    """The server has no model of this name, or no chat at this address."""


class AccountEmpty(Refusal):
    """The account at the server has no money or no allowance left."""


def refused(found: Complaint, model: str, tried: str) -> Exception:
    """Return the error for a complaint that does not pass by itself.

    Args:
        found: what the server said.
        model: that was asked for.
        tried: where the request went, for people.
    """
    status, quoted = found.status, found.quoted
    if found.is_account:
        return AccountEmpty(
            f"the account at the server is used up ({status}): {quoted}. Top it up or raise its limit; what was answered is kept"
        )
    if found.is_filter and status != 401:
        return PromptError(f"the server's filter of contents refuses this prompt ({status}): {quoted}", status, about_prompt=True)
    if status == 407 or (status == 403 and found.page):
        return Refusal(f"the server or a proxy before it refuses requests ({status}; {tried}): {quoted}. Check the key and the proxy")
    if status == 401:
        return Refusal(f"the server refuses the key (401): set OPENAI_API_KEY to one that may use {model!r}; {quoted}")
    if status != 403 and found.is_door:
        return Refusal(f"the server lets this key do nothing ({status}): {quoted}. Set OPENAI_API_KEY to one that may use {model!r}")
    if status == 403:
        return Refusal(f"the key may not use {model!r} here (403): set OPENAI_API_KEY to one that may, or name another model; {quoted}")
    if found.is_model:
        return NoSuchModel(
            f"the server has no model {model!r} or no chat completions here ({status}; {tried}): {quoted}. Check the address, which ends"
            " in its API version such as /v1, and serve an adapter under its name (vLLM: --enable-lora --lora-modules NAME=FOLDER)"
        )
    if 300 <= status < 400:
        return Refusal(f"the server answers {status} and does not say where to go ({tried}): check the address")
    if found.is_too_long:
        return PromptError(f"the prompt is longer than the model's context ({status}): {quoted}", status, about_prompt=True)
    return PromptError(f"the server refuses this prompt ({status}): {quoted}", status)
