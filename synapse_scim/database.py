"""What the module asks of the homeserver's database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Transaction(Protocol):
    """A cursor within a transaction. Statements mark their parameters with `?` on both engines.

    A literal `%` is not allowed in a statement: bind it instead.
    """

    @property
    def rowcount(self) -> int:
        """The number of rows that the last statement changed."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement."""

    def execute_batch(self, sql: str, args: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each sequence of parameters."""

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row of the last statement, if any."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the remaining rows of the last statement."""

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Iterate over the rows of the last statement."""


class Database(Protocol):
    """The homeserver's database. Implemented by `synapse_scim.homeserver`.

    Attributes:
        is_postgresql: PostgreSQL, else SQLite.
        conflict: What a statement raises that breaks a uniqueness rule.
    """

    is_postgresql: bool
    conflict: type[Exception]

    def folded(self, expression: str) -> str:
        """Return the SQL that folds a text expression as comparisons without case do, beyond ASCII too."""

    def planning(self, *, reads_all: bool) -> str:
        """Return what to put before the text of a statement that is long and finds little.

        Args:
            reads_all: Whether the statement may have to look at every account.
        """

    async def run(
        self, name: str, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function in a transaction of its own, in a database thread.

        It may run several times, when the database asks for that: it must have no other effects.
        """

    def see_committed(self, txn: Transaction) -> None:
        """Let each statement of a transaction see what others have committed before it; call it before the first.

        For whoever counts what others do. Without it, of those who change the same row at the same time all but one
        fail, and are tried again only a few times.
        """

    def scanning(self) -> AbstractAsyncContextManager[None]:
        """Take a turn at reading every account, which takes long: only so many have one at a time."""

    def bounded(self, txn: Transaction) -> AbstractContextManager[None]:
        """End what runs within the block if it takes too long.

        Raises:
            SearchTooLong: It did.
        """

    def holds(self, user_id: str) -> bool:
        """Tell whether it is this process that holds the lock of an account."""

    def ensure_held(self) -> None:
        """Return if the lock under which the caller writes is still held; each transaction does the same.

        Raises:
            Unavailable: Somebody else may hold it by now.
        """

    def lock(self, user_id: str) -> AbstractAsyncContextManager[None]:
        """Hold what lets a single writer in, among all processes, at an account.

        Raises:
            Unavailable: Somebody else held it for too long.
        """
