"""The module's own tables, beside Synapse's: how they are made and brought up to date.

Rules that the database tools of Synapse impose (its `synapse_port_db` among them): TEXT, BIGINT and SMALLINT columns
only, no WITHOUT ROWID, no foreign keys or triggers on Synapse's tables. Every step is additive and can be repeated,
since processes of the former version run beside the new ones during a rolling restart.
"""

from __future__ import annotations

from itertools import chain

import attrs

from synapse_scim.database import Database, Transaction

_ADVISORY_LOCK = 0x5C1_4098
"""Any number that nobody else uses: concurrent CREATE TABLE IF NOT EXISTS fail on PostgreSQL without a lock."""

INDEXED_LENGTH = 128
"""How much of a search value its index holds, in characters: a row of PostgreSQL's indexes has 2,704 bytes at most."""


@attrs.frozen
class Column:
    """A column that a table gets later."""

    table: str
    name: str

    def statement(self, *, is_postgresql: bool) -> str:
        """Return what adds it; on SQLite only where it is missing."""
        condition = "IF NOT EXISTS " if is_postgresql else ""
        return f"ALTER TABLE {self.table} ADD COLUMN {condition}{self.name} TEXT"

    def add(self, txn: Transaction, *, is_postgresql: bool) -> None:
        """Add it, unless it is there."""
        if not is_postgresql:
            # SQLite does not know IF NOT EXISTS for columns.
            txn.execute("SELECT 1 FROM pragma_table_info(?) WHERE name = ?", (self.table, self.name))
            if txn.fetchone():
                return
        txn.execute(self.statement(is_postgresql=is_postgresql))


STEPS: tuple[tuple[str | Column, ...], ...] = (
    (
        # One row for each account that SCIM made or adopted. `state` is pending (being made), active, deleted,
        # or given_up (registered, never shown, see Records.give_up).
        # user_name_key is the userName without case; a deleted account gives its names up, so they are NULL then.
        """
        CREATE TABLE IF NOT EXISTS synapse_scim_users (
            user_id TEXT NOT NULL PRIMARY KEY,
            state TEXT NOT NULL,
            domain TEXT NOT NULL,
            user_name TEXT NOT NULL,
            user_name_key TEXT,
            external_id TEXT,
            attributes TEXT NOT NULL,
            threepids TEXT NOT NULL,
            displayname TEXT,
            avatar_url TEXT,
            photo TEXT,
            active SMALLINT NOT NULL,
            active_removed SMALLINT NOT NULL,
            manager_since_ts BIGINT,
            created_ts BIGINT NOT NULL,
            modified_ts BIGINT NOT NULL,
            revision BIGINT NOT NULL
        )
        """,
        "CREATE UNIQUE INDEX IF NOT EXISTS synapse_scim_users_user_name ON synapse_scim_users (user_name_key)",
        "CREATE INDEX IF NOT EXISTS synapse_scim_users_hidden ON synapse_scim_users (user_id) WHERE state <> 'active'",
        "CREATE UNIQUE INDEX IF NOT EXISTS synapse_scim_users_external_id ON synapse_scim_users (external_id, domain)",
        # What filters and sorting look at: see synapse_scim.mapping.search_values.
        """
        CREATE TABLE IF NOT EXISTS synapse_scim_values (
            user_id TEXT NOT NULL,
            attribute TEXT NOT NULL,
            entry BIGINT NOT NULL,
            value TEXT,
            threepid TEXT
        )
        """,
        "CREATE UNIQUE INDEX IF NOT EXISTS synapse_scim_values_user ON synapse_scim_values (user_id, attribute, entry)",
        f"""
        CREATE INDEX IF NOT EXISTS synapse_scim_values_value
            ON synapse_scim_values (attribute, substr(value, 1, {INDEXED_LENGTH}))
        """,
        # Writes of several steps that have begun and not ended: see synapse_scim.store.journal.
        """
        CREATE TABLE IF NOT EXISTS synapse_scim_writes (
            user_id TEXT NOT NULL PRIMARY KEY,
            write TEXT NOT NULL,
            started_ts BIGINT NOT NULL
        )
        """,
        # Those whom SCIM disabled or deleted: see synapse_scim.store.departures.
        """
        CREATE TABLE IF NOT EXISTS synapse_scim_departures (
            user_id TEXT NOT NULL PRIMARY KEY,
            departure TEXT NOT NULL,
            external_id_hash TEXT,
            left_ts BIGINT NOT NULL,
            deactivate_ts BIGINT,
            forgotten SMALLINT NOT NULL
        )
        """,
        """
        CREATE INDEX IF NOT EXISTS synapse_scim_departures_external_id
            ON synapse_scim_departures (external_id_hash)
        """,
        "CREATE INDEX IF NOT EXISTS synapse_scim_departures_due ON synapse_scim_departures (deactivate_ts)",
        "CREATE INDEX IF NOT EXISTS synapse_scim_departures_left ON synapse_scim_departures (forgotten, left_ts)",
        # When SCIM locked or deleted whom, for as long as the guard looks back: see synapse_scim.store.guard. The row
        # of the empty user ID counts the changes, so that two writers at once are seen by the database; what an
        # administrator let through stands in `allowed`.
        """
        CREATE TABLE IF NOT EXISTS synapse_scim_guard (
            user_id TEXT NOT NULL PRIMARY KEY,
            left_ts BIGINT NOT NULL,
            allowed BIGINT NOT NULL
        )
        """,
        # When somebody other than SCIM changed whom: see synapse_scim.store.outside_changes.
        """
        CREATE TABLE IF NOT EXISTS synapse_scim_changes (
            user_id TEXT NOT NULL PRIMARY KEY,
            modified_ts BIGINT NOT NULL,
            state TEXT NOT NULL
        )
        """,
        # Photos to fetch: see synapse_scim.store.photos.
        """
        CREATE TABLE IF NOT EXISTS synapse_scim_photos (
            user_id TEXT NOT NULL PRIMARY KEY,
            source TEXT NOT NULL,
            attempts BIGINT NOT NULL,
            fetch_ts BIGINT NOT NULL
        )
        """,
    ),
    # What a User looks like, as far as its record says: see synapse_scim.mapping.rendering.
    (Column("synapse_scim_users", "rendering"),),
    (
        # Who wrote what: see synapse_scim.store.audit. What is refused again and again is one row, which counts.
        """
        CREATE TABLE IF NOT EXISTS synapse_scim_audit (
            event_id TEXT NOT NULL PRIMARY KEY,
            ts BIGINT NOT NULL,
            first_ts BIGINT NOT NULL,
            occurrences BIGINT NOT NULL,
            client TEXT NOT NULL,
            credential TEXT,
            request_id TEXT,
            operation TEXT NOT NULL,
            user_id TEXT,
            attributes TEXT NOT NULL,
            outcome TEXT NOT NULL,
            status BIGINT,
            scim_type TEXT
        )
        """,
        "CREATE INDEX IF NOT EXISTS synapse_scim_audit_time ON synapse_scim_audit (ts, event_id)",
        "CREATE INDEX IF NOT EXISTS synapse_scim_audit_client ON synapse_scim_audit (client, ts, event_id)",
        "CREATE INDEX IF NOT EXISTS synapse_scim_audit_user ON synapse_scim_audit (user_id, ts, event_id)",
    ),
    (
        # The processes of the homeserver that serve SCIM: see synapse_scim.store.processes.
        """
        CREATE TABLE IF NOT EXISTS synapse_scim_processes (
            instance TEXT NOT NULL PRIMARY KEY,
            version TEXT NOT NULL,
            settings TEXT NOT NULL,
            schedules SMALLINT NOT NULL,
            seen_ts BIGINT NOT NULL
        )
        """,
    ),
    (
        # Whose requests are logged, and until when: see synapse_scim.store.traces.
        """
        CREATE TABLE IF NOT EXISTS synapse_scim_traces (
            client TEXT NOT NULL PRIMARY KEY,
            end_ts BIGINT NOT NULL
        )
        """,
    ),
)
"""The steps from each version of the tables to the next; the first makes version 1."""

VERSION = len(STEPS)

_VERSIONS = "CREATE TABLE IF NOT EXISTS synapse_scim_schema (version BIGINT NOT NULL PRIMARY KEY)"


def statements() -> list[str]:
    """Return what makes the tables on PostgreSQL where they are missing.

    Of which version they are they do not say yet: whoever fills them, or starts on them, does.
    """
    return [_VERSIONS, *(_statement(part) for part in chain(*STEPS))]


def _statement(part: str | Column) -> str:
    return part.statement(is_postgresql=True) if isinstance(part, Column) else part


def _make(txn: Transaction, part: str | Column, *, is_postgresql: bool) -> None:
    if isinstance(part, Column):
        part.add(txn, is_postgresql=is_postgresql)
    else:
        txn.execute(part)


def _upgrade(txn: Transaction, *, is_postgresql: bool) -> int:
    if is_postgresql:
        txn.execute("SELECT pg_advisory_xact_lock(?)", (_ADVISORY_LOCK,))
    txn.execute(_VERSIONS)
    txn.execute("SELECT MAX(version) FROM synapse_scim_schema")
    row = txn.fetchone()
    found = (row[0] if row else None) or 0
    for number, parts in enumerate(STEPS[found:], start=found + 1):
        for part in parts:
            _make(txn, part, is_postgresql=is_postgresql)
        # A process that waited for the lock still looks at the tables as they were before: the conflict makes
        # PostgreSQL refuse this transaction, and Synapse run it again on what is there now.
        txn.execute("INSERT INTO synapse_scim_schema (version) VALUES (?) ON CONFLICT DO NOTHING", (number,))
    return max(int(found), VERSION)


async def upgrade(database: Database) -> int:
    """Create the tables, or bring them to this version. Safe when several processes start at once.

    Returns:
        The version of the tables: higher than `VERSION` if a newer version of the module has run on them.
    """
    return await database.run("synapse_scim_upgrade", _upgrade, is_postgresql=database.is_postgresql)
