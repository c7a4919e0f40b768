"""Looks at a homeserver's configuration and database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import attrs

from synapse_scim.client.configuration import described, query
from synapse_scim.client.findings import Finding, bad, good
from synapse_scim.config import Config, ConfigurationError, read_secret
from synapse_scim.credentials.clients import ClientTokens
from synapse_scim.credentials.introspection import read_secrets
from synapse_scim.credentials.jwt import read_keys
from synapse_scim.database import Transaction
from synapse_scim.homeserver.description import Description, Unusable
from synapse_scim.homeserver.mas_api import client_secret
from synapse_scim.store.processes import Process, alive, disagreements
from synapse_scim.store.schema import VERSION

_SOON = timedelta(days=30)


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
        description = described(config_paths)
    except Unusable as error:
        advice = "Correct it: Synapse does not start with it either. Run this command as the user that Synapse runs as"
        return Setup(findings=(bad("configuration", str(error), advice),))
    return Setup(
        findings=(
            _module(description),
            *(_files(description.module) if description.module else ()),
            _listeners(description),
            *_database(config_paths),
        ),
        description=description,
    )


def look_at_owner(token: str, description: Description, now: datetime) -> Iterator[Finding]:
    """Yield what the configuration says of the client whose token this is, if it is one's."""
    if description.module is None:
        return
    try:
        client = ClientTokens(description.module.clients, lambda: now).owner(token)
    except ConfigurationError:
        # It was said before.
        return
    if client is None:
        return
    about = f"client {client.name}"
    if client.expires is not None and client.expires - now < _SOON:
        yield bad(
            about, f"its token expires on {client.expires}", "Make another one: synapse-scim token rotate, or token new"
        )
        return
    until = client.expires or "it is taken away"
    yield good(about, f"its token is good for {', '.join(sorted(client.scopes))}, until {until}")


def _module(description: Description) -> Finding:
    if description.module is None:
        return bad(
            "configuration",
            "the module is not loaded",
            "Add 'module: synapse_scim.ScimModule' to 'modules', and restart",
        )
    return good("configuration", f"Synapse reads it, and loads the module, for {description.server_name}")


def _files(config: Config) -> Iterator[Finding]:
    """Say whether the files with tokens, keys and secrets can be used, as far as settings name any."""
    readers: dict[str, Callable[[], object]] = {}
    if config.clients:
        readers["clients"] = partial(ClientTokens, config.clients, lambda: datetime.now(UTC))
    if config.jwt:
        readers["jwt"] = partial(read_keys, config.jwt)
    if config.introspection:
        readers["introspection"] = partial(read_secrets, config.introspection)
    if config.mas:
        readers["mas"] = partial(client_secret, config.mas)
    if config.cursor_secret_path:
        readers["cursor_secret_path"] = partial(read_secret, config.cursor_secret_path, "cursor_secret_path")
    for setting, read in readers.items():
        try:
            read()
        except ConfigurationError as error:
            yield bad(setting, f"'{'.'.join(error.path)}' {error}", "Correct it: Synapse does not start with it either")
        else:
            yield good(setting, "whatever files it names can be read, and hold what they should")


def _listeners(description: Description) -> Finding:
    if not description.client_listeners:
        return bad(
            "listeners",
            "none of the main process serves clients, and SCIM is where clients are",
            "Have one with 'names: [client]', or send the requests to a worker that has",
        )
    return good("listeners", f"clients, and so SCIM, are served by {', '.join(description.client_listeners)}")


def _database(config_paths: Sequence[str]) -> Iterator[Finding]:
    try:
        query(config_paths, lambda txn: txn.execute("SELECT 1"))
    except Unusable as error:
        yield bad("database", f"it cannot be used: {error}", "See that it runs, and that 'database' names it")
        return
    try:
        version = query(config_paths, _tables_version)
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
    yield _processes(query(config_paths, lambda txn: alive(txn, datetime.now(UTC))))


def _processes(processes: Sequence[Process]) -> Finding:
    """Say whether all processes of the homeserver serve the same SCIM."""
    names = ", ".join(process.name for process in processes)
    if not processes:
        return bad("processes", "none that serves SCIM shows a sign of life", "Start Synapse, or see what its log says")
    if settings := disagreements(processes):
        return bad(
            "processes",
            f"{names} do not agree on {', '.join(settings)}",
            "Give all processes the same 'modules' section, and restart them",
        )
    if len({process.version for process in processes}) > 1:
        return bad("processes", f"{names} run different versions of the module", "Restart all of them")
    if not any(process.keeps_schedules for process in processes):
        return bad(
            "processes",
            f"none of {names} keeps the schedules: nobody is deactivated when the time has come",
            "Have the process load the module on which Synapse runs background tasks ('run_background_tasks_on')",
        )
    return good("processes", f"SCIM is served by {names}, with the same settings")


def _tables_version(txn: Transaction) -> int:
    txn.execute("SELECT COALESCE(MAX(version), 0) FROM synapse_scim_schema")
    row = txn.fetchone()
    return int(row[0]) if row else 0
