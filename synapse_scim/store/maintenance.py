"""Makes the tables ready, and cleans up behind crashes."""

from __future__ import annotations

import logging
from typing import Protocol

from synapse_scim.accounts import AccountError, Unavailable
from synapse_scim.database import Database
from synapse_scim.store import schema
from synapse_scim.store.historical import HistoricalUserIds
from synapse_scim.store.leavers import Leavers
from synapse_scim.store.photos import Photos
from synapse_scim.store.writes import Writer

logger = logging.getLogger(__name__)


class PreparedDatabase(Database, Protocol):
    """A database that has to find out what it can do."""

    async def prepare(self) -> None:
        """Find it out."""


class Maintenance:
    """What has to be done besides answering requests."""

    def __init__(
        self,
        *,
        database: PreparedDatabase,
        writer: Writer,
        historical: HistoricalUserIds,
        leavers: Leavers,
        photos: Photos,
    ) -> None:
        """Care for a homeserver's database."""
        self._photos = photos
        self._leavers = leavers
        self._historical = historical
        self._database = database
        self._writer = writer
        self._ready = False

    async def ready(self) -> None:
        """Return if the tables are there.

        Raises:
            Unavailable: They are not, or not yet.
        """
        if not self._ready:
            raise Unavailable("The SCIM tables are not ready; the homeserver's log says why if this lasts")

    async def start(self) -> None:
        """Make the tables ready, then finish or undo what a crash left behind."""
        try:
            version = await schema.upgrade(self._database)
            await self._database.prepare()
            await self._historical.load()
        except Exception:
            logger.exception(
                "The SCIM tables cannot be created or read. Does the homeserver's database user own its schema?"
            )
            return
        if version > schema.VERSION:
            logger.warning("The SCIM tables are of version %d, written by a newer synapse-scim", version)
        self._ready = True
        logger.info("SCIM is ready (tables of version %d)", version)
        await self.clean_up()

    async def clean_up(self) -> None:
        """Finish or undo the writes that were left behind. Those under way are waited for, and found ended."""
        if not self._ready:
            return
        for user_id in await self._writer.unfinished():
            try:
                async with self._database.lock(user_id):
                    await self._writer.recover(user_id)
            except AccountError as error:
                logger.warning("An interrupted write to %s waits for the next attempt: %s", user_id, error)
        await self._leavers.deactivate_due()
        await self._leavers.forget_old()

    async def fetch_photos(self) -> None:
        """Fetch the photos that are due. Every process does, since those without a media repository cannot."""
        if self._ready:
            await self._photos.fetch_due()
