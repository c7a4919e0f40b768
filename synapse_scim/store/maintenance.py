"""Makes the tables ready, and cleans up behind crashes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import attrs

from synapse_scim import metrics
from synapse_scim.accounts import AccountError, Unavailable
from synapse_scim.database import Database
from synapse_scim.store import pending, schema
from synapse_scim.store.audit import Trail
from synapse_scim.store.historical import HistoricalUserIds
from synapse_scim.store.leavers import Leavers
from synapse_scim.store.outside_changes import OutsideChanges
from synapse_scim.store.photos import Photos
from synapse_scim.store.processes import Processes
from synapse_scim.store.traces import Traces
from synapse_scim.store.writes import Writer

logger = logging.getLogger(__name__)


class PreparedDatabase(Database, Protocol):
    """A database that has to find out what it can do."""

    async def prepare(self) -> None:
        """Find it out."""

    async def tidy(self) -> None:
        """Do what has to be done every now and then."""

    async def index_user_ids(self) -> None:
        """Add an index to one of the homeserver's own tables, for registrations."""


@attrs.define(kw_only=True)
class Maintenance:
    """What has to be done besides answering requests, to a homeserver's database.

    Attributes:
        server_name: How metrics name the homeserver.
    """

    server_name: str
    _database: PreparedDatabase
    _writer: Writer
    _historical: HistoricalUserIds
    _leavers: Leavers
    _photos: Photos
    _outside_changes: OutsideChanges
    _trail: Trail
    _processes: Processes
    _traces: Traces
    _indexes: bool
    _ready: bool = attrs.field(default=False, init=False)

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
            await self._processes.sign()
            await self._traces.look()
            await self._writer.gateway.prepare()
        except Exception:
            logger.exception(
                "The SCIM tables cannot be created or read; until they can be, SCIM answers 503. If the database says"
                " that permission is denied: the homeserver's database user must be allowed to create tables, and must"
                " own those whose names begin with synapse_scim_"
            )
            return
        if version > schema.VERSION:
            logger.warning("The SCIM tables are of version %d, written by a newer synapse-scim", version)
        self._ready = True
        logger.info("SCIM is ready (tables of version %d)", version)
        await self.in_one_process()

    async def in_one_process(self) -> None:
        """Finish or undo the writes that were left behind; deactivate, and forget, whose time has come.

        Writes under way are waited for, and found ended. One process of the homeserver does this.
        """
        if not self._ready:
            return
        with _put_off():
            await self._clean_up()

    async def _clean_up(self) -> None:
        if self._indexes:
            self._indexes = False
            await self._database.index_user_ids()
        for user_id in await self._writer.unfinished():
            try:
                async with self._database.lock(user_id):
                    await self._writer.recover(user_id)
            except AccountError as error:
                logger.warning("An interrupted write to %s waits for the next attempt: %s", user_id, error)
            except Exception:
                # Whatever is wrong with one account, the others are cared for.
                logger.exception("The interrupted write to %s cannot be dealt with", user_id)
        records, now = self._writer.records, self._writer.gateway.now()
        await self._database.run("synapse_scim_given_up", records.forget_given_up, now)
        await self._leavers.deactivate_due()
        await self._leavers.forget_old()
        await self._trail.remove_old()
        for kind, counted in (await self._database.run("synapse_scim_pending", pending.count)).items():
            metrics.PENDING.labels(self.server_name, kind).set(counted)

    async def in_every_process(self) -> None:
        """Tell the others of this process, see who is to be traced, and fetch the photos that are due.

        Where the tables could not be made ready, that is tried again.

        Every process of the homeserver does this: those without a media repository cannot fetch.
        """
        if not self._ready:
            await self.start()
            return
        with _put_off():
            await self._database.tidy()
            await self._processes.sign()
            await self._traces.look()
            await self._writer.gateway.prepare()
            await self._photos.fetch_due()

    async def notice(self, user_id: str) -> None:
        """Remember that somebody changed an account, be it SCIM or not."""
        if self._ready:
            with _put_off():
                await self._outside_changes.noticed(user_id)

    async def reconcile(self) -> None:
        """Look for changes to accounts of which the homeserver does not tell."""
        if self._ready:
            with _put_off():
                await self._outside_changes.look()


@contextmanager
def _put_off() -> Iterator[None]:
    """Leave to the next time what cannot be done now."""
    try:
        yield
    except Unavailable as error:
        logger.warning("Maintenance is put off: %s", error)
