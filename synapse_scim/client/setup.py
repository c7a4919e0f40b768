"""Looks at a homeserver's configuration and database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from synapse_scim.client.findings import Finding, bad, good
from synapse_scim.database import Transaction
from synapse_scim.homeserver.description import Description, Unusable, describe, query_offline
from synapse_scim.store.schema import VERSION


@attrs.frozen(kw_only=True)
class Setup:
    """What was found on the server's own machine.

    Attributes:
        findings: What is to be said of it.
        description: The homeserver, if its configuration can be read.
    """

    findings: tuple[Finding, ...]
    description: Description | None = None


def look_at(config_paths: Sequence[str]) -> Setup:
    """Look at what configuration files say, and at the database that they name."""
    try:
        description = describe(config_paths)
    except Unusable as error:
        advice = "Correct it: Synapse does not start with it either. Run this command as the user that Synapse runs as"
        return Setup(findings=(bad("configuration", str(error), advice),))
    return Setup(
        findings=(_module(description), _listeners(description), *_database(config_paths)), description=description
    )


def _module(description: Description) -> Finding:
    if description.module is None:
        return bad(
            "configuration",
            "the module is not loaded",
            "Add 'module: synapse_scim.ScimModule' to 'modules', and restart",
        )
    return good("configuration", f"Synapse reads it, and loads the module, for {description.server_name}")


def _listeners(description: Description) -> Finding:
    if not description.client_ports:
        return bad(
            "listeners",
            "none of the main process serves clients, and SCIM is where clients are",
            "Have one with 'names: [client]', or send the requests to a worker that has",
        )
    return good(
        "listeners", f"clients, and so SCIM, are served on port {', '.join(map(str, description.client_ports))}"
    )


def _database(config_paths: Sequence[str]) -> Iterator[Finding]:
    try:
        query_offline(config_paths, lambda txn: txn.execute("SELECT 1"))
    except Unusable as error:
        yield bad("database", f"it cannot be used: {error}", "See that it runs, and that 'database' names it")
        return
    try:
        version = query_offline(config_paths, _tables_version)
    except Unusable:
        yield bad("database", "the module's tables are not there", "Start Synapse with the module, which makes them")
        return
    if version != VERSION:
        yield bad(
            "database",
            f"the module's tables have version {version}, and this command knows version {VERSION}",
            "Restart Synapse with the installed version of the module; run this command from the same installation",
        )
        return
    yield good("database", f"it can be reached, and its tables have version {version}")


def _tables_version(txn: Transaction) -> int:
    txn.execute("SELECT COALESCE(MAX(version), 0) FROM synapse_scim_schema")
    row = txn.fetchone()
    return int(row[0]) if row else 0
