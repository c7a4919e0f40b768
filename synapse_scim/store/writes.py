"""Carries out a write so that it happens whole, or not at all.

The order of a write: what may be refused first, what nothing undoes last.

1. One transaction stores the record, claims the names, makes the database changes and, if steps follow, opens a journal
   entry with what undoes them.
2. The account is registered, or the profile changed. A failure undoes everything.
3. One transaction makes the write certain: the account in the making is shown, a new password is set.
4. The final changes are made and the entry goes. They are repeated until they succeed.

A write of a single step is one transaction. Whoever writes to an account holds its lock (`Database.lock`), and first
cleans up behind a predecessor that crashed.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import takewhile
from typing import Any, TypeVar

import attrs

from synapse_scim.accounts import Account, AccountError, Unavailable, UserIdTaken
from synapse_scim.audit import Event, ended, not_given_back
from synapse_scim.database import Database, Transaction
from synapse_scim.gateway import AccountGateway
from synapse_scim.mapping.changes import Plan
from synapse_scim.steps import (
    AnnounceThreepids,
    DatabaseChange,
    Deactivate,
    EndSessions,
    FinalChange,
    HandOver,
    RemoveExternalId,
    RemovePushers,
    RemoveThreepid,
    SetLocked,
    SetPasswordHash,
    SetProfileField,
)
from synapse_scim.store import audit, journal, photo_orders
from synapse_scim.store.accounts import AccountReader, ts_ms
from synapse_scim.store.departures import Departure
from synapse_scim.store.offboarding import Offboarding
from synapse_scim.store.records import Records

T = TypeVar("T")

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Writer:
    """Writes accounts and their records.

    Attributes:
        database: Where both are kept.
        gateway: What the homeserver does.
        reader: Reads accounts.
        records: The module's own rows.
        offboarding: What is recorded of those who leave and return.
    """

    database: Database
    gateway: AccountGateway
    reader: AccountReader
    records: Records
    offboarding: Offboarding

    async def create(self, localpart: str, plan: Plan, password_hash: str | None, event: Event) -> Account | None:
        """Register an account with everything that is planned for it, and record that. The caller holds its lock.

        Returns:
            The account, if it is done with already; else it is to be read.

        Raises:
            AccountError: The homeserver refuses; nothing is left behind.
        """
        user_id = f"@{localpart}:{self.gateway.server_name}"
        first_hash = password_hash or journal.nobodys_hash()
        entry = journal.Entry(
            birthmark=journal.birthmark(first_hash),
            passwordless=password_hash is None,
            undo=journal.undo_of(plan.database_changes),
            final=plan.final_changes,
            fetch=plan.fetch,
            events=(event,),
        )
        account: Account | None = None
        try:
            while not await self._transaction("reserve", self._reserve, user_id, plan, entry):
                await self.recover(user_id)
            await self.gateway.register(localpart, plan.record.displayname or localpart, first_hash)
            account = await self._conclude(user_id, entry)
        except Exception:
            # Any: a callback of another module may have failed, in its own way, after the account was made.
            if not await self.recover(user_id, crashed=False):
                raise
            logger.warning("The registration of %s failed after the account was made; it was completed", user_id)
        _log_unbound(user_id, plan)
        return account

    async def update(self, account: Account, plan: Plan, *events: Event) -> None:
        """Change an account as planned, and record that; a deleted one comes back by it. The caller holds its lock.

        Raises:
            AccountError: The homeserver refuses; nothing has changed.
        """
        user_id = account.user_id
        profile = plan.profile_changes
        later = tuple(change for change in plan.database_changes if profile and isinstance(change, SetPasswordHash))
        now = tuple(change for change in plan.database_changes if change not in later)
        entry = journal.Entry(
            certain=not profile,
            former=self.records.columns(account.record) if account.record else None,
            buried=account.deleted,
            undo=journal.undo_of(now) if profile else (),
            profile=profile,
            final=plan.final_changes,
            events=events,
        )
        async with self._recovering(user_id):
            await self._transaction("update", self._begin_update, account, plan, now, entry)
            for change in profile:
                await self.gateway.change_profile(user_id, change)
            if profile:
                await self._transaction("settle", self._settle, account, plan, later, entry)
        audit.log(*events)
        await self._finish(user_id, plan.final_changes)
        _log_unbound(user_id, plan)

    async def delete(
        self,
        account: Account,
        departure: Departure,
        domain: str,
        *events: Event,
        handed_over: tuple[HandOver, ...] = (),
    ) -> None:
        """Take an account out of SCIM, and record that. Its names are free at once. The caller holds its lock.

        Args:
            account: The account.
            departure: What is recorded of it, but for what the account has at the moment.
            domain: The provisioning domain of the client.
            events: What the audit keeps of it.
            handed_over: What hands over the account's rooms, if it is deactivated at once.

        Raises:
            AccountError: The guard, or a module of the homeserver, forbids it; nothing has changed.
        """
        await self.gateway.check_deactivation(account.user_id)
        changes = (
            SetLocked(locked=True),
            *(RemoveThreepid(threepid) for threepid in sorted(account.threepids)),
            *(RemoveExternalId(external_id) for external_id in sorted(account.external_ids)),
        )
        final: tuple[FinalChange, ...] = (
            (RemovePushers(), EndSessions())
            if departure.deactivate_at
            else (*handed_over, Deactivate(erase=departure.erase))
        )
        async with self._recovering(account.user_id):
            await self._transaction("delete", self._begin_deletion, account, departure, domain, changes, final, events)
        audit.log(*events)
        await self._finish(account.user_id, final)

    async def finish(
        self, user_id: str, function: Any, *arguments: Any, final: tuple[FinalChange, ...], event: Event
    ) -> None:
        """Do what nothing undoes, recorded in the transaction of a function that decides on it.

        Args:
            user_id: The account; the caller holds its lock.
            function: Run in the transaction, with the arguments.
            arguments: The function's.
            final: What is done then.
            event: What the audit keeps of it.
        """

        def begin(txn: Transaction) -> None:
            function(txn, *arguments)
            journal.write(txn, user_id, journal.Entry(certain=True, final=final), ts_ms(self.gateway.now()))
            audit.write(txn, [event], self.gateway.now())

        await self._transaction("begin", begin)
        audit.log(event)
        await self._finish(user_id, final)

    async def recover(self, user_id: str, *, crashed: bool = True) -> bool:
        """Finish or undo what a failure or a crash left behind at an account. The caller holds its lock.

        Args:
            user_id: The account.
            crashed: Whoever began the write is gone, and nobody else records how it ended.

        Returns:
            Whether that completed an account in the making.

        Raises:
            Unavailable: What remains to be done cannot be done at the moment, or not be undone.
        """
        entry, is_made = await self.database.run("synapse_scim_journal", journal.left_behind, user_id)
        if entry is None:
            return False
        if entry.certain:
            logger.info("Finishing an interrupted write to %s", user_id)
            if not await self._finish(user_id, entry.final):
                raise Unavailable(f"An earlier change to {user_id} is not finished yet; try again later")
            return False
        if is_made:
            logger.info("Completing the account %s, whose creation was interrupted", user_id)
            events = ended(entry.events, "finished") if crashed else entry.events
            await self._conclude(user_id, attrs.evolve(entry, events=events))
            return True
        logger.info("Undoing an interrupted write to %s", user_id)
        for change in reversed(entry.profile):
            await self.gateway.change_profile(user_id, _opposite(change))
        undone = ended(entry.events, "undone") if crashed else ()
        await self._transaction("undo", self._undo, user_id, entry, undone)
        audit.log(*undone)
        return False

    async def unfinished(self, limit: int = 100) -> list[str]:
        """Return accounts at which a write has begun and not ended, be it under way or left behind."""
        return await self.database.run("synapse_scim_unfinished", journal.unfinished, limit)

    # -- Steps ----------------------------------------------------------------

    @asynccontextmanager
    async def _recovering(self, user_id: str) -> AsyncIterator[None]:
        """Finish or undo, before the failure goes on, a write that fails within the block."""
        succeeded = False
        try:
            yield
            succeeded = True
        finally:
            if not succeeded:
                await self.recover(user_id, crashed=False)

    async def _transaction(self, name: str, function: Callable[..., T], *arguments: Any) -> T:
        """Run a step in a transaction. One that lost a race is run again, to see who won and say so."""
        try:
            return await self.database.run(f"synapse_scim_{name}", function, *arguments)
        except self.database.conflict:
            return await self.database.run(f"synapse_scim_{name}", function, *arguments)

    async def _conclude(self, user_id: str, entry: journal.Entry) -> Account | None:
        """Show an account that was registered. What does not depend on that is done before, to save a transaction.

        Returns:
            The account, unless something is still done to it.
        """
        early = tuple(takewhile(lambda change: isinstance(change, AnnounceThreepids | SetProfileField), entry.final))
        left = entry.final if await self._make(user_id, early) is None else entry.final[len(early) :]
        account = await self._transaction("conclude", self._show, user_id, entry, left)
        audit.log(*entry.events)
        await self._finish(user_id, left)
        return account

    async def _finish(self, user_id: str, changes: tuple[FinalChange, ...]) -> bool:
        """Make the final changes. What fails stays in the journal, for the next writer or the next start."""
        if changes:
            lost = await self._make(user_id, changes)
            if lost is None:
                return False
            events = not_given_back(user_id, lost)
            await self.database.run("synapse_scim_finish", self._end, user_id, events)
            audit.log(*events)
        return True

    async def _make(self, user_id: str, changes: tuple[FinalChange, ...]) -> tuple[str, ...] | None:
        """Make changes that nothing undoes; return what could not be given back, or `None` if not all are made."""
        lost: list[str] = []
        try:
            for change in changes:
                lost += await self.gateway.finish(user_id, change)
        except AccountError as error:
            logger.warning("A write to %s is certain but not finished yet, and will be: %s", user_id, error)
            return None
        return tuple(lost)

    # -- Transactions ---------------------------------------------------------

    def _reserve(self, txn: Transaction, user_id: str, plan: Plan, entry: journal.Entry) -> bool:
        """Reserve what an account shall have, or tell that an earlier write was left behind at it."""
        if journal.read(txn, user_id) is not None:
            return False
        txn.execute("SELECT 1 FROM synapse_scim_users WHERE user_id = ?", (user_id,))
        if txn.fetchone():
            raise UserIdTaken(f"{user_id} was taken a moment ago")
        self.records.insert(txn, user_id, "pending", plan.record)
        self._apply(txn, user_id, plan.database_changes)
        journal.write(txn, user_id, entry, ts_ms(plan.record.modified))
        return True

    def _show(
        self, txn: Transaction, user_id: str, entry: journal.Entry, left: tuple[FinalChange, ...]
    ) -> Account | None:
        if not self.records.show(txn, user_id):
            self._apply(txn, user_id, (SetLocked(locked=True),))
            self.offboarding.leave(txn, user_id, frozenset())
        if entry.fetch is not None:
            photo_orders.place(txn, user_id, entry.fetch, self.gateway.now())
        if entry.passwordless:
            self._apply(txn, user_id, (SetPasswordHash(None),))
        self._record(txn, entry.events)
        _go_on(txn, user_id, left)
        return None if left else self.reader.read(txn, [user_id]).get(user_id)

    def _begin_update(
        self,
        txn: Transaction,
        account: Account,
        plan: Plan,
        changes: tuple[DatabaseChange, ...],
        entry: journal.Entry,
    ) -> None:
        if plan.leaves:
            self.offboarding.guard.admit(txn, account.user_id, plan.record.modified)
        self.records.replace(txn, account.user_id, account.record, plan.record, buried=account.deleted)
        self._apply(txn, account.user_id, changes)
        if entry.certain:
            self.offboarding.settle(txn, account, plan)
            self._record(txn, entry.events)
            entry = attrs.evolve(entry, events=())
        if entry.profile or entry.final:
            journal.write(txn, account.user_id, entry, ts_ms(plan.record.modified))

    def _settle(
        self,
        txn: Transaction,
        account: Account,
        plan: Plan,
        changes: tuple[DatabaseChange, ...],
        entry: journal.Entry,
    ) -> None:
        self._apply(txn, account.user_id, changes)
        self.offboarding.settle(txn, account, plan)
        self._record(txn, entry.events)
        _go_on(txn, account.user_id, entry.final)

    def _begin_deletion(
        self,
        txn: Transaction,
        account: Account,
        departure: Departure,
        domain: str,
        changes: tuple[DatabaseChange, ...],
        final: tuple[FinalChange, ...],
        events: tuple[Event, ...],
    ) -> None:
        self.offboarding.delete(txn, account, departure, domain)
        self._apply(txn, account.user_id, changes)
        self._record(txn, events)
        journal.write(txn, account.user_id, journal.Entry(certain=True, final=final), ts_ms(departure.left))

    def _undo(self, txn: Transaction, user_id: str, entry: journal.Entry, events: tuple[Event, ...]) -> None:
        self.records.restore(txn, user_id, entry.former, buried=entry.buried)
        self._apply(txn, user_id, entry.undo)
        self._end(txn, user_id, events)

    def _end(self, txn: Transaction, user_id: str, events: tuple[Event, ...]) -> None:
        self._record(txn, events)
        journal.erase(txn, user_id)

    def _record(self, txn: Transaction, events: tuple[Event, ...]) -> None:
        audit.write(txn, events, self.gateway.now())

    def _apply(self, txn: Transaction, user_id: str, changes: tuple[DatabaseChange, ...]) -> None:
        for change in changes:
            self.gateway.apply(txn, user_id, change)


def _log_unbound(user_id: str, plan: Plan) -> None:
    if plan.unbound:
        logger.info(
            "%d phone numbers of %s are kept, but not bound: no valid international number, a fax or pager, or another"
            " account's",
            plan.unbound,
            user_id,
        )


def _go_on(txn: Transaction, user_id: str, left: tuple[FinalChange, ...]) -> None:
    """Make a write certain: the journal keeps what is left of it."""
    if left:
        journal.write(txn, user_id, journal.Entry(certain=True, final=left), 0)
    else:
        journal.erase(txn, user_id)


def _opposite(change: SetProfileField) -> SetProfileField:
    return SetProfileField(field=change.field, value=change.former, former=change.value)
