"""Accounts whose user IDs hold capitals."""

from __future__ import annotations

import attrs

from synapse_scim.database import Database, Transaction


@attrs.define
class HistoricalUserIds:
    """The user IDs with capitals, of the first years of Matrix (Matrix specification, "Historical User IDs").

    A `userName` is looked up without regard to case, for which the homeserver's table of accounts has no index. No such
    account can arise any more, so they are read once.

    Attributes:
        database: Where accounts are.
    """

    database: Database
    _by_lower_case: dict[str, list[str]] = attrs.field(factory=dict, init=False)

    async def load(self) -> None:
        """Read them."""
        for user_id in await self.database.run("synapse_scim_historical", _with_capitals):
            self._by_lower_case.setdefault(user_id.lower(), []).append(user_id)

    def like(self, user_id: str) -> list[str]:
        """Return those that equal a user ID but for the case."""
        return self._by_lower_case.get(user_id, [])


def _with_capitals(txn: Transaction) -> list[str]:
    txn.execute("SELECT name FROM users WHERE name <> lower(name)")
    return [row[0] for row in txn.fetchall()]
