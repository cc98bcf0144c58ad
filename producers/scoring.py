"""The options of optional scorers, which `evaluate` and `compare` share, and the payload that they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from schemas.payloads import JudgeSpec

Similarity = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER|minilm",
        help="Score nearness in meaning to the references by a sentence-embedding model: its folder, or that of the extra similarity.",
        show_default=False,
    ),
]
SupportedBy = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="Score whether the tweet supports an output by a classifier: an NLI cross-encoder, or one that marks hallucinated tokens.",
        show_default=False,
    ),
]
JudgeName = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="MODEL",
        help="Let a model say which output is better: folder or hub id of a base, or with --judge-url its name at a server.",
        show_default=False,
    ),
]
JudgeUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Of the judge's server with the OpenAI chat API, such as http://host:8000/v1.", show_default=False),
]
JudgeMargin = Annotated[
    float,
    typer.Option(min=0.1, max=100, help="Points of SARI between two outputs from which the references decide, to measure the judge by."),
]


def where(named: str | None) -> str | None:
    """Return how a job names the model of a scorer: a folder that is here by its absolute path, anything else as it is."""
    return str(Path(named).resolve()) if named is not None and Path(named).is_dir() else named


def judge_spec(name: str | None, url: str | None, margin: float) -> JudgeSpec | None:
    """Return who judges, if anybody.

    Raises:
        BadParameter: the options don't go together, or the address can't be used.
    """
    from schemas.addresses.parsing import AddressError, parse_http
    from schemas.payloads import JudgeSpec

    if name is None:
        if url is not None:
            raise typer.BadParameter("it goes with --judge, the model's name at the server", param_hint="--judge-url")
        return None
    if url is None:
        return JudgeSpec(model=str(where(name)), margin=margin)
    try:
        parse_http(url)
    except AddressError as error:
        raise typer.BadParameter(str(error), param_hint="--judge-url") from None
    return JudgeSpec(model=name, base_url=url, margin=margin)
