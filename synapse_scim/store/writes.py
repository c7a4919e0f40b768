"""Carries out a write so that it happens whole, or not at all.

The order of a write: what may be refused first, what nothing undoes last.

1. One transaction stores the record, claims the names, makes the database changes and, if steps follow, opens a journal
   entry with what undoes them.
2. The account is registered, or what is not in the database changed: where the accounts belong to somebody else than
   Synapse, and the profile. A failure undoes everything.
3. One transaction makes the write certain: the account in the making is shown, what somebody else might take at once
   is given up, a new password is set.
4. The final changes are made and the entry goes. They are repeated until they succeed.

A write of a single step is one transaction. Whoever writes to an account holds its lock (`Database.lock`), and first
cleans up behind a predecessor that crashed.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from itertools import takewhile
from typing import Any, ParamSpec, TypeVar

import attrs

from synapse_scim.accounts import Account, AccountChangeRefused, AccountError, Unavailable
from synapse_scim.audit import Event, ended, not_given_back
from synapse_scim.database import Database, Transaction
from synapse_scim.mapping.changes import Plan
from synapse_scim.mapping.rendering import Rendered
from synapse_scim.steps import (
    AnnounceThreepids,
    DatabaseChange,
    Deactivate,
    Elsewhere,
    EndSessions,
    FinalChange,
    HandOver,
    ProfileChange,
    RemoveExternalId,
    RemovePushers,
    RemoveThreepid,
    SetLocked,
    SetPassword,
    SetProfileField,
)
from synapse_scim.store import audit, journal
from synapse_scim.store.accounts import ts_ms
from synapse_scim.store.departures import Departure
from synapse_scim.store.write_transactions import WriteTransactions

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Writer(WriteTransactions):
    """Writes accounts and their records.

    Attributes:
        database: Where both are kept.
    """

    database: Database

    async def create(
        self,
        localpart: str,
        plan: Plan,
        password: SetPassword | None,
        event: Event,
        ensure_free: Callable[[Transaction], bool] | None = None,
    ) -> Rendered | None:
        """Register an account with everything that is planned for it, and record that. The caller holds its lock.

        Args:
            localpart: The localpart of its user ID.
            plan: The write.
            password: Its password, if it shall have one.
            event: What the audit keeps of it.
            ensure_free: Raises an `AccountError` in the transaction that reserves the names, if they are not free,
                and tells whether nothing of the account is there at all; `None` if somebody has looked before.

        Returns:
            Its User, if the account is done with already; else it is to be read.

        Raises:
            AccountError: The homeserver refuses; nothing is left behind.
        """
        user_id = f"@{localpart}:{self.gateway.server_name}"
        registration = self.gateway.registration(localpart, plan.record.displayname or localpart, password)
        entry = journal.Entry(
            birthmark=registration.birthmark,
            passwordless=password is None,
            undo=journal.undo_of(plan.database_changes),
            final=(*registration.final, *plan.final_changes),
            fetch=plan.fetch,
            events=(event,),
        )
        user: Rendered | None = None
        reserved: journal.Entry | None = None
        reserve = partial(self._transaction, "reserve", self._reserve, user_id, plan, entry, ensure_free)
        try:
            while (reserved := await reserve()) is None:
                await self.recover(user_id)
            await self._step(self.gateway.register, registration, reserved.former_birthmark)
            if self.gateway.registers_in_steps:
                await self._take_after_registration(user_id, plan, reserved, password)
            user = await self._conclude(user_id, entry)
        except Exception as error:
            # Any: a callback of another module may have failed, in its own way, after the account was made.
            refused = _is_refusal(error)
            is_left = reserved is not None or not refused
            if not (is_left and await self.recover(user_id, crashed=False, refused=refused)):
                raise
            logger.warning("The registration of %s failed after the account was made; it was completed", user_id)
        _log_unbound(user_id, plan)
        return user

    async def update(self, account: Account, plan: Plan, *events: Event) -> None:
        """Change an account as planned, and record that; a deleted one comes back by it. The caller holds its lock.

        Raises:
            AccountError: The homeserver refuses; nothing has changed.
        """
        user_id = account.user_id
        profile, elsewhere = plan.profile_changes, self.gateway.elsewhere(plan.database_changes)
        # What is taken away elsewhere is gone for good, with what depends on it there: once the write is certain.
        removals = tuple(change for change in elsewhere if isinstance(change, RemoveThreepid | RemoveExternalId))
        early = tuple(change for change in elsewhere if change not in removals)
        final: tuple[FinalChange, ...] = (*map(Elsewhere, removals), *plan.final_changes)
        in_steps = bool(profile or early)
        passwords = tuple(change for change in plan.database_changes if isinstance(change, SetPassword))
        # What somebody else might take at once is given up last, and a password is, since nothing brings it back.
        gives_up = RemoveThreepid | RemoveExternalId | SetPassword
        later = tuple(change for change in plan.database_changes if in_steps and isinstance(change, gives_up))
        now = tuple(change for change in plan.database_changes if change not in later)
        entry = journal.Entry(
            certain=not in_steps,
            former=self.records.columns(account.record) if account.record else None,
            buried=account.deleted,
            undo=journal.undo_of(now) if in_steps else (),
            profile=profile,
            final=final,
            events=events,
        )
        async with self._recovering(user_id):
            await self._transaction("update", self._begin_update, account, plan, now, entry)
            await self._change_elsewhere(user_id, (change for change in early if change not in passwords))
            for change in profile:
                await self._step(self.gateway.change_profile, user_id, change)
            # A password last: nothing brings the former one back.
            await self._change_elsewhere(user_id, (change for change in early if change in passwords))
            if in_steps:
                # What was made elsewhere too may have come back from there half-made meanwhile.
                again = plan.database_changes if early else later
                await self._transaction("settle", self._settle, account, plan, again, entry)
        audit.log(*events)
        await self._finish(user_id, final)
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
        # The lock first: whatever is late elsewhere, nobody gets in meanwhile.
        changes: tuple[DatabaseChange, ...] = (
            SetLocked(locked=True),
            *(RemoveThreepid(threepid) for threepid in sorted(account.threepids)),
            *(RemoveExternalId(external_id) for external_id in sorted(account.external_ids)),
        )
        elsewhere: tuple[FinalChange, ...] = tuple(map(Elsewhere, self.gateway.elsewhere(changes)))
        last: tuple[FinalChange, ...] = (
            (EndSessions(),) if departure.deactivate_at else (*handed_over, Deactivate(erase=departure.erase))
        )
        # Pushers first: what becomes of the account elsewhere would have Synapse log the addresses of those of e-mail.
        pushers = (RemovePushers(),) if departure.deactivate_at or elsewhere else ()
        final: tuple[FinalChange, ...] = (*pushers, *elsewhere, *last)
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

    async def recover(self, user_id: str, *, crashed: bool = True, refused: bool = False) -> bool:
        """Finish or undo what a failure or a crash left behind at an account. The caller holds its lock.

        Args:
            user_id: The account.
            crashed: Whoever began the write is gone, and nobody else records how it ended.
            refused: Somebody has refused the write, so that no step of it is under way any more.

        Returns:
            Whether that completed an account in the making.

        Raises:
            Unavailable: What remains to be done cannot be done at the moment, or not be undone.
        """
        entry, registered, birthmark = await self.database.run("synapse_scim_journal", self._left_behind, user_id)
        if entry is None:
            return False
        in_steps = self.gateway.registers_in_steps
        given_up = birthmark if birthmark in {entry.birthmark, entry.former_birthmark} else None
        if entry.certain:
            logger.info("Finishing an interrupted write to %s", user_id)
            if given_up:
                # It was registered, or given something, after it was given up.
                await self._step(self.gateway.give_up, user_id)
            if not await self._finish(user_id, entry.final, again=True):
                raise Unavailable(f"An earlier change to {user_id} is not finished yet; try again later")
            return False
        if entry.born or (given_up and not in_steps):
            logger.info("Completing the account %s, whose creation was interrupted", user_id)
            events = ended(entry.events, "finished") if crashed else entry.events
            await self._conclude(user_id, attrs.evolve(entry, events=events))
            return True
        logger.info("Undoing an interrupted write to %s", user_id)
        if given_up:
            await self._step(self.gateway.give_up, user_id)
        elif in_steps and not (registered or refused):
            # A registration that was sent off may yet happen.
            given_up = entry.birthmark
        profile = await self._made_of_profile(user_id, entry) if crashed else entry.profile
        undone = ended(entry.events, "undone") if crashed else ()
        await self._take_back(user_id, attrs.evolve(entry, profile=profile), given_up, undone, refused=refused)
        return False

    async def unfinished(self, limit: int = 1000) -> list[str]:
        """Return accounts at which a write has begun and not ended, be it under way or left behind."""
        now_ts_ms = ts_ms(self.gateway.now())
        return await self.database.run("synapse_scim_unfinished", journal.unfinished, now_ts_ms, limit)

    # -- Steps ----------------------------------------------------------------

    async def _take_back(
        self, user_id: str, entry: journal.Entry, given_up: str | None, events: tuple[Event, ...], *, refused: bool
    ) -> None:
        """Undo a write. If something may still be under way elsewhere, that is undone once more, later."""
        for change in reversed(entry.profile):
            try:
                await self._step(self.gateway.change_profile, user_id, journal.opposite_profile(change))
            except AccountChangeRefused as error:
                # What was allowed once need not be now. Mostly it is there still, since its successor was refused.
                logger.warning("The former %s of %s cannot be set again: %s", change.field, user_id, error)
        # Who is given up has nothing elsewhere any more.
        left = () if entry.birthmark else tuple(map(Elsewhere, self.gateway.elsewhere(entry.undo)))
        await self._transaction("undo", self._undo, user_id, entry, events, left, given_up)
        audit.log(*events)
        again = tuple(filter(_takes_away, left))
        if refused or not (again or given_up):
            await self._finish(user_id, left)
        elif await self._make(user_id, left) is not None:
            await self._transaction("again", self._expect, user_id, given_up, again)

    async def _take_after_registration(
        self, user_id: str, plan: Plan, entry: journal.Entry, password: SetPassword | None
    ) -> None:
        """Take the steps that an account needs which is registered, and which may be refused."""
        lock = (SetLocked(locked=True),) if plan.leaves else ()
        last = (password,) if password else ()
        await self._change_elsewhere(user_id, self.gateway.elsewhere((*plan.database_changes, *lock, *last)))
        await self._transaction("born", self._bear, user_id, attrs.evolve(entry, born=True), last)

    async def _change_elsewhere(self, user_id: str, changes: Iterable[DatabaseChange]) -> None:
        for change in changes:
            await self._step(self.gateway.change_elsewhere, user_id, change)

    @asynccontextmanager
    async def _recovering(self, user_id: str) -> AsyncIterator[None]:
        """Finish or undo, before the failure goes on, a write that fails within the block."""
        try:
            yield
        except BaseException as error:
            await self.recover(user_id, crashed=False, refused=_is_refusal(error))
            raise

    async def _made_of_profile(self, user_id: str, entry: journal.Entry) -> tuple[ProfileChange, ...]:
        """Return the changes of the profile that an interrupted write made, and that nobody has changed since."""
        if not entry.profile:
            return ()

        def read(txn: Transaction) -> tuple[ProfileChange, ...]:
            account = self.reader.read(txn, [user_id]).get(user_id)
            profile = account.profile if account else {}
            return tuple(change for change in entry.profile if profile.get(change.field) == change.value)

        return await self.database.run("synapse_scim_profile", read)

    async def _step(self, step: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Take a step outside of the database, unless the lock is lost: then it is for the next writer to take."""
        self.database.ensure_held()
        return await step(*args, **kwargs)

    async def _transaction(self, name: str, function: Callable[..., T], *arguments: Any) -> T:
        """Run a step in a transaction. One that lost a race is run again, to see who won and say so."""
        try:
            return await self.database.run(f"synapse_scim_{name}", function, *arguments)
        except self.database.conflict:
            return await self.database.run(f"synapse_scim_{name}", function, *arguments)

    async def _conclude(self, user_id: str, entry: journal.Entry) -> Rendered | None:
        """Show an account that was registered. What does not depend on that is done before, to save a transaction.

        Returns:
            Its User, unless something is still done to the account.
        """
        early = tuple(takewhile(lambda change: isinstance(change, AnnounceThreepids | SetProfileField), entry.final))
        left = entry.final if await self._make(user_id, early) is None else entry.final[len(early) :]
        user = await self._transaction("conclude", self._show, user_id, entry, left)
        audit.log(*entry.events)
        await self._finish(user_id, left)
        return user

    async def _finish(self, user_id: str, changes: tuple[FinalChange, ...], *, again: bool = False) -> bool:
        """Make the final changes. What fails stays in the journal, for the next writer or the next start."""
        if changes:
            lost = await self._make(user_id, changes, again=again)
            if lost is None:
                return False
            events = not_given_back(user_id, lost)
            await self.database.run("synapse_scim_finish", self._end, user_id, events)
            audit.log(*events)
        return True

    async def _make(
        self, user_id: str, changes: tuple[FinalChange, ...], *, again: bool = False
    ) -> tuple[str, ...] | None:
        """Make changes that nothing undoes; return what could not be given back, or `None` if not all are made."""
        lost: list[str] = []
        try:
            for change in changes:
                try:
                    lost += await self._step(self.gateway.finish, user_id, change)
                except AccountChangeRefused as error:
                    # An address that is still not there when the write is finished later has been taken away.
                    if not (again and isinstance(change, AnnounceThreepids)):
                        raise
                    logger.warning("Not everybody hears of the identifiers of %s: %s", user_id, error)
        except AccountError as error:
            logger.warning("A write to %s is certain but not finished yet, and will be: %s", user_id, error)
            return None
        return tuple(lost)


def _is_refusal(error: BaseException) -> bool:
    """Tell whether somebody has said no, rather than not answered."""
    return isinstance(error, AccountError) and not isinstance(error, Unavailable)


def _takes_away(change: FinalChange) -> bool:
    """Tell whether a change leaves less: nobody is unlocked whom an administrator may have locked meanwhile."""
    return isinstance(change, Elsewhere) and change.step != SetLocked(locked=False)


def _log_unbound(user_id: str, plan: Plan) -> None:
    if plan.unbound:
        reasons = "no valid international number, a fax or pager, or another account's"
        logger.info("%d phone numbers of %s are kept, but not bound: %s", plan.unbound, user_id, reasons)
