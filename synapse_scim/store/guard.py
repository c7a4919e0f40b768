"""Keeps a client from disabling or deleting everybody, be it by mistake or because it was broken into."""

from __future__ import annotations

import logging
import math
from datetime import datetime

import attrs

from synapse_scim.accounts import GuardRefused
from synapse_scim.config import Guard
from synapse_scim.database import Database, Transaction
from synapse_scim.store.accounts import ts_ms

logger = logging.getLogger(__name__)

_COUNTER = ""
"""The row, of no account, that every change touches: whoever counts waits for those who count already."""


@attrs.define(kw_only=True)
class OffboardingGuard:
    """Counts the accounts that are locked and deleted through SCIM, in all processes together.

    Attributes:
        settings: How many may go.
        database: Where they are counted.
    """

    settings: Guard
    database: Database
    _warned_ts_ms: int | None = attrs.field(default=None, init=False)

    def admit(self, txn: Transaction, user_id: str, now: datetime) -> None:
        """Count an account that is about to be locked or deleted, before anything else in its transaction.

        Raises:
            GuardRefused: Too many went before it, and no administrator let it pass.
        """
        guard = self.settings
        if guard.share is None and guard.count is None:
            return
        now_ms = ts_ms(now)
        window_ms = ts_ms(now) - ts_ms(now - guard.window)
        self.database.see_committed(txn)
        txn.execute(
            "INSERT INTO synapse_scim_guard (user_id, left_ts, allowed) VALUES (?, 0, 0)"
            " ON CONFLICT (user_id) DO UPDATE SET left_ts = synapse_scim_guard.left_ts + 1",
            (_COUNTER,),
        )
        txn.execute(
            "DELETE FROM synapse_scim_guard WHERE user_id <> ? AND left_ts <= ?", (_COUNTER, now_ms - window_ms)
        )
        txn.execute(
            "SELECT COUNT(*), MIN(left_ts) FROM synapse_scim_guard WHERE user_id NOT IN (?, ?)", (_COUNTER, user_id)
        )
        gone, first_ms = txn.fetchone() or (0, None)
        if gone >= guard.at_least and gone >= self._most(txn, now_ms - window_ms) and not self._released(txn):
            retry_after_s = math.ceil(((first_ms or now_ms) + window_ms - now_ms) / 1000)
            self._warn(gone, now_ms, window_ms)
            raise GuardRefused(
                f"{gone} accounts were disabled or deleted within {guard.window}, and the server's guard allows no more"
                " for now; an administrator of the server can let more pass",
                retry_after_s=max(1, retry_after_s),
            )
        txn.execute(
            "INSERT INTO synapse_scim_guard (user_id, left_ts, allowed) VALUES (?, ?, 0)"
            " ON CONFLICT (user_id) DO UPDATE SET left_ts = EXCLUDED.left_ts",
            (user_id, now_ms),
        )

    @staticmethod
    def dismiss(txn: Transaction, user_id: str) -> None:
        """Do not count an account any more that was not locked after all."""
        txn.execute("DELETE FROM synapse_scim_guard WHERE user_id = ?", (user_id,))

    @staticmethod
    def allow(txn: Transaction, accounts: int) -> None:
        """Let so many accounts pass that the guard would refuse."""
        txn.execute(
            "INSERT INTO synapse_scim_guard (user_id, left_ts, allowed) VALUES (?, 0, ?)"
            " ON CONFLICT (user_id) DO UPDATE SET allowed = EXCLUDED.allowed",
            (_COUNTER, accounts),
        )

    def _most(self, txn: Transaction, began_ms: int) -> int:
        """Return how many may go of those who were active when the window began."""
        if self.settings.count is not None:
            return self.settings.count
        txn.execute(
            "SELECT COUNT(*) FROM synapse_scim_users s WHERE s.created_ts <= ? AND (s.state = 'active' AND s.active = 1"
            " OR EXISTS (SELECT 1 FROM synapse_scim_guard g WHERE g.user_id = s.user_id))",
            (began_ms,),
        )
        row = txn.fetchone()
        return math.floor((self.settings.share or 0) * (row[0] if row else 0))

    @staticmethod
    def _released(txn: Transaction) -> bool:
        txn.execute(
            "UPDATE synapse_scim_guard SET allowed = allowed - 1 WHERE user_id = ? AND allowed > 0", (_COUNTER,)
        )
        return txn.rowcount > 0

    def _warn(self, gone: int, now_ms: int, window_ms: int) -> None:
        """Say it once in a window, however often the client tries."""
        if self._warned_ts_ms is None or self._warned_ts_ms + window_ms < now_ms:
            self._warned_ts_ms = now_ms
            logger.warning(
                "The guard refuses to disable or delete more accounts: %d went within %s", gone, self.settings.window
            )
