"""Holds the rows of a dataset until it is stored: the rows on disk, and some sixty bytes a row in memory to select them by."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.synthesis import Ratios
from workers.catalog.examples.dropped_examples import REASONS
from workers.catalog.examples.fingerprints import dataset_fingerprint
from workers.synthesis.expectations import Statistics
from workers.synthesis.filters import by_hand
from workers.synthesis.rows import DroppedRow, ExampleRow, dropped_on_disk, examples_on_disk, flags_of
from workers.synthesis.split.ratios import draw_positions, shares

_ORIGINS = ("human", "noise", "teacher", "import")
_SPLITS = ("test", "train")
_FLAGS = tuple(REASONS)


class RowStore:
    """The rows of a dataset: added one by one, then reduced by `distinct` and `mix`, then counted, then read once more to be stored."""

    def __init__(self, folder: Path | None = None) -> None:
        self._rows = examples_on_disk(folder)
        self.dropped = dropped_on_disk(folder)
        self._reasons: Counter[str] = Counter()
        self._dropped_keys: set[bytes] = set()
        self._added_keys = bytearray()
        self._added_targets = array("Q")
        self._added_kinds = bytearray()
        self._added_flags = array("H")

    def add(self, row: ExampleRow) -> None:
        """Add a row."""
        self._rows.append(row)
        self._added_keys += bytes.fromhex(row.example_key)
        self._added_targets.append(int.from_bytes(hashlib.blake2b(row.target_text.encode(), digest_size=8).digest()))
        self._added_kinds.append(_ORIGINS.index(row.origin) + 8 * _SPLITS.index(row.split) + 16 * by_hand(row))
        self._added_flags.append(sum(1 << _FLAGS.index(flag) for flag in flags_of(row)))

    def drop(self, row: ExampleRow, reasons: tuple[str, ...]) -> None:
        """Keep a row for inspection alone, once: short texts often come out of the noise twice the same."""
        key = bytes.fromhex(row.example_key)
        if key in self._dropped_keys:
            return
        self._dropped_keys.add(key)
        self.dropped.append(DroppedRow(row, reasons))
        self._reasons.update(reasons)

    def distinct(self, counts: Counter[str]) -> None:
        """Keep one row a key, the first: short texts often come out of the noise twice the same. All rows are in."""
        self._keys = np.frombuffer(self._added_keys, "S32")
        kinds = np.frombuffer(self._added_kinds, np.uint8)
        self._origins, self._train, self._human = kinds & 7, (kinds & 8) > 0, (kinds & 16) > 0
        self._flags = np.frombuffer(self._added_flags, np.uint16)
        self._kept = np.zeros(len(self._rows), bool)
        self._kept[np.unique(self._keys, return_index=True)[1]] = True
        counts["examples_duplicate"] = len(self._rows) - len(self)

    def mix(self, ratios: Ratios | None, seed: int, counts: Counter[str]) -> None:
        """Leave training rows out so that the origins stand in the ratios; the test is left as it is.

        Raises:
            UserError: an origin with a ratio has no examples.
        """
        if ratios is None:
            return
        before = len(self)
        places = {origin: np.flatnonzero(self._learnt() & (self._origins == code)) for code, origin in enumerate(_ORIGINS)}
        for origin, number in shares({origin: len(there) for origin, there in places.items() if len(there)}, ratios).items():
            there = places[origin]
            self._kept[there] = False
            self._kept[there[draw_positions(self._keys[there], number, seed)]] = True
        counts["left_out_by_ratio"] = before - len(self)

    def __len__(self) -> int:
        return int(self._kept.sum())

    def kept(self) -> Iterator[ExampleRow]:
        """Yield the rows of the dataset, in the order in which they came."""
        return (row for row, kept in zip(self._rows, self._kept.tolist(), strict=True) if kept)

    def count(self, counts: Counter[str]) -> None:
        """Add the numbers of rows to `counts`."""
        learnt = int(self._learnt().sum())
        counts.update({"train": learnt, "test": len(self) - learnt})
        counts["noise"] = int((self._kept & (self._origins == _ORIGINS.index("noise"))).sum())
        if self.dropped:
            counts["dropped"] = len(self.dropped)
            counts.update({f"dropped_{reason}": rows for reason, rows in sorted(self._reasons.items())})
        if flagged := int((self._kept & (self._flags > 0)).sum()):
            counts["flagged"] = flagged

    @property
    def flagged(self) -> dict[str, int]:
        """Rows of the dataset that were kept though a filter found something, since a person wrote them: by what was found."""
        having = {name: int((self._kept & (self._flags >> place & 1 > 0)).sum()) for place, name in enumerate(_FLAGS)}
        return {name: rows for name, rows in having.items() if rows}

    def statistics(self, *, read: int, refused: int, usd: float) -> Statistics:
        """Return the counts of the dataset. The caller knows what became of the sources, and passes that."""
        learnt = self._learnt()
        targets = np.unique(np.frombuffer(self._added_targets, np.uint64)[learnt], return_counts=True)[1]
        return Statistics(
            train=int(learnt.sum()),
            test=len(self) - int(learnt.sum()),
            human=int((learnt & self._human).sum()),
            commonest_target=int(targets.max(initial=0)),
            judged=len(self._rows) + len(self.dropped),
            dropped=len(self.dropped),
            read=read,
            refused=refused,
            usd=usd,
            reasons=self._reasons,
        )

    def fingerprint(self) -> str:
        """Return the fingerprint of the dataset that the rows make."""
        chosen = (("test", self._kept & ~self._train), ("train", self._learnt()))
        return dataset_fingerprint((split, _whole(key).hex()) for split, rows in chosen for key in np.sort(self._keys[rows]))

    def _learnt(self) -> NDArray[np.bool_]:
        return self._kept & self._train


def _whole(key: bytes) -> bytes:
    # numpy takes the zeros off the end of a byte string.
    return bytes(key).ljust(32, b"\0")
