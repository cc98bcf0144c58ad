"""Finds the module of `builders` that builds an engine, by the engine's name."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from workers.inference.engine import Engine
from workers.settings import Settings


class Builder(Protocol):
    """A module of `workers.inference.builders`."""

    def build(self, settings: Settings, base: str) -> Engine:
        """Return an engine that answers with the base model `base`."""
        ...


def builder_of(engine: str) -> Builder:
    """Return the module that builds an engine. `Settings` lets through only names that have one."""
    return cast("Builder", import_module(f"workers.inference.builders.{engine}"))
