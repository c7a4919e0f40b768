"""What the homeserver's database raises while it does not answer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from synapse.storage.engines import PostgresEngine

from synapse_scim.accounts import Unavailable

if TYPE_CHECKING:
    from synapse.server import HomeServer

logger = logging.getLogger(__name__)


def database_outages(hs: HomeServer) -> tuple[type[Exception], ...]:
    """Return what statements raise while PostgreSQL restarts, cannot be reached, or has too much to do.

    SQLite, which is a file, has no such errors: what it calls operational may as well be a statement that is wrong.
    """
    engine = hs.get_datastores().main.database_engine
    return (engine.module.OperationalError, engine.module.InterfaceError) if isinstance(engine, PostgresEngine) else ()


@contextmanager
def available(outages: tuple[type[Exception], ...]) -> Iterator[None]:
    """Raise `Unavailable` for an outage that leaves the block.

    Args:
        outages: As `database_outages` returns them.
    """
    try:
        yield
    except outages as error:
        logger.warning("The homeserver's database does not answer: %s", str(error).partition("\n")[0])
        raise Unavailable("The homeserver's database does not answer at the moment; try again later") from error
