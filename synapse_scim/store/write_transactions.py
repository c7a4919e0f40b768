"""What a write does to the database, each part in a transaction of its own."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from synapse_scim.accounts import Account, UserIdTaken
from synapse_scim.audit import Event
from synapse_scim.database import Transaction
from synapse_scim.gateway import AccountGateway
from synapse_scim.mapping.changes import Plan
from synapse_scim.mapping.rendering import Rendered
from synapse_scim.steps import (
    AnnounceThreepids,
    DatabaseChange,
    FinalChange,
    SetLocked,
    SetPassword,
)
from synapse_scim.store import audit, journal, photo_orders
from synapse_scim.store.accounts import AccountReader, ts_ms
from synapse_scim.store.departures import Departure
from synapse_scim.store.offboarding import Offboarding
from synapse_scim.store.records import Records
from synapse_scim.store.rendering import Renderer


@attrs.frozen(kw_only=True)
class WriteTransactions:
    """The transactions of writes.

    Attributes:
        gateway: What the homeserver does.
        reader: Reads accounts.
        renderer: Reads them as the JSON of Users.
        records: The module's own rows.
        offboarding: What is recorded of those who leave and return.
    """

    gateway: AccountGateway
    reader: AccountReader
    renderer: Renderer
    records: Records
    offboarding: Offboarding

    def _reserve(
        self,
        txn: Transaction,
        user_id: str,
        plan: Plan,
        entry: journal.Entry,
        ensure_free: Callable[[Transaction], bool] | None,
    ) -> journal.Entry | None:
        """Reserve what an account shall have, and record it. Returns `None` if an earlier write was left behind."""
        if ensure_free is None or not ensure_free(txn):
            txn.execute("SELECT state, displayname FROM synapse_scim_users WHERE user_id = ?", (user_id,))
            if row := txn.fetchone():
                # Whatever was left behind has a record.
                if journal.read(txn, user_id) is not None:
                    return None
                state, birthmark = row
                if state != "given_up":
                    raise UserIdTaken(f"{user_id} was taken a moment ago")
                self.records.restore(txn, user_id, None, buried=False)
                entry = attrs.evolve(entry, former_birthmark=birthmark)
        self.records.insert(txn, user_id, "pending", plan.record, are_free=ensure_free is not None)
        self._apply(txn, user_id, plan.database_changes)
        journal.write(txn, user_id, entry, ts_ms(plan.record.modified))
        return entry

    def _bear(self, txn: Transaction, user_id: str, entry: journal.Entry, changes: tuple[DatabaseChange, ...]) -> None:
        self._apply(txn, user_id, changes)
        journal.write(txn, user_id, entry, 0)

    def _show(
        self, txn: Transaction, user_id: str, entry: journal.Entry, left: tuple[FinalChange, ...]
    ) -> Rendered | None:
        if self.gateway.registers_in_steps:
            # Of steps elsewhere, some may have come back from there half-made meanwhile.
            self._apply(txn, user_id, journal.undo_of(entry.undo))
        self.records.show(txn, user_id)
        # From whoever shall not be active, something is taken away in the end.
        if left and not self.records.is_active(txn, user_id):
            self._apply(txn, user_id, (SetLocked(locked=True),))
            self.offboarding.leave(txn, user_id, frozenset())
        if entry.fetch is not None:
            photo_orders.place(txn, user_id, entry.fetch, self.gateway.now())
        if entry.passwordless:
            self._apply(txn, user_id, (SetPassword(None),))
        self._record(txn, entry.events)
        _go_on(txn, user_id, left)
        return None if left else self.renderer.made(txn, user_id)

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
        if entry.final or not entry.certain:
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

    def _undo(
        self,
        txn: Transaction,
        user_id: str,
        entry: journal.Entry,
        events: tuple[Event, ...],
        left: tuple[FinalChange, ...],
        given_up: str | None,
    ) -> None:
        """Undo a write; an account that is given up is remembered by its birthmark."""
        if given_up is None:
            self.records.restore(txn, user_id, entry.former, buried=entry.buried)
        else:
            self.records.give_up(txn, user_id, given_up)
        self._apply(txn, user_id, entry.undo)
        if SetLocked(locked=False) in entry.undo:
            self.offboarding.guard.dismiss(txn, user_id)
        self._record(txn, events)
        _go_on(txn, user_id, left)

    def _expect(self, txn: Transaction, user_id: str, birthmark: str | None, changes: tuple[FinalChange, ...]) -> None:
        """Have a write undone once more, when what was under way may have arrived."""
        # An entry goes with its last step, also where an earlier version finds it.
        final = changes or (AnnounceThreepids(),)
        entry = journal.Entry(certain=True, birthmark=birthmark, final=final)
        journal.postpone(txn, user_id, entry, ts_ms(self.gateway.now()) + journal.LATE_MS)

    def _left_behind(self, txn: Transaction, user_id: str) -> tuple[journal.Entry | None, bool, str | None]:
        """Return the write that was left behind at an account, whether there is one, and its birthmark."""
        entry = journal.read(txn, user_id)
        if entry is None or entry.birthmark is None:
            return entry, True, None
        txn.execute("SELECT 1 FROM users WHERE name = ?", (user_id,))
        return entry, txn.fetchone() is not None, self.gateway.birthmark(txn, user_id)

    def _end(self, txn: Transaction, user_id: str, events: tuple[Event, ...]) -> None:
        self._record(txn, events)
        journal.erase(txn, user_id)

    def _record(self, txn: Transaction, events: tuple[Event, ...]) -> None:
        audit.write(txn, events, self.gateway.now())

    def _apply(self, txn: Transaction, user_id: str, changes: tuple[DatabaseChange, ...]) -> None:
        for change in changes:
            self.gateway.apply(txn, user_id, change)


def _go_on(txn: Transaction, user_id: str, left: tuple[FinalChange, ...]) -> None:
    """Make a write certain: the journal keeps what is left of it."""
    if left:
        journal.write(txn, user_id, journal.Entry(certain=True, final=left), 0)
    else:
        journal.erase(txn, user_id)
