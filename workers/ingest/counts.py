"""Counts what became of the rows that were read: every row once, and a rejected one by its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

_MOST_REASONS = 200
_SHOWN_REASONS = 3


class Reasons:
    """The reasons of rejected rows, each with how often it was given and where first; of very many different ones the first 200."""

    def __init__(self, refused: Iterable[tuple[str, str | None, str]] = ()) -> None:
        """Of rows given as place, field and reason."""
        self._found: dict[tuple[str | None, str], tuple[int, str]] = {}
        for place, at, reason in refused:
            self.note(place, at, reason)

    def note(self, place: str, at: str | None, reason: str, rows: int = 1) -> None:
        """Count a rejected row."""
        known = self._found.get((at, reason))
        if known or len(self._found) < _MOST_REASONS:
            self._found[at, reason] = (known[0] + rows, known[1]) if known else (rows, place)

    def __add__(self, other: Reasons) -> Reasons:
        """Add up both."""
        both = Reasons()
        for (at, why), (rows, place) in (*self._found.items(), *other._found.items()):
            both.note(place, at, why, rows)
        return both

    def commonest(self) -> str:
        """Return the reasons that were given most, where first and how often: `line 7, text: the text is missing (12 rows)`."""
        most = sorted(self._found.items(), key=lambda found: -found[1][0])[:_SHOWN_REASONS]
        return "; ".join(
            f"{place}{f', {at}' if at else ''}: {why}" + (f" ({rows:,} rows)" if rows > 1 else "") for (at, why), (rows, place) in most
        )


@dataclass(frozen=True)
class Counts:
    """What became of the rows read: `read = inserted + duplicates + collisions + forgotten + rejected` and the notices.

    Attributes:
        read: rows.
        inserted: new ones.
        duplicates: known already, with the same text.
        collisions: of a known id with another text, which is kept out.
        rejected: that can't be used.
        forgotten: of tweets or authors that were forgotten, which are kept out.
        notices: that are no tweets and are not meant to be, by name.
        same_text: of the new ones, those whose text is stored under another id.
        unusable: optional fields that can't be used; their tweets are stored without them.
        reasons: of the rejected ones.
        remarks: sentences about what was changed on the way in, or should be known.
    """

    read: int = 0
    inserted: int = 0
    duplicates: int = 0
    collisions: int = 0
    rejected: int = 0
    forgotten: int = 0
    same_text: int = 0
    notices: Counter[str] = field(default_factory=Counter)
    unusable: Counter[str] = field(default_factory=Counter)
    reasons: Reasons = field(default_factory=Reasons, compare=False)
    remarks: tuple[str, ...] = field(default=(), compare=False)

    def __add__(self, other: Counts) -> Counts:
        """Add up both."""
        return Counts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def usable(self) -> int:
        """Rows of which something is stored, now or before."""
        return self.inserted + self.duplicates
