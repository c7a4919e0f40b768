"""Who may write to an account: one at a time, among all processes."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import attrs
from synapse.storage.database import LoggingTransaction
from synapse.storage.engines import PostgresEngine
from synapse.util.async_helpers import Linearizer
from synapse.util.duration import Duration
from synapse.util.stringutils import random_string

from synapse_scim.accounts import Unavailable
from synapse_scim.homeserver import settings
from synapse_scim.homeserver.clock import DATABASE_NOW_MS
from synapse_scim.homeserver.outages import Outages

if TYPE_CHECKING:
    from synapse.server import HomeServer

logger = logging.getLogger(__name__)

_NAME = "scim_user"
_WAIT_S = 30.0
_POLL_S = (0.01, 0.25)

LEASE_S = 15.0
"""How long a lock outlives its last renewal: as long does the next writer wait after a process was killed."""

RENEWED_EACH_S = 5.0
MARGIN_S = 2.0
"""How long before its end a lease is not relied on any more."""

_SYNAPSES_OWN_MS = 120_000
"""How long a lock outlives its last renewal that Synapse's own code has taken, as version 1 of this module does."""

_QUEUE = "_synapse_scim_queue"
"""The attribute of a homeserver that holds the queue."""

_OURS = "scim "
"""What the holders' names begin with, to tell them from Synapse's."""


@attrs.define(kw_only=True)
class _Lease:
    """A lock that this process holds."""

    user_id: str
    token: str
    until: float
    """When others may take it, by this process's monotonic clock."""
    is_over: bool = False


_present: ContextVar[_Lease | None] = ContextVar("present", default=None)
"""The lease under which whatever runs now writes."""


class AccountLocks:
    """Locks in Synapse's table of them, and such that its own code respects.

    Synapse's own locks will not do: after a process was killed they stay for two minutes; they are dropped when a
    process begins to shut down, while requests are still being answered; and they are compared with the clock of
    whoever wants them, so that two processes whose clocks differ would hold one at the same time.
    """

    def __init__(self, hs: HomeServer, *, shared: bool | None = None, wait_s: float | None = None) -> None:
        """Lock accounts of a homeserver.

        Args:
            hs: The homeserver.
            shared: Whether other processes write to accounts; by default, whether this homeserver has others at all.
            wait_s: For how many seconds to wait when another process holds a lock.
        """
        self._shared = settings.has_other_processes(hs) if shared is None else shared
        self._wait_s = _WAIT_S if wait_s is None else wait_s
        self._clock = hs.get_clock()
        self._pool = hs.get_datastores().main.db_pool
        self._queue = _queue_of(hs)
        self._held: set[str] = set()
        self._leases: dict[str, _Lease] = {}
        self._holder = f"{_OURS}{hs.get_instance_name()} {random_string(8)}"
        self._outages = Outages(hs)
        self._now_ms = (
            DATABASE_NOW_MS
            if isinstance(self._pool.engine, PostgresEngine)
            else "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
        )
        self._abandoned = (len(_OURS), _OURS, int(LEASE_S * 1000), _SYNAPSES_OWN_MS)
        self._clock.looping_call(
            hs.run_as_background_process, Duration(seconds=RENEWED_EACH_S), "synapse_scim_locks", self.renew
        )

    def holds(self, user_id: str) -> bool:
        """Tell whether this process holds the lock of an account."""
        return user_id in self._held

    @asynccontextmanager
    async def lock(self, user_id: str) -> AsyncIterator[None]:
        """Be the only writer at an account: first in this process, in the order of asking, then among all.

        Raises:
            Unavailable: Another process held it for too long.
        """
        async with self._queue.queue(user_id), self._lease(user_id):
            self._held.add(user_id)
            try:
                yield
            finally:
                self._held.discard(user_id)

    @asynccontextmanager
    async def _lease(self, user_id: str) -> AsyncIterator[None]:
        """Hold the lock of an account, if there are other processes that could."""
        if not self._shared:
            yield
            return
        with self._outages.translated():
            lease = await self._acquire(user_id)
        self._leases[user_id] = lease
        outer = _present.get()
        _present.set(lease)
        try:
            yield
        finally:
            _present.set(outer)
            lease.is_over = True
            del self._leases[user_id]
            await self._release(lease)

    async def renew(self) -> None:
        """Renew what this process holds."""
        leases = {lease.token: lease for lease in self._leases.values()}
        until = time.monotonic() + LEASE_S
        if not leases:
            return
        try:
            with self._outages.translated():
                renewed = await self._pool.runInteraction("synapse_scim_renew", self._renew, list(leases))
        except Unavailable:
            logger.warning("%d locks of accounts could not be renewed", len(leases))
        else:
            for token in renewed:
                leases[token].until = until

    async def drop_abandoned(self) -> None:
        """Remove the locks of processes that were killed."""
        await self._pool.runInteraction("synapse_scim_abandoned", self._drop_abandoned)

    # -- Statements -----------------------------------------------------------

    async def _acquire(self, user_id: str) -> _Lease:
        give_up = time.monotonic() + self._wait_s
        pause, longest = _POLL_S
        while True:
            lease = _Lease(user_id=user_id, token=random_string(16), until=time.monotonic() + LEASE_S)
            # A single statement needs no transaction, and without one it does not fail for having been overtaken.
            if await self._pool.runInteraction("synapse_scim_lock", self._insert, lease, db_autocommit=True):
                return lease
            if time.monotonic() > give_up:
                raise Unavailable(f"The account {user_id} is being changed by somebody else; try again later")
            await self._clock.sleep(Duration(seconds=pause * random.uniform(0.5, 1.0)))  # noqa: S311 - no secret # nosec B311
            pause = min(2 * pause, longest)

    def _insert(self, txn: LoggingTransaction, lease: _Lease) -> bool:
        txn.execute(
            "INSERT INTO worker_locks (lock_name, lock_key, instance_name, token, last_renewed_ts)"  # noqa: S608 - constants
            f" VALUES (?, ?, ?, ?, {self._now_ms}) ON CONFLICT (lock_name, lock_key) DO UPDATE SET"
            " instance_name = EXCLUDED.instance_name, token = EXCLUDED.token,"
            " last_renewed_ts = EXCLUDED.last_renewed_ts"
            # The statement may be run again, when nobody knows whether it has been.
            f" WHERE worker_locks.token = EXCLUDED.token OR {self._is_abandoned()}",
            (_NAME, lease.user_id, self._holder, lease.token, *self._abandoned),
        )
        return txn.rowcount > 0

    def _renew(self, txn: LoggingTransaction, tokens: list[str]) -> list[str]:
        marks = ", ".join("?" * len(tokens))
        txn.execute(
            f"UPDATE worker_locks SET last_renewed_ts = {self._now_ms}"  # noqa: S608 - constants and marks
            f" WHERE lock_name = ? AND token IN ({marks}) RETURNING token",
            (_NAME, *tokens),
        )
        return [token for (token,) in txn.fetchall()]

    async def _release(self, lease: _Lease) -> None:
        try:
            with self._outages.translated():
                await self._pool.simple_delete(
                    "worker_locks",
                    {"lock_name": _NAME, "lock_key": lease.user_id, "token": lease.token},
                    desc="synapse_scim_unlock",
                )
        except Unavailable:
            # What was done under it is done; it ends by itself.
            logger.warning("The lock of %s could not be released, and ends in %d seconds", lease.user_id, LEASE_S)

    def _drop_abandoned(self, txn: LoggingTransaction) -> None:
        txn.execute(
            f"DELETE FROM worker_locks WHERE lock_name = ? AND {self._is_abandoned()}",  # noqa: S608 - constants
            (_NAME, *self._abandoned),
        )

    def _is_abandoned(self) -> str:
        """Return the SQL, which has the parameters `_abandoned`, of whether nobody holds a lock any more."""
        return (
            f"worker_locks.last_renewed_ts < {self._now_ms}"
            " - CASE WHEN substr(worker_locks.instance_name, 1, ?) = ? THEN ? ELSE ? END"
        )


def lease_check() -> _LeaseCheck:
    """Return what tells, in any thread, whether the lock under which the caller writes is still held."""
    return _LeaseCheck(_present.get())


@attrs.frozen
class _LeaseCheck:
    """Keeps a writer from writing after its time: a process may be stopped for a while, and go on."""

    _lease: _Lease | None

    def __call__(self) -> None:
        """Return if the lock is held, or none was taken.

        Raises:
            Unavailable: Others may have taken it.
        """
        lease = self._lease
        if lease is not None and not lease.is_over and time.monotonic() > lease.until - MARGIN_S:
            raise Unavailable(f"The lock of {lease.user_id} could not be renewed in time; try again later")


def _queue_of(hs: HomeServer) -> Linearizer:
    """Return the queue of those who write to an account, the same for all instances of the module in a process."""
    queue: Linearizer | None = getattr(hs, _QUEUE, None)
    if queue is None:
        queue = Linearizer(name="synapse_scim", clock=hs.get_clock())
        setattr(hs, _QUEUE, queue)
    return queue
