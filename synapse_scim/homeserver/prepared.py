"""Has PostgreSQL remember how it runs a statement.

To plan what the module asks takes it several times as long as to run it (docs/performance.md). SQLite's driver
remembers by itself; the driver of PostgreSQL that Synapse uses leaves it to whoever calls it.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

import attrs
from synapse.storage.database import LoggingTransaction
from synapse.storage.engines import BaseDatabaseEngine

from synapse_scim.database import Transaction

logger = logging.getLogger(__name__)

_USES = 3
"""How often a connection runs a statement before it is remembered: what comes once is not worth it."""

_MOST = 50
"""How many statements a connection keeps. A long one takes 190 KiB of the server's memory, its plan included."""

_LONGEST = 20_000
"""The characters of a statement that is kept."""

_KEPT = re.compile(r"((?:SET LOCAL \w+ = \w+; )*)((?:SELECT|INSERT|UPDATE|DELETE|WITH) .*)", re.DOTALL)
"""A statement that can be prepared, behind its settings."""

_NUMBERS = itertools.count(1)

_GONE = ("26000", "0A000")
"""PostgreSQL's codes for a statement that is not there, and for one whose tables have changed."""


class RunAgain(Exception):
    """The transaction has to be run again, by statements that are not remembered."""


class PreparedStatements:
    """The statements that the connections to one database remember, for as long as all of them do as they are told.

    What stands between Synapse and PostgreSQL may hand every transaction to another session, as PgBouncer does when it
    pools transactions: there, nothing is remembered any more after the first attempt.
    """

    def __init__(self, engine: BaseDatabaseEngine[Any, Any]) -> None:
        """Remember nothing yet."""
        self._errors = engine.module
        self._of_connections: WeakKeyDictionary[Any, _Statements] = WeakKeyDictionary()
        self._are_kept = True

    def remembering(self, txn: LoggingTransaction) -> Transaction:
        """Return a transaction whose statements are remembered.

        Its statements raise `RunAgain` when that does not work; they are not remembered then.
        """
        if not self._are_kept:
            return cast("Transaction", txn)
        connection = txn.txn.connection  # type: ignore[attr-defined]
        kept = self._of_connections.get(connection)
        if kept is None:
            kept = self._of_connections[connection] = _Statements()
        return cast("Transaction", _RememberingTransaction(txn, self, kept))

    def run(
        self, txn: LoggingTransaction, kept: _Statements, settings: str, sql: str, parameters: Sequence[Any]
    ) -> None:
        """Run a statement behind the settings that it is planned with, as it was prepared if it is run often."""
        statement = kept.used(txn, sql)
        if statement.uses < _USES:
            txn.execute(settings + sql, parameters)
            return
        if not statement.is_prepared:
            try:
                txn.execute(f"PREPARE {statement.name} AS {_numbered(sql)}")
            except (self._errors.ProgrammingError, self._errors.NotSupportedError) as error:
                raise self._given_up(error) from error
            statement.is_prepared = True
        places = f"({', '.join('?' * len(parameters))})" if parameters else ""
        try:
            txn.execute(f"{settings}EXECUTE {statement.name}{places}", parameters)
        except self._errors.DatabaseError as error:
            if getattr(error, "pgcode", None) in _GONE:
                raise self._given_up(error) from error
            raise

    def _given_up(self, error: Exception) -> RunAgain:
        self._are_kept = False
        logger.warning(
            "PostgreSQL plans each statement anew from now on, which takes it longer: it does not keep them for this"
            " process (%s). A pool between the two that hands out connections by transaction is a reason",
            str(error).partition("\n")[0],
        )
        return RunAgain()


@attrs.define
class _Statement:
    """A statement, how often a connection ran it, and what it is called if it is prepared."""

    name: str
    uses: int = 0
    is_prepared: bool = False


@attrs.define(eq=False)
class _Statements:
    """The statements that a connection ran of late."""

    _last: OrderedDict[str, _Statement] = attrs.field(factory=OrderedDict)

    def used(self, txn: LoggingTransaction, sql: str) -> _Statement:
        """Return a statement that is about to be run, and forget the one that was not for the longest time."""
        statement = self._last.pop(sql, None) or _Statement(f"synapse_scim_{next(_NUMBERS)}")
        self._last[sql] = statement
        statement.uses += 1
        if len(self._last) > _MOST:
            _, forgotten = self._last.popitem(last=False)
            if forgotten.is_prepared:
                txn.execute(f"DEALLOCATE {forgotten.name}")
        return statement


@attrs.frozen
class _RememberingTransaction:
    """One of Synapse's transactions, whose statements are remembered."""

    _txn: LoggingTransaction
    _statements: PreparedStatements
    _kept: _Statements

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        kept = _KEPT.fullmatch(sql) if len(sql) <= _LONGEST else None
        if kept is None:
            self._txn.execute(sql, parameters)
        else:
            self._statements.run(self._txn, self._kept, kept[1], kept[2], parameters)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._txn)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._txn, name)


def _numbered(sql: str) -> str:
    """Return a statement whose parameters bear numbers, as PREPARE wants them."""
    first, *others = sql.split("?")
    return first + "".join(f"${number}{chunk}" for number, chunk in enumerate(others, 1))
