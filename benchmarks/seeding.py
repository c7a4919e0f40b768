"""Fills a database with people: the rows that Synapse and the module made of one person, varied in SQL.

A million people would take the module hours. The rows of one, whom the module itself has made, are copied for each of
the others, with their own words in the place of that person's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import psycopg2
import psycopg2.extensions
from psycopg2.extras import execute_values

from benchmarks.people import MODEL_PERSON, person
from tests.support.databases import Database

_TABLES = {
    "users": "name",
    "profiles": "full_user_id",
    "user_threepids": "user_id",
    "user_external_ids": "user_id",
    "user_stats_current": "user_id",
    "user_directory": "user_id",
    "user_directory_search": "user_id",
    "synapse_scim_users": "user_id",
    "synapse_scim_values": "user_id",
}
"""The tables in which a person stands, and the column of the user ID."""

_WORDS = {
    MODEL_PERSON.digits: "p.digits",
    MODEL_PERSON.external_id: "p.external_id",
    MODEL_PERSON.given_name: "p.given_name",
    MODEL_PERSON.given_name.lower(): "lower(p.given_name)",
    MODEL_PERSON.family_name: "p.family_name",
    MODEL_PERSON.family_name.lower(): "lower(p.family_name)",
    MODEL_PERSON.title: "p.title",
    MODEL_PERSON.title.lower(): "lower(p.title)",
    MODEL_PERSON.department: "p.department",
    MODEL_PERSON.department.lower(): "lower(p.department)",
    MODEL_PERSON.manager_id: "p.manager_id",
}
"""The words of the one person, and where those of the others are."""

_CHUNK = 20_000
_COLUMNS = ("number", "digits", "external_id", "given_name", "family_name", "title", "department", "manager_id")


def seed(database: Database, size: int, advance: Callable[[float], None]) -> None:
    """Add people to a database in which `MODEL_PERSON` is; no homeserver may run on it.

    Args:
        database: The database.
        size: How many people there are to be, without that one.
        advance: Told what share of the work has been done since it was last told.
    """
    is_postgresql = database.configuration["name"] == "psycopg2"
    with closing(_connection(database)) as connection, closing(connection.cursor()) as cursor:
        run = _runner(cursor, is_postgresql=is_postgresql)
        indexes = _drop_indexes(run, is_postgresql=is_postgresql)
        copies = [copy for table, column in _TABLES.items() for copy in _copies(run, cursor, table, column)]
        run("CREATE TEMPORARY TABLE people (number BIGINT, user_id TEXT, " + " TEXT, ".join(_COLUMNS[1:]) + " TEXT)")
        for start in range(0, size, _CHUNK):
            numbers = range(start, min(start + _CHUNK, size))
            run("DELETE FROM people")
            _insert_people(cursor, _rows(numbers), is_postgresql=is_postgresql)
            for statement, parameters in copies:
                run(statement, parameters)
            connection.commit()
            advance(0.8 * len(numbers) / size)
        for index in indexes:
            run(index)
        connection.commit()
        advance(0.1)
        if is_postgresql:
            connection.set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_AUTOCOMMIT)
            run("VACUUM ANALYZE")
            run("CHECKPOINT")
        else:
            run("ANALYZE")
            connection.commit()
        advance(0.1)


def _connection(database: Database) -> Any:
    arguments = {key: value for key, value in database.configuration["args"].items() if not key.startswith("cp_")}
    if database.configuration["name"] == "psycopg2":
        return psycopg2.connect(**arguments)
    connection = sqlite3.connect(**arguments)
    for setting in ("synchronous = OFF", "cache_size = -500000", "temp_store = MEMORY"):
        connection.execute(f"PRAGMA {setting}")
    return connection


def _runner(cursor: Any, *, is_postgresql: bool) -> Callable[..., Any]:
    def run(statement: str, parameters: Sequence[Any] = ()) -> Any:
        cursor.execute(statement.replace("?", "%s") if is_postgresql else statement, parameters)
        return cursor

    return run


def _drop_indexes(run: Callable[..., Any], *, is_postgresql: bool) -> list[str]:
    """Drop the indexes of the largest table, which are made faster at the end, and return what makes them."""
    found = run(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'synapse_scim_values'"
        if is_postgresql
        else "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'synapse_scim_values'"
    ).fetchall()
    for name, _ in found:
        run(f"DROP INDEX {name}")
    return [definition for _, definition in found]


def _copies(run: Callable[..., Any], cursor: Any, table: str, column: str) -> Iterator[tuple[str, list[Any]]]:
    """Return, for each row that the one person has in a table, the statement that copies it for everybody."""
    rows = run(f"SELECT * FROM {table} WHERE {column} = ?", (MODEL_PERSON.user_id,)).fetchall()
    names = [description[0] for description in cursor.description]
    for row in rows:
        parameters: list[Any] = []
        expressions = []
        for name, value in zip(names, row, strict=True):
            parameters.append(value)
            expression = "?"
            for word, replacement in _WORDS.items():
                if isinstance(value, str) and word in value:
                    # The parameters stand in the order of the text: the value, then a word for each replacement.
                    expression = f"replace({expression}, ?, {replacement})"
                    parameters.append(word)
            expressions.append(f"CAST({expression} AS tsvector)" if name == "vector" else expression)
        selected = f"SELECT {', '.join(expressions)} FROM people p ORDER BY p.user_id"
        yield f"INSERT INTO {table} ({', '.join(names)}) {selected}", parameters


def _rows(numbers: range) -> list[tuple[Any, ...]]:
    return [(n.number, n.user_id, *(getattr(n, column) for column in _COLUMNS[1:])) for n in map(person, numbers)]


def _insert_people(cursor: Any, rows: list[tuple[Any, ...]], *, is_postgresql: bool) -> None:
    if is_postgresql:
        execute_values(cursor, "INSERT INTO people VALUES %s", rows, page_size=1000)
    else:
        cursor.executemany(f"INSERT INTO people VALUES ({', '.join('?' * len(rows[0]))})", rows)
