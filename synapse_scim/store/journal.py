"""What is left to do, or to undo, of a write that takes several steps.

A write that the database cannot do in one transaction is recorded before its first step, in the transaction that makes
its first changes. The entry goes with the last step. One that is found later was left behind by a failure or a crash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from synapse_scim.accounts import (
    AddExternalId,
    AddThreepid,
    AnnounceThreepids,
    DatabaseChange,
    Deactivate,
    EndSessions,
    ExternalId,
    FinalChange,
    ProfileChange,
    RemoveExternalId,
    RemoveThreepid,
    SetDisplayname,
    SetLocked,
    Threepid,
)
from synapse_scim.database import Transaction

Change = DatabaseChange | ProfileChange | FinalChange

_CHANGES: Mapping[str, type[Change]] = {
    change.__name__: change
    for change in (
        AddExternalId,
        AddThreepid,
        AnnounceThreepids,
        Deactivate,
        EndSessions,
        RemoveExternalId,
        RemoveThreepid,
        SetDisplayname,
        SetLocked,
    )
}
"""What may stand in the journal: no passwords."""


@attrs.frozen(kw_only=True)
class Entry:
    """A write that has begun.

    Attributes:
        birthmark: The SHA-256 digest, hexadecimal, of the password hash that the account is registered with; `None`
            for an account that exists. An account that bears it is ours, and then the write is certain.
        passwordless: The account shall have no password; the one that it is registered with is nobody's.
        certain: The write is beyond undoing: what remains is to finish it.
        former: The columns of the record before the write; `None` if there was none.
        undo: What takes the database changes back.
        profile: The profile changes to make, or to undo.
        final: The changes to finish with.
    """

    birthmark: str | None = None
    passwordless: bool = False
    certain: bool = False
    former: tuple[Any, ...] | None = None
    undo: tuple[DatabaseChange, ...] = ()
    profile: tuple[ProfileChange, ...] = ()
    final: tuple[FinalChange, ...] = ()


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


def write(txn: Transaction, user_id: str, entry: Entry, started_ts_ms: int) -> None:
    """Record a write, or what is left of it."""
    txn.execute(
        "INSERT INTO synapse_scim_writes (user_id, write, started_ts) VALUES (?, ?, ?)"
        " ON CONFLICT (user_id) DO UPDATE SET write = EXCLUDED.write",
        (user_id, _to_json(entry), started_ts_ms),
    )


def erase(txn: Transaction, user_id: str) -> None:
    """Forget a write: it has ended."""
    txn.execute("DELETE FROM synapse_scim_writes WHERE user_id = ?", (user_id,))


def read(txn: Transaction, user_id: str) -> Entry | None:
    """Return the write that was left behind at an account, if any."""
    txn.execute("SELECT write FROM synapse_scim_writes WHERE user_id = ?", (user_id,))
    row = txn.fetchone()
    return _from_json(row[0]) if row else None


def unfinished(txn: Transaction, limit: int) -> list[str]:
    """Return the user IDs of the accounts where a write has begun and not ended, the oldest first."""
    txn.execute("SELECT user_id FROM synapse_scim_writes ORDER BY started_ts, user_id LIMIT ?", (limit,))
    return [row[0] for row in txn.fetchall()]


def _to_json(entry: Entry) -> str:
    def plain(value: Any) -> Any:
        if isinstance(value, frozenset):
            return sorted((plain(item) for item in value), key=repr)
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        if not attrs.has(type(value)):
            return value
        kind = {"change": type(value).__name__} if type(value).__name__ in _CHANGES else {}
        return kind | {field.name: plain(getattr(value, field.name)) for field in attrs.fields(type(value))}

    return json.dumps(plain(entry), separators=(",", ":"), ensure_ascii=False)


def _from_json(text: str) -> Entry:
    entry = json.loads(text)

    def changes(name: str) -> tuple[Any, ...]:
        return tuple(_change(change) for change in entry[name])

    return Entry(
        birthmark=entry["birthmark"],
        passwordless=entry["passwordless"],
        certain=entry["certain"],
        former=None if entry["former"] is None else tuple(entry["former"]),
        undo=changes("undo"),
        profile=changes("profile"),
        final=changes("final"),
    )


def _change(fields: dict[str, Any]) -> Change:
    values = dict(fields)
    change = _CHANGES[values.pop("change")]
    for name, value in values.items():
        if name == "threepid":
            values[name] = Threepid(**value)
        elif name == "external_id":
            values[name] = ExternalId(**value)
        elif name in {"added", "removed"}:
            values[name] = frozenset(Threepid(**threepid) for threepid in value)
    return change(**values)
