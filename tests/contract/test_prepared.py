"""PostgreSQL remembers how it runs the module's statements; where it does not, that costs time and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from synapse_scim.database import Transaction
from synapse_scim.homeserver import prepared
from synapse_scim.homeserver.database import HomeserverDatabase
from synapse_scim.mapping.identifiers import fold
from tests.support.homeserver import LocalHomeserver

pytestmark = pytest.mark.homeserver(engine="postgres", config={"database": {"args": {"cp_min": 1, "cp_max": 1}}})

OFTEN = 10
OF_NO_TYPE = "SELECT ? IS NULL"
"""PostgreSQL cannot tell what its parameter is before it has it."""
TOLD = "PostgreSQL plans each statement anew from now on"


@pytest.fixture
def database(homeserver: LocalHomeserver) -> HomeserverDatabase:
    """Return the module's view of its database."""
    return HomeserverDatabase(homeserver.hs, fold)


async def asked(database: HomeserverDatabase, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Return what a statement finds, in a transaction of its own."""

    def ask(txn: Transaction) -> list[tuple[Any, ...]]:
        txn.execute(sql, parameters)
        return list(txn)

    return await database.run("test", ask)


async def remembered(homeserver: LocalHomeserver) -> list[str]:
    """Return the statements about things that the homeserver's connection remembers, the first first."""
    query = "SELECT statement FROM pg_prepared_statements ORDER BY prepare_time"
    statements = await homeserver.hs.get_datastores().main.db_pool.execute("test_remembered", query)
    return [statement.partition(" AS ")[2] for (statement,) in statements if "thing" in statement]


def is_told(homeserver: LocalHomeserver) -> bool:
    """Tell whether the log says that statements are not remembered."""
    return any(TOLD in record.getMessage() for record in homeserver.log_records)


async def test_what_is_asked_often_is_remembered(homeserver: LocalHomeserver, database: HomeserverDatabase) -> None:
    """The answers are the same, whatever the parameters; what is asked twice is not worth remembering."""
    for number in range(OFTEN):
        assert await asked(database, "SELECT CAST(? AS INTEGER) * ? AS thing", number, 2) == [(2 * number,)]
    for _ in range(2):
        assert await asked(database, "SELECT 1 AS thing") == [(1,)]

    assert await remembered(homeserver) == ["SELECT CAST($1 AS INTEGER) * $2 AS thing"]


async def test_settings_for_a_statement_count_when_it_is_remembered(
    homeserver: LocalHomeserver, database: HomeserverDatabase
) -> None:
    """They stand before it, for its transaction alone; what is remembered is the statement."""
    query = "SET LOCAL work_mem = 77; SELECT current_setting('work_mem') || CAST(? AS TEXT) AS thing"
    for number in range(OFTEN):
        assert await asked(database, query, number) == [(f"77kB{number}",)]

    assert await asked(database, "SELECT current_setting('work_mem')") != [("77kB",)]
    assert await remembered(homeserver) == ["SELECT current_setting('work_mem') || CAST($1 AS TEXT) AS thing"]


async def test_what_changes_something_is_undone_with_its_transaction(
    homeserver: LocalHomeserver, database: HomeserverDatabase
) -> None:
    """A statement that is remembered while its transaction fails is so for good; what it did is not."""
    homeserver._database.execute("CREATE TABLE things (thing INTEGER)")

    def fail(txn: Transaction) -> None:
        for thing in range(OFTEN):
            txn.execute("INSERT INTO things (thing) VALUES (?)", (thing,))
            assert txn.rowcount == 1
        raise LookupError

    with pytest.raises(LookupError):
        await database.run("test", fail)

    assert len(await remembered(homeserver)) == 1
    assert await asked(database, "SELECT COUNT(*) FROM things") == [(0,)]


async def test_only_so_many_are_remembered(
    homeserver: LocalHomeserver, database: HomeserverDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that was not asked for the longest time makes room."""
    monkeypatch.setattr(prepared, "_MOST", 2)
    for number in (1, 2, 1, 3):
        for _ in range(OFTEN):
            assert await asked(database, f"SELECT {number} AS thing") == [(number,)]
    await asked(database, "SELECT 4 AS thing")

    assert await remembered(homeserver) == ["SELECT 3 AS thing"]


@pytest.mark.parametrize("forgets", ["DEALLOCATE ALL", "ALTER TABLE things ALTER thing TYPE TEXT"])
async def test_what_the_server_does_not_keep_is_asked_anew(
    homeserver: LocalHomeserver, database: HomeserverDatabase, forgets: str
) -> None:
    """In another session, or when a table has changed, the answer is right, and the log says so.

    A pool between Synapse and PostgreSQL that hands out sessions by transaction has the same effect.
    """
    homeserver._database.execute("CREATE TABLE things (thing INTEGER)")
    homeserver._database.execute("INSERT INTO things VALUES (7)")
    for _ in range(OFTEN):
        await asked(database, "SELECT thing FROM things")

    await homeserver.hs.get_datastores().main.db_pool.runInteraction("test", lambda txn: txn.execute(forgets))
    before = await remembered(homeserver)

    for _ in range(OFTEN):
        assert [str(thing) for (thing,) in await asked(database, "SELECT thing FROM things")] == ["7"]
    assert is_told(homeserver)
    assert await remembered(homeserver) == before


async def test_what_cannot_be_told_beforehand_is_asked_anew(
    homeserver: LocalHomeserver, database: HomeserverDatabase
) -> None:
    """The transaction is run again from its start, and nothing is done twice."""
    homeserver._database.execute("CREATE TABLE things (thing INTEGER)")

    def ask(txn: Transaction) -> bool:
        txn.execute("INSERT INTO things (thing) VALUES (?)", (1,))
        txn.execute(OF_NO_TYPE, (None,))
        row = txn.fetchone()
        return bool(row and row[0])

    for _ in range(OFTEN):
        assert await database.run("test", ask)

    assert await asked(database, "SELECT COUNT(*) FROM things") == [(OFTEN,)]
    assert is_told(homeserver)


async def test_a_statement_that_fails_is_no_reason(homeserver: LocalHomeserver, database: HomeserverDatabase) -> None:
    """What a remembered statement is refused for is told to whoever asked, and it goes on being remembered."""
    homeserver._database.execute("CREATE TABLE things (thing INTEGER UNIQUE)")
    for thing in range(OFTEN):
        await asked(database, "INSERT INTO things (thing) VALUES (?) RETURNING thing", thing)

    with pytest.raises(database.conflict):
        await asked(database, "INSERT INTO things (thing) VALUES (?) RETURNING thing", 1)

    assert len(await remembered(homeserver)) == 1
    assert not is_told(homeserver)
