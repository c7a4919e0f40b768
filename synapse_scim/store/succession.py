"""Who takes over the rooms whose last administrator is deactivated."""

from __future__ import annotations

import re
from datetime import timedelta

import attrs

from synapse_scim.accounts import Account
from synapse_scim.config import RoomSuccession
from synapse_scim.database import Database, Transaction
from synapse_scim.gateway import AccountGateway
from synapse_scim.mapping.changes import manager_of
from synapse_scim.steps import HandOver
from synapse_scim.store.accounts import AccountReader
from synapse_scim.store.rights import protection

_MANAGER_FOR = timedelta(days=1)
"""How long somebody must have been the manager: a client that was broken into cannot name one and take the rooms."""


@attrs.frozen(kw_only=True)
class Succession:
    """Finds successors.

    Attributes:
        settings: Whether there are any.
        database: Where accounts are.
        gateway: What the homeserver does.
        reader: Reads accounts.
        protected: Patterns of the user IDs that SCIM leaves alone.
    """

    settings: RoomSuccession
    database: Database
    gateway: AccountGateway
    reader: AccountReader
    protected: tuple[re.Pattern[str], ...]

    async def steps(self, account: Account) -> tuple[HandOver, ...]:
        """Return what hands over the rooms of an account that is about to be deactivated."""
        if not self.settings.enabled:
            return ()
        candidates = [user_id for user_id in (self._manager(account), self.settings.successor) if user_id]

        def read(txn: Transaction) -> dict[str, Account]:
            return self.reader.read(txn, candidates)

        found = await self.database.run("synapse_scim_successors", read)
        fit = tuple(
            user_id
            for user_id in candidates
            if user_id in found and found[user_id].usable and protection(found[user_id], self.protected) is None
        )
        return (HandOver(fit),) if fit else ()

    def _manager(self, account: Account) -> str | None:
        """Return the manager, by user ID, who has been one for long enough."""
        record = account.record
        if record is None or record.manager_since is None:
            return None
        long_enough = self.gateway.now() - record.manager_since > _MANAGER_FOR
        return manager_of(record.attributes) if long_enough else None
