"""Notices what came a moment ago: servers and networks repeat the last things that they sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

_REMEMBERED = 4096


class Recent:
    """The last few thousand keys that came."""

    def __init__(self) -> None:
        self._keys: set[Hashable] = set()
        self._order: deque[Hashable] = deque()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._keys

    def add(self, key: Hashable) -> bool:
        """Note a key; False where it is there already."""
        if key in self._keys:
            return False
        self._keys.add(key)
        self._order.append(key)
        if len(self._order) > _REMEMBERED:
            self._keys.discard(self._order.popleft())
        return True
