"""Writes quantities as people read them: times and sizes."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """Return seconds as `45 s`, `3 m 20 s` or `2 h 5 m`; None as nothing."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} m"


def size(count: float) -> str:
    """Return bytes as GiB or MiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
