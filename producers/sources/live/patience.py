"""How long a network is waited for, one set of bounds for all of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """Bounds in seconds.

    Attributes:
        connect: for opening a connection, from the name to the answer of the server.
        stall: without anything from the server, after which the connection is taken for dead.
        first_pause: before the second try.
        longest_pause: between two tries.
        first_tries: tries at a server that has never answered, neither now nor for the cursor, until its address is taken for wrong.
        hole_after: that may lie between the last event before a connection broke and the first one behind it, if the server has no gap.
        rewind: that reading begins earlier at another server than that of the cursor: no two see an event at the same moment.
    """

    connect: float = 10.0
    stall: float = 60.0
    first_pause: float = 0.5
    longest_pause: float = 60.0
    first_tries: int = 6
    hole_after: float = 5.0
    rewind: float = 10.0


PATIENT = Patience()
"""What networks are given unless told otherwise."""
