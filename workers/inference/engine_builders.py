"""Finds the module of `builders` that builds an engine, by the engine's name."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast, runtime_checkable

from workers.inference.engine import Engine
from workers.inference.served.program import Program
from workers.settings import Settings


class Builder(Protocol):
    """A module of `workers.inference.builders`."""

    def build(self, settings: Settings, base: str) -> Engine:
        """Return an engine that answers with the base model `base`."""
        ...


@runtime_checkable
class ServerBuilder(Builder, Protocol):
    """A module whose engine asks a server that the worker starts."""

    def program(self, settings: Settings) -> Program:
        """Return what is started.

        Raises:
            SettingsError: it is not installed, or a setting of it is wrong.
        """
        ...


def builder_of(engine: str) -> Builder:
    """Return the module that builds an engine. `Settings` lets through only names that have one."""
    return cast("Builder", import_module(f"workers.inference.builders.{engine}"))
