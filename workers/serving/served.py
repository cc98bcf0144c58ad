"""Finds the model that is served: one of the catalog, or the one that is in service, looked up anew every few seconds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from sqlmodel import Session

from schemas.payloads import Stage
from schemas.serving import ServeOptions
from schemas.tables.models import Model
from workers import clock, database
from workers.catalog import models, service
from workers.errors import TweetmillError
from workers.inference.writer import Writer

logger = logging.getLogger(__name__)

LOOK_EVERY = 5.0
"""Seconds between two looks at which model is in service."""


@dataclass(frozen=True)
class Served:
    """A model that answers requests.

    Attributes:
        id: of its row.
        name: under which it is asked for.
        stage: what it was taught to write.
        created: seconds since 1970 when its row was made.
        writer: that lets it write.
    """

    id: int
    name: str
    stage: Stage
    created: int
    writer: Writer


class Source:
    """The model that is served, as it is now. One thread at a time may ask."""

    def __init__(self, options: ServeOptions, look: Callable[[ServeOptions], Served] | None = None) -> None:
        self._options = options
        self._look = look or _look_up
        self._served: Served | None = None
        self._looked = 0.0

    def current(self) -> Served:
        """Return what is served. While the catalog does not answer, and after a failed look, it is what was served before.

        Raises:
            TweetmillError: at the first look, when there is no such model or Postgres does not answer.
        """
        if self._served is not None and (not self._options.follows or clock.now() - self._looked < LOOK_EVERY):
            return self._served
        try:
            found = self._look(self._options)
        except TweetmillError as error:
            if self._served is None:
                raise
            logger.warning("the model in service can't be looked up, %s goes on: %s", self._served.name, error)
        else:
            if self._served is not None and found.id != self._served.id:
                logger.info("model %s is in service now, in place of %s", found.name, self._served.name)
            self._served = found
        self._looked = clock.now()
        assert self._served is not None
        return self._served


def _look_up(options: ServeOptions) -> Served:
    with database.session() as session:
        model = _named(session, options)
        service.check_files(session, model)
        created = int(model.created_at.timestamp()) if model.created_at is not None else 0
        return Served(model.id, model.name, Stage(model.stage), created, Writer.of(session, model))


def _named(session: Session, options: ServeOptions) -> Model:
    if options.model is not None:
        return models.resolve(session, options.model)
    if options.stream is not None:
        return models.of_stream(session, options.stream)
    return models.resolve(session, models.IN_SERVICE)
