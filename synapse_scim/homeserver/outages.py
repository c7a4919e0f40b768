"""What the homeserver's database raises while it does not answer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from synapse.storage.engines import PostgresEngine
from twisted.enterprise.adbapi import ConnectionLost

from synapse_scim.accounts import Unavailable

if TYPE_CHECKING:
    from synapse.server import HomeServer

logger = logging.getLogger(__name__)


class Outages:
    """Knows what is raised while PostgreSQL restarts, cannot be reached, or has too much to do.

    SQLite, which is a file, has no such errors: what it calls operational may as well be a statement that is wrong.
    """

    def __init__(self, hs: HomeServer) -> None:
        """Look which database a homeserver has."""
        engine = hs.get_datastores().main.database_engine
        self._types: tuple[type[Exception], ...] = ()
        if isinstance(engine, PostgresEngine):
            self._types = (engine.module.OperationalError, engine.module.InterfaceError, ConnectionLost)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise `Unavailable` for an outage that leaves the block."""
        try:
            yield
        except Exception as error:
            if not self._is_outage(error):
                raise
            logger.warning("The homeserver's database does not answer: %s", str(error).partition("\n")[0])
            raise Unavailable("The homeserver's database does not answer at the moment; try again later") from error

    def _is_outage(self, error: BaseException) -> bool:
        """Tell whether an error means one.

        Twisted's pool of connections stumbles over a lost one again when it gives it up, and then raises a bare
        `Exception` in the place of what had happened.
        """
        if isinstance(error, self._types):
            return True
        return type(error) is Exception and error.__context__ is not None and self._is_outage(error.__context__)
