"""Whose requests are logged for a while, since an administrator said so on the command line.

Each process looks every minute, so that none has to be restarted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime

import attrs

from synapse_scim.database import Database, Transaction
from synapse_scim.gateway import AccountGateway
from synapse_scim.store.accounts import moment, ts_ms

logger = logging.getLogger(__name__)


@attrs.define(kw_only=True)
class Traces:
    """The clients that are traced for a while, as this process knows them.

    Attributes:
        database: Where all processes find them.
        gateway: The clock.
    """

    database: Database
    gateway: AccountGateway
    _ends: Mapping[str, datetime] = attrs.field(factory=dict, init=False)

    def has(self, client: str) -> bool:
        """Tell whether a client is traced now."""
        end = self._ends.get(client)
        return end is not None and self.gateway.now() < end

    async def look(self) -> None:
        """See who is to be traced, and say whose trace is new."""
        ends = await self.database.run("synapse_scim_traces", _ends)
        now = self.gateway.now()
        for client, end in ends.items():
            if now < end and self._ends.get(client) != end:
                logger.info("What %s does is traced until %s", client, end)
        self._ends = ends

    @staticmethod
    def begin(txn: Transaction, client: str, end: datetime) -> None:
        """Have a client traced, until then and no longer."""
        txn.execute(
            "INSERT INTO synapse_scim_traces (client, end_ts) VALUES (?, ?)"
            " ON CONFLICT (client) DO UPDATE SET end_ts = EXCLUDED.end_ts",
            (client, ts_ms(end)),
        )

    @staticmethod
    def end(txn: Transaction) -> None:
        """Have nobody traced any longer."""
        txn.execute("DELETE FROM synapse_scim_traces")


def _ends(txn: Transaction) -> dict[str, datetime]:
    txn.execute("SELECT client, end_ts FROM synapse_scim_traces")
    return {client: moment(end_ts) for client, end_ts in txn.fetchall()}
