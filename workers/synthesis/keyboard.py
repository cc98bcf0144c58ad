"""Which letters a finger hits by mistake on a QWERTY keyboard."""

from __future__ import annotations

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def _neighbours() -> dict[str, str]:
    """Keys beside, above and below; each row stands half a key to the right of the one above."""
    places = {key: (row, column) for row, keys in enumerate(ROWS) for column, key in enumerate(keys)}
    touching = {(0, -1), (0, 1), (-1, 0), (-1, 1), (1, -1), (1, 0)}
    return {
        key: "".join(other for other, place in places.items() if (place[0] - row, place[1] - column) in touching)
        for key, (row, column) in places.items()
    }


NEIGHBOURS = _neighbours()
