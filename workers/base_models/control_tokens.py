"""Finds the strings that are control tokens to a model, and breaks them up in texts that quote them.

Control is what the tokenizer calls special, what it added in the shape of a mark (`<think>`, `[INST]`, `<|tool|>`), and what the chat
template writes around a message, whether or not that is one token. A word that somebody added to a vocabulary (`lol`) is a word.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SHAPE = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]|\{[^{}\s]+\}|<<\S+>>|\S*[|｜]\S*")
_MARK = re.compile(r"<[|｜]?/?[A-Za-z][^<>\s|｜]*[|｜]?>|<<\S+?>>|\[/?[A-Z][A-Z_]+\]|#{2,} ?[A-Z][A-Za-z ]*:")
_HEADER = re.compile(r"(?<![^\s>\]])([A-Za-z]+:)\s*$")
_OPENERS = re.compile(r"([<\[{|｜#])(?=\S)")
_ROUNDS = 8


class ControlTokens:
    """The control strings of one tokenizer and its template.

    Args:
        tokenizer: a Hugging Face tokenizer.
        template: the source of its chat template.
        scaffold: what the template writes around messages, one string for each place between two of them.
        end_text: the text that closes an answer, where no token does.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str, scaffold: Collection[str], end_text: str = "") -> None:
        tokens = _control_tokens(tokenizer)
        self.ids = frozenset(tokens.values())
        # What a tokenizer without bytes gives for an unknown letter tells of no mark in a text.
        self._telling = self.ids - {tokenizer.unk_token_id}
        strings = {*tokens, *_marks(template), *(mark for text in scaffold for mark in _MARK.findall(text))}
        strings |= {header[1] for text in scaffold if (header := _HEADER.search(text))}
        strings |= {end_text.strip()} if len(end_text.strip()) > 1 else set()
        self._tokens = _any_of(tokens)
        self._pattern = _any_of(strings)

    def neutralise(self, text: str) -> str:
        """Return `text` with a space inside each control string, so that a tweet which quotes `<|im_end|>` ends nothing."""
        for _ in range(_ROUNDS):  # once, but for one quoted inside another
            broken = self._pattern.sub(lambda match: f"{match.group()[0]} {match.group()[1:]}", text)
            if broken == text:
                break
            text = broken
        return text

    def count(self, ids: Iterable[int]) -> int:
        """Return how many of these tokens are control tokens."""
        return sum(number in self._telling for number in ids)

    def first_end(self, text: str) -> int | None:
        """Return where the first control token in `text` ends, or None."""
        found = self._tokens.search(text)
        return found.end() if found else None


def break_openers(text: str) -> str:
    """Return `text` with a space after each character that may begin a mark: for tokenizers that see one where no string tells of it."""
    return _OPENERS.sub(r"\1 ", text)


def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    added = {token.content: (number, token.special) for number, token in tokenizer.added_tokens_decoder.items()}
    special = {token for token in tokenizer.all_special_tokens if token not in added}
    numbers = {token: number for token, (number, flagged) in added.items() if flagged or _SHAPE.fullmatch(token)}
    numbers |= {token: int(tokenizer.convert_tokens_to_ids(token)) for token in special}
    # A lone character can't be broken up, and white space is no mark: some tokenizers add runs of it.
    return {token: number for token, number in numbers.items() if len(token) > 1 and token.strip()}


def _marks(template: str) -> set[str]:
    """The marks in the text and the string literals of a template; its code has brackets of its own."""
    from jinja2 import Environment, TemplateSyntaxError

    try:
        written = [value for _, kind, value in Environment(autoescape=True).lex(template) if kind in ("data", "string")]
    except TemplateSyntaxError:
        return set()
    return {mark for text in written for mark in _MARK.findall(text)}


def _any_of(strings: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(strings, key=lambda string: (-len(string), string))
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
