"""Lists the neighbouring keys of three keyboard layouts."""

from __future__ import annotations

LAYOUTS: dict[str, tuple[str, str, str]] = {
    "qwerty": ("qwertyuiop", "asdfghjkl", "zxcvbnm"),
    "qwertz": ("qwertzuiop", "asdfghjkl", "yxcvbnm"),
    "azerty": ("azertyuiop", "qsdfghjklm", "wxcvbn"),
}


def _neighbours(rows: tuple[str, str, str]) -> dict[str, str]:
    """Return the keys beside, above and below; each row stands half a key to the right of the one above."""
    places = {key: (row, column) for row, keys in enumerate(rows) for column, key in enumerate(keys)}
    touching = {(0, -1), (0, 1), (-1, 0), (-1, 1), (1, -1), (1, 0)}
    return {
        key: "".join(other for other, place in places.items() if (place[0] - row, place[1] - column) in touching)
        for key, (row, column) in places.items()
    }


KEYBOARDS = {layout: _neighbours(rows) for layout, rows in LAYOUTS.items()}
NEIGHBOURS = KEYBOARDS["qwerty"]
