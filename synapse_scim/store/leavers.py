"""What happens to those who left when its time has come: they are deactivated, and forgotten."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import attrs

from synapse_scim import metrics
from synapse_scim.accounts import Account, AccountError, Belongings
from synapse_scim.audit import MAINTENANCE, Caller, Event, ended
from synapse_scim.config import Deleted
from synapse_scim.database import Database, Transaction
from synapse_scim.gateway import AccountGateway
from synapse_scim.mapping.threepids import ATTRIBUTE_OF_MEDIUM
from synapse_scim.steps import Deactivate, FinalChange
from synapse_scim.store import audit, departures
from synapse_scim.store.accounts import AccountReader
from synapse_scim.store.departures import Departure
from synapse_scim.store.succession import Succession
from synapse_scim.store.writes import Writer

logger = logging.getLogger(__name__)

_POSTPONED = timedelta(hours=1)


@attrs.frozen(kw_only=True)
class Leavers:
    """Cares for those whom SCIM disabled or deleted.

    Attributes:
        database: Where they are recorded.
        gateway: What the homeserver does.
        reader: Reads accounts.
        writer: Carries out what is decided.
        succession: Who takes over a leaver's rooms.
        deleted: What becomes of those who are deleted.
        secret: What the hashes of externalIds are made with.
    """

    database: Database
    gateway: AccountGateway
    reader: AccountReader
    writer: Writer
    succession: Succession
    deleted: Deleted
    secret: bytes

    def hash_of(self, domain: str, external_id: str | None) -> str | None:
        """Return by what a deleted person is known again."""
        return None if external_id is None else departures.external_id_hash(self.secret, domain, external_id)

    async def delete(self, account: Account, domain: str, caller: Caller) -> None:
        """Delete the User of an account, and record who did. The lock of the account is held.

        Raises:
            AccountError: The guard, or a module of the homeserver, forbids it; nothing has changed.
        """
        now = self.gateway.now()
        record = account.record
        departure = Departure(
            left=now,
            deactivate_at=now + self.deleted.deactivate_after if self.deleted.deactivate_after else None,
            erase=self.deleted.erase,
            external_id_hash=self.hash_of(record.domain, record.external_id) if record else None,
        )
        handed_over = () if departure.deactivate_at else await self.succession.steps(account)
        events = [caller.event("delete", account.user_id)]
        if departure.erase and not departure.deactivate_at:
            events.append(MAINTENANCE.event("erase", account.user_id))
        await self.writer.delete(account, departure, domain, *events, handed_over=handed_over)
        metrics.OFFBOARDINGS.labels(self.gateway.server_name, "deleted").inc()

    def returning(self, txn: Transaction, domain: str, external_id: str | None, now: datetime) -> str | None:
        """Return the account of a deleted person who is created again, if it can be brought back."""
        known_by = self.hash_of(domain, external_id)
        if known_by is None:
            return None
        return departures.deleted_since(txn, known_by, now - self.deleted.revive_within)

    @staticmethod
    def belongings(txn: Transaction, account: Account) -> tuple[Belongings, tuple[str, ...]]:
        """Return what somebody gets back who returns: what nobody else has taken meanwhile.

        Returns:
            That, and the attributes of which something was taken.
        """
        departure = departures.read(txn, account.user_id)
        if departure is None:
            return Belongings(), ()
        recorded = departure.belongings
        free = attrs.evolve(
            recorded,
            threepids=frozenset(t for t in recorded.threepids if _is_free(txn, _THREEPID, account, t)),
            external_ids=frozenset(e for e in recorded.external_ids if _is_free(txn, _EXTERNAL_ID, account, e)),
        )
        lost = {ATTRIBUTE_OF_MEDIUM[threepid.medium] for threepid in recorded.threepids - free.threepids}
        lost.update("externalId" for _ in recorded.external_ids - free.external_ids)
        return free, tuple(sorted(lost))

    async def deactivate_due(self) -> None:
        """Deactivate those whose time has come."""
        for user_id in await self.database.run("synapse_scim_due", departures.due, self.gateway.now()):
            try:
                async with self.database.lock(user_id):
                    await self.writer.recover(user_id)
                    await self._deactivate(user_id)
            except AccountError as error:
                logger.warning("%s is not deactivated yet: %s", user_id, error)
                failed = ended((MAINTENANCE.event("deactivate", user_id),), "failed")
                await self.database.run("synapse_scim_postpone", self._postpone, user_id, failed)

    async def forget_old(self) -> None:
        """Forget those who left long ago."""
        before = self.gateway.now() - self.deleted.forget_after

        def forget(txn: Transaction) -> int:
            user_ids = departures.to_forget(txn, before)
            for user_id in user_ids:
                self.writer.offboarding.forget(txn, user_id)
            audit.write(txn, [MAINTENANCE.event("forget", user_id) for user_id in user_ids], self.gateway.now())
            return len(user_ids)

        while await self.database.run("synapse_scim_forget", forget):
            pass

    async def _deactivate(self, user_id: str) -> None:
        def read(txn: Transaction) -> tuple[Account | None, Departure | None]:
            found = self.reader.read(txn, [user_id]) or self.reader.read(txn, [user_id], deleted=True)
            return found.get(user_id), departures.read(txn, user_id)

        account, departure = await self.database.run("synapse_scim_leaver", read)
        if departure is None or departure.deactivate_at is None or departure.deactivate_at > self.gateway.now():
            return
        wished_back = account is None or (account.record is not None and account.record.active and not account.deleted)
        if account is None or wished_back or not account.locked:
            logger.info("%s is not deactivated: somebody else has unlocked or changed the account", user_id)
            await self.database.run(
                "synapse_scim_keep", departures.write, user_id, attrs.evolve(departure, deactivate_at=None)
            )
            return
        await self.gateway.check_deactivation(user_id)
        steps: tuple[FinalChange, ...] = (*await self.succession.steps(account), Deactivate(erase=departure.erase))
        logger.info("Deactivating %s, who left on %s", user_id, departure.left.date())
        await self.writer.finish(
            user_id,
            self.writer.offboarding.deactivate,
            account,
            departure,
            final=steps,
            event=MAINTENANCE.event("erase" if departure.erase else "deactivate", user_id),
        )
        metrics.OFFBOARDINGS.labels(self.gateway.server_name, "deactivated").inc()

    def _postpone(self, txn: Transaction, user_id: str, events: tuple[Event, ...]) -> None:
        now = self.gateway.now()
        audit.count(txn, events, now)
        departures.postpone(txn, user_id, now, now + _POSTPONED)


_THREEPID = "SELECT user_id FROM user_threepids WHERE medium = ? AND address = ?"
_EXTERNAL_ID = "SELECT user_id FROM user_external_ids WHERE auth_provider = ? AND external_id = ?"


def _is_free(txn: Transaction, sql: str, account: Account, identifier: object) -> bool:
    """Tell whether nobody else has an identifier."""
    txn.execute(sql, attrs.astuple(identifier))  # type: ignore[arg-type]
    row = txn.fetchone()
    return row is None or row[0] == account.user_id
