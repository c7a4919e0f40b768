"""The time that all processes of a homeserver share."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Self

from synapse.storage.database import LoggingTransaction
from synapse.storage.engines import PostgresEngine

if TYPE_CHECKING:
    from synapse.server import HomeServer

logger = logging.getLogger(__name__)

_ATTRIBUTE = "_synapse_scim_clock"
"""The attribute of a homeserver that holds its clock: a table of them here would keep homeservers in memory."""

_TOLERATED_MS = 30_000

DATABASE_NOW_MS = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
"""The SQL of PostgreSQL's time, in milliseconds since 1970."""


class DatabaseClock:
    """Tells the time of the database, without asking it each time.

    What one process writes down another one compares with its own time: when somebody left, when the guard's window
    began, when a lock was taken. The clocks of their machines may differ, or be set; the database has but one. On
    SQLite there is a single process, whose own clock counts.
    """

    def __init__(self, hs: HomeServer) -> None:
        """Go by the homeserver's own clock until `synchronize` has been called."""
        self._own = hs.get_clock()
        self._pool = hs.get_datastores().main.db_pool
        self._offset_ms: float | None = None
        self._is_told = False

    @classmethod
    def of(cls, hs: HomeServer) -> Self:
        """Return the clock of a homeserver."""
        clock: Self = getattr(hs, _ATTRIBUTE, None) or cls(hs)
        setattr(hs, _ATTRIBUTE, clock)
        return clock

    def now_ms(self) -> int:
        """Return the time, in milliseconds since 1970."""
        if self._offset_ms is None:
            return self._own.time_msec()
        return int(time.monotonic() * 1000 + self._offset_ms)

    async def synchronize(self) -> None:
        """Ask the database for its time. A clock of this machine that differs much is said once."""
        if not isinstance(self._pool.engine, PostgresEngine):
            return
        before_ms = time.monotonic() * 1000
        now_ms = await self._pool.runInteraction("synapse_scim_time", _database_now_ms, db_autocommit=True)
        after_ms = time.monotonic() * 1000
        self._offset_ms = now_ms - (before_ms + after_ms) / 2
        apart_ms = self._own.time_msec() - self.now_ms()
        if abs(apart_ms) <= _TOLERATED_MS:
            self._is_told = False
        elif not self._is_told:
            self._is_told = True
            logger.warning(
                "The clock of this machine and that of the database are %d seconds apart: SCIM goes by the database's,"
                " but Synapse does not",
                round(abs(apart_ms) / 1000),
            )


def _database_now_ms(txn: LoggingTransaction) -> int:
    txn.execute(f"SELECT {DATABASE_NOW_MS}")
    row = txn.fetchone()
    return int(row[0]) if row else 0
