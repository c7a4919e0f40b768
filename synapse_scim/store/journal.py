"""What is left to do, or to undo, of a write that takes several steps.

A write that the database cannot do in one transaction is recorded before its first step, in the transaction that makes
its first changes. The entry goes with the last step. One that is found later was left behind by a failure or a crash.
"""

from __future__ import annotations

from typing import Any

import attrs

from synapse_scim.audit import Event
from synapse_scim.database import Transaction
from synapse_scim.steps import (
    AddExternalId,
    AddThreepid,
    DatabaseChange,
    FinalChange,
    ProfileChange,
    RemoveExternalId,
    RemoveThreepid,
    SetLocked,
    SetPassword,
)
from synapse_scim.store.serialization import from_json, to_json

LATE_MS = 60_000
"""After how long whatever was asked of somebody else, who did not answer, has happened if it ever will."""


@attrs.frozen(kw_only=True)
class Entry:
    """A write that has begun. It holds no passwords.

    Attributes:
        birthmark: What the account bears from its registration on (`AccountGateway.birthmark`); `None` for an account
            that exists. An account that bears it is ours.
        former_birthmark: What it bears before that, if it was registered and given up once.
        born: All steps of the registration have been taken, so that the account is completed whatever it bears.
        passwordless: The account shall have no password; the one that it is registered with is nobody's.
        certain: The write is beyond undoing: what remains is to finish it.
        former: The columns of the record before the write; `None` if there was none.
        buried: The account was deleted before the write, which revives it.
        undo: What takes the database changes back.
        profile: The profile changes to make, or to undo.
        final: The changes to finish with.
        fetch: The photo to fetch once the account is made.
        events: What the audit keeps of the write once it is certain.
    """

    birthmark: str | None = None
    former_birthmark: str | None = None
    born: bool = False
    passwordless: bool = False
    certain: bool = False
    former: tuple[Any, ...] | None = None
    buried: bool = False
    undo: tuple[DatabaseChange, ...] = ()
    profile: tuple[ProfileChange, ...] = ()
    final: tuple[FinalChange, ...] = ()
    fetch: str | None = None
    events: tuple[Event, ...] = ()


def opposite(change: DatabaseChange) -> DatabaseChange:
    """Return the change that takes another back. A password has none: it is changed when the write is certain."""
    match change:
        case AddThreepid(threepid):
            return RemoveThreepid(threepid)
        case RemoveThreepid(threepid):
            return AddThreepid(threepid)
        case AddExternalId(external_id):
            return RemoveExternalId(external_id)
        case RemoveExternalId(external_id):
            return AddExternalId(external_id)
        case SetLocked(locked):
            return SetLocked(not locked)
        case _:
            raise TypeError(f"{type(change).__name__} cannot be undone")


def undo_of(changes: tuple[DatabaseChange, ...]) -> tuple[DatabaseChange, ...]:
    """Return what takes changes back, in the order in which to do so, but for passwords."""
    return tuple(opposite(change) for change in reversed(changes) if not isinstance(change, SetPassword))


def opposite_profile(change: ProfileChange) -> ProfileChange:
    """Return the change of the profile that takes another back."""
    return attrs.evolve(change, value=change.former, former=change.value)


def write(txn: Transaction, user_id: str, entry: Entry, started_ts_ms: int) -> None:
    """Record a write, or what is left of it: of that, the start is known."""
    txn.execute(
        "INSERT INTO synapse_scim_writes (user_id, write, started_ts) VALUES (?, ?, ?)"
        " ON CONFLICT (user_id) DO UPDATE SET write = EXCLUDED.write",
        (user_id, to_json(entry), started_ts_ms),
    )


def postpone(txn: Transaction, user_id: str, entry: Entry, due_ts_ms: int) -> None:
    """Record what is to be made again in a while.

    Whatever was asked of somebody else, who did not answer, may happen until then. Whoever writes to the account before
    makes it again as well.
    """
    erase(txn, user_id)
    write(txn, user_id, entry, due_ts_ms)


def erase(txn: Transaction, user_id: str) -> None:
    """Forget a write: it has ended."""
    txn.execute("DELETE FROM synapse_scim_writes WHERE user_id = ?", (user_id,))


def read(txn: Transaction, user_id: str) -> Entry | None:
    """Return the write that was left behind at an account, if any."""
    txn.execute("SELECT write FROM synapse_scim_writes WHERE user_id = ?", (user_id,))
    row = txn.fetchone()
    return from_json(row[0], Entry) if row else None


def unfinished(txn: Transaction, now_ts_ms: int, limit: int) -> list[str]:
    """Return the user IDs of the accounts where a write has begun and not ended, the oldest first.

    Without those that are postponed. What has begun later than they are due did so before the clock was put back.
    """
    txn.execute(
        "SELECT user_id FROM synapse_scim_writes WHERE started_ts NOT BETWEEN ? AND ?"
        " ORDER BY started_ts, user_id LIMIT ?",
        (now_ts_ms + 1, now_ts_ms + LATE_MS, limit),
    )
    return [row[0] for row in txn.fetchall()]
