"""Says whether a tweet is in a wanted language, by what its author or network says of it."""

from __future__ import annotations

from collections.abc import Iterable

# X's and BCP 47's tags for "nobody knows" and "no language at all".
_SAYS_NOTHING = frozenset({"", "und", "zxx", "mul", "art", "qam", "qct", "qht", "qme", "qst"})


def is_wanted(said: object, wanted: Iterable[str]) -> bool:
    """Whether a tweet passes: nothing is asked for, it says nothing of its language, or one that it names is wanted.

    A wanted `en` takes `en-GB` too; a wanted `pt-BR` takes that alone. Capitals make no difference.

    Args:
        said: a tag, or a list of them, as the network gives it; anything else says nothing.
        wanted: tags.
    """
    asked = [tag.strip().casefold().replace("_", "-") for tag in wanted]
    if not asked:
        return True
    named = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    tags = [tag.strip().casefold().replace("_", "-") for tag in named if isinstance(tag, str)]
    told = [tag for tag in tags if tag not in _SAYS_NOTHING]
    return not told or any(tag == each or tag.startswith(f"{each}-") for tag in told for each in asked)
