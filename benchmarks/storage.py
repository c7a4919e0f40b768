"""Databases full of people, on both engines."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests

from benchmarks.floor import PROVIDER
from benchmarks.people import MODEL_PERSON
from benchmarks.seeding import seed
from tests.support.child import free_port
from tests.support.configuration import homeserver_configuration, http_listener, scim_module
from tests.support.databases import Database, Engine
from tests.support.postgresql import PostgreSQL
from tests.support.process import SpawnedHomeserver

CURSOR_SECRET = b"benchmark"

_SETTLE_S = 0.2
_NO_LIMIT = {"per_second": 100_000, "burst_count": 100_000}
_HOMESERVER = {
    # A display name that changes counts as a message of its owner.
    "rc_message": _NO_LIMIT,
    "rc_registration": _NO_LIMIT,
    "background_updates": {"sleep_enabled": False},
}


class Storage:
    """Makes databases of a size, one after the other.

    Attributes:
        cluster: The PostgreSQL server; `None` until it is needed.
    """

    def __init__(self, folder: Path, keep: Path | None) -> None:
        """Work in a folder.

        Args:
            folder: An empty folder, for what goes when the benchmark ends.
            keep: Where databases full of people stay, to be used again; measurements run on copies of them.
        """
        self._folder = folder
        self._keep = keep
        self.cluster: PostgreSQL | None = None

    def close(self) -> None:
        """Stop what runs."""
        if self.cluster is not None:
            self.cluster.stop()

    def database(self, engine: Engine, size: int, advance: Callable[[float], None]) -> Database:
        """Return a database with so many people.

        Args:
            engine: Which database engine.
            size: How many people.
            advance: Told what share of the work has been done since it was last told.
        """
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        if engine == "sqlite":
            return self._on_sqlite(folder, size, advance)
        return self._on_postgresql(folder, size, advance)

    def _on_sqlite(self, folder: Path, size: int, advance: Callable[[float], None]) -> Database:
        file = folder / "homeserver.db"
        database = Database(
            folder=folder,
            configuration={"name": "sqlite3", "args": {"database": str(file)}},
            drop=lambda: shutil.rmtree(folder),
        )
        kept = self._keep / f"people-{size}.db" if self._keep else None
        if kept is not None and kept.exists():
            shutil.copy(kept, file)
            advance(1)
            return database
        _fill(database, size, advance)
        if kept is not None:
            shutil.copy(file, kept)
        return database

    def _on_postgresql(self, folder: Path, size: int, advance: Callable[[float], None]) -> Database:
        cluster = self.cluster = self.cluster or self._start_cluster()
        kept, name = f"people_{size}", "benchmark"
        there = _databases(cluster)
        if (name,) in there:
            # An interrupted run left it.
            cluster.drop_database(name)
        is_there = (kept,) in there
        cluster.create_database(template=kept if is_there else None, name=name)

        def drop() -> None:
            cluster.drop_database(name)
            shutil.rmtree(folder)

        database = Database(
            folder=folder,
            configuration={"name": "psycopg2", "args": {**cluster.arguments(name), "cp_min": 5, "cp_max": 10}},
            drop=drop,
        )
        if is_there:
            advance(1)
            return database
        _fill(database, size, advance)
        if self._keep is not None:
            cluster.create_database(template=name, name=kept)
        return database

    def _start_cluster(self) -> PostgreSQL:
        data = (self._keep or self._folder) / "postgresql"
        if not data.exists():
            data.mkdir(mode=0o700)
            if os.geteuid() == 0:
                owner = pwd.getpwnam("nobody")
                os.chown(data, owner.pw_uid, owner.pw_gid)
        cluster = PostgreSQL(data=data)
        # What it does by itself, and when, would count as work of whoever is being measured.
        cluster._execute("ALTER SYSTEM SET autovacuum = off")
        cluster._execute("SELECT pg_reload_conf()")
        return cluster


def homeserver(database: Database, *, indexes: bool = False) -> SpawnedHomeserver:
    """Return a homeserver with the module and the bare work on a database; it does not run yet.

    Args:
        database: The database.
        indexes: Allow an index on Synapse's own table.
    """
    folder = database.folder
    secret = folder / "cursor-secret"
    secret.write_bytes(CURSOR_SECRET)
    configuration = homeserver_configuration(
        database,
        log_config=_log_config(folder / "homeserver.log"),
        module=None,
        config={
            **_HOMESERVER,
            "modules": [
                scim_module(
                    {
                        "sso": {"idp_id": PROVIDER},
                        "cursor_secret_path": str(secret),
                        "guard": {"max": None},
                        "allow_synapse_indexes": indexes,
                        "limits": {"admin_rate": {"per_second": 1_000_000, "burst_count": 1_000_000}},
                    }
                ),
                {"module": "benchmarks.floor.FloorModule", "config": {}},
            ],
        },
        listeners=[{**http_listener("client"), "port": free_port()}],
    )
    return SpawnedHomeserver(configuration, database)


def _fill(database: Database, size: int, advance: Callable[[float], None]) -> None:
    model = homeserver(database)
    model.start()
    try:
        token = model.register_admin("seeder")
        headers = {"Authorization": f"Bearer {token}"}
        while True:
            answer = requests.post(f"{model.url}/_scim/Users", json=MODEL_PERSON.scim(), headers=headers, timeout=60)
            if answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
                break
            # The tables are not ready yet.
            time.sleep(_SETTLE_S)
        answer.raise_for_status()
        while database.execute("SELECT COUNT(*) FROM background_updates") != [(0,)]:
            time.sleep(_SETTLE_S)
    finally:
        model.stop()
    seed(database, size, advance)


def _databases(cluster: PostgreSQL) -> list[tuple[Any, ...]]:
    server = Database(
        folder=Path(),
        configuration={"name": "psycopg2", "args": cluster.arguments("postgres")},
        drop=lambda: None,
    )
    return server.execute("SELECT datname FROM pg_database")


def _log_config(path: Path) -> dict[str, Any]:
    """Log as Synapse does by default."""
    line = "%(asctime)s - %(name)s - %(lineno)d - %(levelname)s - %(request)s - %(message)s"
    return {
        "version": 1,
        "formatters": {"precise": {"format": line}},
        "handlers": {
            "file": {
                "class": "logging.handlers.TimedRotatingFileHandler",
                "formatter": "precise",
                "filename": str(path),
                "when": "midnight",
                "encoding": "utf8",
            },
            "buffer": {
                "class": "synapse.logging.handlers.PeriodicallyFlushingMemoryHandler",
                "target": "file",
                "capacity": 10,
                "flushLevel": 30,
                "period": 5,
            },
        },
        "root": {"level": "INFO", "handlers": ["buffer"]},
        "disable_existing_loggers": False,
    }
