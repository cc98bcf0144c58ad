"""A child process that comes to read its request late, as one does that imports for long."""

from __future__ import annotations

import time

from pydantic import BaseModel

from workers.exports import children


class Said(BaseModel):
    """The request, and the report."""

    text: str


if __name__ == "__main__":
    time.sleep(0.5)
    raise SystemExit(children.serve(Said, lambda asked: asked))
