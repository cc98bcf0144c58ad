"""Errors of a file, and of one row of it. Their messages never quote a row, and never need to: its place finds it."""

from __future__ import annotations

from workers.errors import UserError


class SourceError(UserError):
    """The file as a whole can't be read; the message says what to do about it."""


class DamagedError(SourceError):
    """An archive ends too early or is not what its beginning says."""


class RowError(Exception):
    """A row that can't be used: the field at fault, where one is, and the reason."""

    def __init__(self, field: str | None, reason: str) -> None:
        super().__init__(reason)
        self.field, self.reason = field, reason
