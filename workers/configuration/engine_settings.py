"""Defines the settings of what writes: which engine, where it computes, and the servers that it asks or starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from schemas.payloads import Quant
from workers.configuration.settings_sources import engine_names

MONTH = 31 * 24 * 3600
"""In seconds: no time that is set may be longer."""

Seconds = Annotated[float, Field(ge=0.001, le=MONTH, allow_inf_nan=False)]


class EngineSettings(BaseSettings):
    """The settings of an engine, a part of `workers.settings.Settings`, which reads them. Times are in seconds."""

    engine: str = Field(default="transformers", description="the module of workers/inference/builders that builds the engine")
    device: Literal["auto", "cuda", "cpu"] = Field(default="auto", description="where an engine of this process's own model runs")
    busy_gpu: Literal["wait", "cpu"] = Field(default="wait", description="what an engine does while every GPU is held")
    engine_idle: Seconds = Field(default=300.0, description="an engine that did nothing for so long leaves its GPU")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(default="auto", description="of an engine's weights")
    threads: int | None = Field(default=None, ge=1, le=4096, description="CPU threads of one engine; default: all cores")
    echo_seconds: float = Field(
        default=0.0, ge=0, le=3600, allow_inf_nan=False, description="for which the engine echo sleeps at each batch of 64"
    )
    server_concurrency: int = Field(default=8, ge=1, le=4096, description="requests that an engine has open at a server at once, at most")
    server_adapters: Path | None = Field(default=None, description="where the server of the engine openai finds the folders of adapters")
    server_start: Seconds = Field(default=900.0, description="in which a server that this worker starts must serve")
    server_hang: Seconds = Field(default=30.0, description="for which it may leave its health unanswered, or it is started again")
    vllm_program: Path | None = Field(
        default=None, description="the program of the engine vllm; default: beside this Python, or on the PATH"
    )
    vllm_arguments: str | None = Field(
        default=None, description="what is added to the command line of the engine vllm, quoted as for a shell"
    )
    llamacpp_quant: Quant = Field(default="f16", description="number format of the weights in the engine llamacpp")

    @field_validator("engine")
    @classmethod
    def _has_a_builder(cls, engine: str) -> str:
        if engine not in (known := engine_names()):
            raise ValueError(f"Input should be {' or '.join(map(repr, known))}")
        return engine

    def requests_at_once(self, otherwise: int) -> int:
        """Return how many requests may be open at a server of this worker's own; `otherwise` where nobody set it."""
        return self.server_concurrency if "server_concurrency" in self.model_fields_set else otherwise
