"""Databases for homeservers under test, each a copy of a template."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import attrs
import psycopg2

from tests.support.postgresql import PostgreSQL

Engine = Literal["sqlite", "postgres"]


@attrs.frozen(kw_only=True)
class Database:
    """One homeserver's database, and the folder of its other files."""

    folder: Path
    """A folder of its own."""

    configuration: Mapping[str, Any]
    """What Synapse's configuration has under `database`."""

    drop: Callable[[], None]
    """Removes database and folder, whoever still uses them."""

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Execute a statement past Synapse and beside it, and return the rows that it finds, if it looks for any."""
        connect: Any = {"sqlite3": sqlite3, "psycopg2": psycopg2}[self.configuration["name"]].connect
        arguments = {key: value for key, value in self.configuration["args"].items() if not key.startswith("cp_")}
        with closing(connect(**arguments)) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(statement)
            rows: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
            connection.commit()
            return rows


class Databases:
    """Gives each homeserver a database with all of Synapse's tables, its background updates finished.

    That state is made once for each engine, by running a homeserver on an empty database, and copied from then on.
    The PostgreSQL server starts when its first database is asked for.
    """

    def __init__(self, folder: Path, prepare: Callable[[Database], Awaitable[None]]) -> None:
        """Keep everything in a folder.

        Args:
            folder: An empty folder.
            prepare: Runs a homeserver on an empty database until its background updates are finished.
        """
        self._folder = folder
        self._prepare = prepare
        self._sqlite_template: Path | None = None
        self._postgresql_template: str | None = None
        self._postgresql: PostgreSQL | None = None

    async def create(self, engine: Engine) -> Database:
        """Return a new database."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        return await (self._on_sqlite(folder) if engine == "sqlite" else self._on_postgresql(folder))

    @property
    def postgresql(self) -> PostgreSQL:
        """The server, which is started if need be."""
        if self._postgresql is None:
            self._postgresql = PostgreSQL()
        return self._postgresql

    def close(self) -> None:
        """Stop the PostgreSQL server, if it was needed."""
        if self._postgresql is not None:
            self._postgresql.stop()

    async def _on_sqlite(self, folder: Path) -> Database:
        if self._sqlite_template is None:
            template = self._folder / "template"
            template.mkdir()
            await self._prepare(_sqlite_database(template))
            self._sqlite_template = template / "homeserver.db"
        database = _sqlite_database(folder)
        shutil.copy(self._sqlite_template, folder)
        return database

    async def _on_postgresql(self, folder: Path) -> Database:
        server = self.postgresql
        if self._postgresql_template is None:
            template = server.create_database()
            await self._prepare(_postgresql_database(folder, server, template))
            self._postgresql_template = template
        return _postgresql_database(folder, server, server.create_database(self._postgresql_template))


def _sqlite_database(folder: Path) -> Database:
    return Database(
        folder=folder,
        configuration={"name": "sqlite3", "args": {"database": str(folder / "homeserver.db")}},
        drop=lambda: shutil.rmtree(folder),
    )


def _postgresql_database(folder: Path, server: PostgreSQL, name: str) -> Database:
    def drop() -> None:
        server.drop_database(name)
        shutil.rmtree(folder)

    return Database(
        folder=folder,
        configuration={"name": "psycopg2", "args": {**server.arguments(name), "cp_min": 1, "cp_max": 5}},
        drop=drop,
    )
