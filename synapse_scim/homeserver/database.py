"""Synapse's database, as the module uses it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing, contextmanager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from synapse.storage.database import LoggingDatabaseConnection, LoggingTransaction
from synapse.storage.engines import PostgresEngine
from synapse.util.async_helpers import Linearizer

from synapse_scim.accounts import SearchTooLong
from synapse_scim.database import Transaction
from synapse_scim.homeserver.clock import DatabaseClock
from synapse_scim.homeserver.locks import AccountLocks, lease_check
from synapse_scim.homeserver.outages import Outages
from synapse_scim.homeserver.prepared import PreparedStatements, RunAgain

if TYPE_CHECKING:
    from synapse.server import HomeServer

P = ParamSpec("P")
T = TypeVar("T")

_MOST_SCANS = 2
"""Of the ten connections, and threads, that a homeserver has by default."""

_SCAN_LIMIT_S = 20.0

_LOOKS_EACH = 1000
"""After how many of its instructions SQLite looks at the clock."""

_CANCELED = "57014"
"""PostgreSQL's code for a statement that was ended."""

_USER_ID_INDEX = "synapse_scim_users_lower_name"

_COLLATIONS = ("pg_unicode_fast", "und-x-icu", "pg_c_utf8")
"""PostgreSQL's collations that fold beyond ASCII, the best first. Servers have at least one of them when they are built
with ICU, as all distributions' are, or are of version 17 and later. Synapse's databases themselves fold ASCII only."""


class HomeserverDatabase:
    """Runs transactions on the homeserver's database."""

    def __init__(
        self,
        hs: HomeServer,
        fold: Callable[[str], str],
        *,
        shared: bool | None = None,
        lock_wait_s: float | None = None,
        scan_limit_s: float = _SCAN_LIMIT_S,
    ) -> None:
        """Use the homeserver's main database.

        Args:
            hs: The homeserver.
            fold: What a text becomes where case does not count.
            shared: Whether other processes write to it; by default, whether this homeserver has others at all.
            lock_wait_s: For how many seconds to wait when another process holds a lock.
            scan_limit_s: For how many seconds a search may look at accounts.
        """
        self._scan_limit_s = scan_limit_s
        self._pool = hs.get_datastores().main.db_pool
        self._locks = AccountLocks(hs, shared=shared, wait_s=lock_wait_s)
        self._clock = DatabaseClock.of(hs)
        self._outages = Outages(hs)
        self._scans = Linearizer(name="synapse_scim_scans", clock=hs.get_clock(), max_count=_MOST_SCANS)
        self._fold = fold
        self._collation: str | None = None
        self._folding: set[Any] = set()
        self._statements = PreparedStatements(self._pool.engine)
        self.is_postgresql = isinstance(self._pool.engine, PostgresEngine)
        self.conflict: type[Exception] = self._pool.engine.module.IntegrityError

    async def prepare(self) -> None:
        """Find out what time it is for this database, and how it folds text. Called once, before anything else."""
        await self._clock.synchronize()
        if self.is_postgresql:
            self._collation = await self.run("synapse_scim_collation", _best_collation)

    def folded(self, expression: str) -> str:
        """Return the SQL that folds a text expression, and orders it by code points, as SQLite and the library do."""
        if not self.is_postgresql:
            return f"scim_fold({expression})"
        collated = f'({expression}) COLLATE "{self._collation}"' if self._collation else expression
        return f'(normalize(lower(normalize({collated}))) COLLATE "C")'

    def planning(self, *, reads_all: bool) -> str:
        """Keep PostgreSQL from what does not pay for a few accounts.

        To compile the statement takes longer than to run it; several processes at once take twice the time of one from
        everybody else; and a merge of accounts and records, where that is not to be read anyway, reads all records up
        to those of the page.
        """
        if not self.is_postgresql:
            return ""
        settings = "SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0; "
        return settings + ("" if reads_all else "SET LOCAL enable_mergejoin = off; ")

    async def run(
        self, name: str, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function in a transaction."""
        ensure_held = lease_check()

        def run(txn: LoggingTransaction) -> T:
            ensure_held()
            transaction: Transaction = txn
            if self.is_postgresql:
                transaction = self._statements.remembering(txn)
            else:
                self._teach_folding(txn.txn.connection)  # type: ignore[attr-defined]
            result = function(transaction, *args, **kwargs)
            ensure_held()
            return result

        with self._outages.translated():
            try:
                return await self._pool.runInteraction(name, run)
            except RunAgain:
                return await self._pool.runInteraction(name, run)

    async def tidy(self) -> None:
        """Look what time it is for the database, and remove the locks of processes that were killed."""
        with self._outages.translated():
            await self._clock.synchronize()
            await self._locks.drop_abandoned()

    def _teach_folding(self, connection: Any) -> None:
        """Give a connection of SQLite the function that folds text. Once: to give it again spoils its statements."""
        if connection not in self._folding:
            connection.create_function("scim_fold", 1, self._fold_or_null, deterministic=True)
            self._folding.add(connection)

    async def index_user_ids(self) -> None:
        """Let Synapse find accounts without regard to case by an index, as it does before each registration.

        On PostgreSQL the index is made without blocking anybody; one whose making was interrupted is made anew. On
        SQLite, where there is one writer anyway, it takes about a second for a million accounts.
        """
        await self._pool.runWithConnection(self._index_user_ids, db_autocommit=True)

    def _index_user_ids(self, connection: LoggingDatabaseConnection) -> None:
        with closing(connection.cursor(txn_name="synapse_scim_index")) as cursor:
            concurrently = ""
            if self.is_postgresql:
                concurrently = "CONCURRENTLY"
                cursor.execute(
                    "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(?) AND NOT indisvalid", (_USER_ID_INDEX,)
                )
                if cursor.fetchone():
                    cursor.execute(f"DROP INDEX CONCURRENTLY {_USER_ID_INDEX}")
            cursor.execute(f"CREATE INDEX {concurrently} IF NOT EXISTS {_USER_ID_INDEX} ON users (lower(name))")
        if not self.is_postgresql:
            connection.commit()

    def see_committed(self, txn: Transaction) -> None:
        """Lower PostgreSQL's level of isolation. SQLite has one writer at a time."""
        if self.is_postgresql:
            txn.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")

    def scanning(self) -> AbstractAsyncContextManager[None]:
        """Take a turn at reading every account. The homeserver's other work needs threads and connections as well."""
        return self._scans.queue("")

    @contextmanager
    def bounded(self, txn: Transaction) -> Iterator[None]:
        """End what runs within the block if it takes too long: others want to search as well."""
        connection: Any = cast("Any", txn).txn.connection
        deadline = time.monotonic() + self._scan_limit_s
        if self.is_postgresql:
            txn.execute(f"SET LOCAL statement_timeout = {max(1, int(self._scan_limit_s * 1000))}")
        else:
            connection.set_progress_handler(lambda: time.monotonic() > deadline, _LOOKS_EACH)
        try:
            yield
        except self._pool.engine.module.OperationalError as error:
            # Synapse would try five times more.
            if getattr(error, "pgcode", None) == _CANCELED or str(error) == "interrupted":
                raise SearchTooLong(
                    f"The search was ended after {self._scan_limit_s:g} seconds; look people up by 'eq', or ask for"
                    " less at a time"
                ) from error
            raise
        finally:
            if not self.is_postgresql:
                connection.set_progress_handler(None, 0)

    def holds(self, user_id: str) -> bool:
        """Tell whether this process holds the lock of an account."""
        return self._locks.holds(user_id)

    def ensure_held(self) -> None:
        """Return if the lock under which the caller writes is still held."""
        lease_check()()

    def lock(self, user_id: str) -> AbstractAsyncContextManager[None]:
        """Be the only writer at an account, among all processes."""
        return self._locks.lock(user_id)

    def _fold_or_null(self, text: Any) -> Any:
        return self._fold(text) if isinstance(text, str) else text


def _best_collation(txn: Transaction) -> str | None:
    txn.execute(
        "SELECT collname FROM pg_collation WHERE collname IN (?, ?, ?) AND collencoding IN"
        " (-1, (SELECT encoding FROM pg_database WHERE datname = current_database()))",
        _COLLATIONS,
    )
    found = {row[0] for row in txn.fetchall()}
    return next((collation for collation in _COLLATIONS if collation in found), None)
