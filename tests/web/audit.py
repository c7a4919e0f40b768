"""Reads the audit, as an administrator does."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet.threads import deferToThread

from synapse_scim.commands import main
from tests.web.clients import (
    Admin,
    assert_scim,
)

ADMIN = "@admin:example.org"
JSON = {"Content-Type": "application/scim+json"}
TITLE = {"op": "replace", "path": "title", "value": "Dr"}


async def events(admin: Admin, **params: Any) -> list[dict[str, Any]]:
    """Return what the audit tells a server admin, the latest first."""
    resources: list[dict[str, Any]] = assert_scim(await admin.scim.get("/AuditEvents", params=params), 200)["Resources"]
    return resources


async def told(admin: Admin, *names: str, **params: Any) -> list[tuple[Any, ...]]:
    """Return some of what the audit tells, the earliest first."""
    return [tuple(event.get(name) for name in names) for event in reversed(await events(admin, **params))]


async def execute(admin: Admin, sql: str, *parameters: Any) -> None:
    """Run a statement."""
    pool = admin.homeserver.hs.get_datastores().main.db_pool
    await pool.runInteraction("test", lambda txn: txn.execute(sql, parameters))


def lines(admin: Admin) -> list[dict[str, Any]]:
    """Return what the log of the audit says."""
    return [json.loads(r.getMessage()) for r in admin.homeserver.log_records if r.name == "synapse_scim.audit"]


async def run(admin: Admin, *arguments: str) -> Result:
    """Run a command."""
    path = admin.homeserver.write_configuration()
    return await deferToThread(CliRunner().invoke, main, [*arguments, "--config", str(path)])
