"""Which photos are to be fetched, and when."""

from __future__ import annotations

from datetime import datetime

import attrs

from synapse_scim.database import Transaction
from synapse_scim.store.accounts import ts_ms


@attrs.frozen(kw_only=True)
class Order:
    """A photo to fetch.

    Attributes:
        user_id: Whose avatar it becomes.
        source: Where it is.
        attempts: How often it was tried in vain.
    """

    user_id: str
    source: str
    attempts: int = 0


def place(txn: Transaction, user_id: str, source: str, now: datetime) -> None:
    """Order a photo, in place of whatever was ordered before."""
    txn.execute(
        "INSERT INTO synapse_scim_photos (user_id, source, attempts, fetch_ts) VALUES (?, ?, 0, ?)"
        " ON CONFLICT (user_id) DO UPDATE SET source = EXCLUDED.source, attempts = 0, fetch_ts = EXCLUDED.fetch_ts",
        (user_id, source, ts_ms(now)),
    )


def cancel(txn: Transaction, user_id: str) -> None:
    """Fetch nothing for an account."""
    txn.execute("DELETE FROM synapse_scim_photos WHERE user_id = ?", (user_id,))


def end(txn: Transaction, order: Order) -> None:
    """Fetch a photo no more, unless another has been ordered in its place."""
    txn.execute("DELETE FROM synapse_scim_photos WHERE user_id = ? AND source = ?", (order.user_id, order.source))


def postpone(txn: Transaction, order: Order, until: datetime) -> bool:
    """Try an order again later, unless another has taken its place, or another process has begun with it.

    Returns:
        Whether it is the caller's to carry out now.
    """
    txn.execute(
        "UPDATE synapse_scim_photos SET attempts = ?, fetch_ts = ? WHERE user_id = ? AND source = ? AND attempts = ?",
        (order.attempts + 1, ts_ms(until), order.user_id, order.source, order.attempts),
    )
    return txn.rowcount > 0


def due(txn: Transaction, now: datetime, limit: int = 20) -> list[Order]:
    """Return orders whose time has come."""
    txn.execute(
        "SELECT user_id, source, attempts FROM synapse_scim_photos WHERE fetch_ts <= ? ORDER BY fetch_ts LIMIT ?",
        (ts_ms(now), limit),
    )
    return [Order(user_id=row[0], source=row[1], attempts=row[2]) for row in txn.fetchall()]
