"""Groups of verbs of which one is meant where none is named: `import FILE` is `import pairs FILE`."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


def by_default(name: str) -> type[TyperGroup]:
    """Return a kind of group that puts `name` before arguments which name none of its commands."""

    class Defaulting(TyperGroup):
        """A group with a default."""

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            """Name the default where the arguments name nothing else."""
            if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
                args = [name, *args]
            return super().parse_args(ctx, args)

    return Defaulting
