"""Those whom SCIM disabled or deleted: when they are deactivated, and what they get back if they return."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime

import attrs

from synapse_scim.accounts import Belongings
from synapse_scim.database import Transaction
from synapse_scim.store.accounts import moment, ts_ms
from synapse_scim.store.serialization import from_json, to_json


@attrs.frozen(kw_only=True)
class Departure:
    """Somebody's leaving.

    Attributes:
        erase: Whether the deactivation erases what the account said.
        belongings: What the person gets back.
        left: When SCIM locked or deleted the account.
        deactivate_at: When the account is to be deactivated; `None` if it has been, or never will.
        external_id_hash: By which a deleted person is known who is created again, as `external_id_hash` gives it.
    """

    erase: bool = False
    belongings: Belongings = attrs.field(factory=Belongings)
    left: datetime
    deactivate_at: datetime | None = None
    external_id_hash: str | None = None


@attrs.frozen
class _Kept:
    """The part of a departure that is nobody's search key."""

    erase: bool
    belongings: Belongings


def external_id_hash(secret: bytes, domain: str, external_id: str) -> str:
    """Return what is kept of a deleted person's externalId: enough to know it again, and nothing to read.

    Args:
        secret: The homeserver's secret for this purpose.
        domain: The provisioning domain.
        external_id: The externalId.
    """
    return hmac.new(secret, f"{domain}\0{external_id}".encode(), hashlib.sha256).hexdigest()


def write(txn: Transaction, user_id: str, departure: Departure) -> None:
    """Record a departure, or what has become of it."""
    txn.execute(
        "INSERT INTO synapse_scim_departures (user_id, departure, external_id_hash, left_ts, deactivate_ts, forgotten)"
        " VALUES (?, ?, ?, ?, ?, 0) ON CONFLICT (user_id) DO UPDATE SET departure = EXCLUDED.departure,"
        " external_id_hash = EXCLUDED.external_id_hash, left_ts = EXCLUDED.left_ts,"
        " deactivate_ts = EXCLUDED.deactivate_ts, forgotten = 0",
        (
            user_id,
            to_json(_Kept(departure.erase, departure.belongings)),
            departure.external_id_hash,
            ts_ms(departure.left),
            None if departure.deactivate_at is None else ts_ms(departure.deactivate_at),
        ),
    )


def postpone(txn: Transaction, user_id: str, now: datetime, until: datetime) -> None:
    """Deactivate an account later, if its time has come at all."""
    txn.execute(
        "UPDATE synapse_scim_departures SET deactivate_ts = ? WHERE user_id = ? AND deactivate_ts <= ?",
        (ts_ms(until), user_id, ts_ms(now)),
    )


def read(txn: Transaction, user_id: str) -> Departure | None:
    """Return the departure of an account, if there is one that is not over."""
    txn.execute(
        "SELECT departure, external_id_hash, left_ts, deactivate_ts FROM synapse_scim_departures WHERE user_id = ?",
        (user_id,),
    )
    row = txn.fetchone()
    if row is None:
        return None
    kept = from_json(row[0], _Kept)
    return Departure(
        erase=kept.erase,
        belongings=kept.belongings,
        external_id_hash=row[1],
        left=moment(row[2]),
        deactivate_at=None if row[3] is None else moment(row[3]),
    )


def erase(txn: Transaction, user_id: str) -> None:
    """Forget a departure: the person is back."""
    txn.execute("DELETE FROM synapse_scim_departures WHERE user_id = ?", (user_id,))


def deleted_since(txn: Transaction, known_by: str, since: datetime) -> str | None:
    """Return the user ID of a deleted person who can come back, the one who left last.

    Args:
        txn: The transaction.
        known_by: The hash of the externalId.
        since: Whoever left before is not brought back.
    """
    txn.execute(
        "SELECT user_id FROM synapse_scim_departures WHERE external_id_hash = ? AND left_ts >= ? AND forgotten = 0"
        " ORDER BY left_ts DESC LIMIT 1",
        (known_by, ts_ms(since)),
    )
    row = txn.fetchone()
    return row[0] if row else None


def due(txn: Transaction, now: datetime, limit: int = 100) -> list[str]:
    """Return accounts whose time has come to be deactivated."""
    txn.execute(
        "SELECT user_id FROM synapse_scim_departures WHERE deactivate_ts <= ? ORDER BY deactivate_ts, user_id LIMIT ?",
        (ts_ms(now), limit),
    )
    return [row[0] for row in txn.fetchall()]


def to_forget(txn: Transaction, before: datetime, limit: int = 100) -> list[str]:
    """Return accounts of those who left before a time, and of whom something is still recorded."""
    txn.execute(
        "SELECT user_id FROM synapse_scim_departures WHERE forgotten = 0 AND left_ts < ? AND deactivate_ts IS NULL"
        " ORDER BY left_ts LIMIT ?",
        (ts_ms(before), limit),
    )
    return [row[0] for row in txn.fetchall()]


def forget(txn: Transaction, user_id: str) -> None:
    """Keep of a departure only the user ID, and the hash of the externalId."""
    txn.execute(
        "UPDATE synapse_scim_departures SET departure = ?, forgotten = 1 WHERE user_id = ?",
        (to_json(_Kept(erase=False, belongings=Belongings())), user_id),
    )
