"""How much is still to be done."""

from __future__ import annotations

from collections.abc import Mapping

from synapse_scim.database import Transaction

_COUNTED: Mapping[str, str] = {
    "deactivation": "synapse_scim_departures WHERE deactivate_ts IS NOT NULL",
    "write": "synapse_scim_writes",
    "photo": "synapse_scim_photos",
}


def count(txn: Transaction) -> dict[str, int]:
    """Return how many accounts wait to be deactivated, writes to be finished, and photos to be fetched."""
    txn.execute(" UNION ALL ".join(f"SELECT '{kind}', COUNT(*) FROM {rows}" for kind, rows in _COUNTED.items()))
    return dict(txn.fetchall())
