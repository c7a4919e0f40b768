"""When accounts were changed by somebody other than SCIM.

Synapse tells modules of changes to profiles, identifiers and deactivation. Of locks, suspensions and the like it does
not: they are looked for from time to time.
"""

from __future__ import annotations

import attrs

from synapse_scim.database import Database, Transaction
from synapse_scim.gateway import AccountGateway
from synapse_scim.store.accounts import ts_ms

_FIRST_LOOK = ""
"""The row, of no account, that says when all accounts were looked at last."""


@attrs.frozen(kw_only=True)
class OutsideChanges:
    """Keeps when accounts were changed elsewhere.

    Attributes:
        database: Where that is kept.
        gateway: The clock.
        provider: The single sign-on provider whose subjects are shown of accounts that SCIM does not manage, if any.
    """

    database: Database
    gateway: AccountGateway
    provider: str | None

    async def noticed(self, user_id: str) -> None:
        """Remember that an account has changed, unless it is this module that is changing it."""
        if not self.database.holds(user_id):
            now_ms = ts_ms(self.gateway.now())
            await self.database.run("synapse_scim_noticed", _changed, [user_id], now_ms)

    async def look(self) -> None:
        """Look for changes that nobody told of."""
        await self.database.run("synapse_scim_look", self._look, ts_ms(self.gateway.now()))

    def _look(self, txn: Transaction, now_ms: int) -> None:
        txn.execute("SELECT modified_ts FROM synapse_scim_changes WHERE user_id = ?", (_FIRST_LOOK,))
        last_look = txn.fetchone()
        txn.execute(
            f"SELECT states.user_id, states.state, s.modified_ts FROM ({self._states()}) states"
            " LEFT JOIN synapse_scim_changes c ON c.user_id = states.user_id"
            " LEFT JOIN synapse_scim_users s ON s.user_id = states.user_id"
            " WHERE COALESCE(c.state, '') <> states.state",
            (self.provider,) if self.provider else (),
        )
        rows = txn.fetchall()
        txn.execute_batch(
            "INSERT INTO synapse_scim_changes (user_id, modified_ts, state) VALUES (?, 0, ?)"
            " ON CONFLICT (user_id) DO UPDATE SET state = EXCLUDED.state",
            [(user_id, state) for user_id, state, _ in rows],
        )
        if last_look is not None:
            # What SCIM has changed since the last look is known; what was so at the first look is no change.
            changed = [user_id for user_id, _, modified_ms in rows if (modified_ms or 0) <= last_look[0]]
            _changed(txn, changed, now_ms)
        _changed(txn, [_FIRST_LOOK], now_ms)

    def _states(self) -> str:
        """Return a query of what nobody tells of each account, as text; of most there is nothing."""
        flags = "".join(
            f"CASE WHEN {condition} THEN '{letter}' ELSE '' END || "
            for letter, condition in (
                ("l", "u.locked IS TRUE"),
                ("s", "u.suspended IS TRUE"),
                ("a", "u.admin = 1"),
            )
        )
        subject = (
            "(SELECT MIN(x.external_id) FROM user_external_ids x WHERE x.user_id = u.name AND x.auth_provider = ?"
            " AND NOT EXISTS (SELECT 1 FROM synapse_scim_users m WHERE m.user_id = u.name))"
            if self.provider
            else "NULL"
        )
        state = f"{flags}COALESCE(u.user_type, '') || COALESCE(' ' || {subject}, '')"
        return f"SELECT u.name AS user_id, {state} AS state FROM users u"


def _changed(txn: Transaction, user_ids: list[str], now_ms: int) -> None:
    txn.execute_batch(
        "INSERT INTO synapse_scim_changes (user_id, modified_ts, state) VALUES (?, ?, '')"
        " ON CONFLICT (user_id) DO UPDATE SET modified_ts = EXCLUDED.modified_ts",
        [(user_id, now_ms) for user_id in user_ids],
    )
