"""docs/removing.md: the module is taken out of a homeserver that people use."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.docs.markdown import PAGES
from tests.support.databases import Engine
from tests.support.process import SpawnHomeserver
from tests.web.clients import STABLE, Scim, Synapse

PASSWORD = "correct horse battery"
TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE name LIKE 'synapse_scim%'",
    "postgres": "SELECT relname FROM pg_class WHERE relname LIKE 'synapse_scim%'",
}


def statements() -> list[list[str]]:
    """Return the SQL of the page, block by block."""
    found = re.findall(r"<!-- sql -->\n```sql\n(.*?)```", PAGES["docs/removing.md"], re.DOTALL)
    return [[statement.strip() for statement in block.split(";") if statement.strip()] for block in found]


async def test_nothing_is_left(engine: Engine, spawn_homeserver: SpawnHomeserver) -> None:
    """The page's SQL shows who is locked, unlocks them, and leaves no table; without the module people go on."""
    homeserver = await spawn_homeserver(engine=engine)
    homeserver.start()
    homeserver.wait_until_logged("SCIM is ready")
    token = homeserver.register_admin()
    scim, synapse = Scim(homeserver.url, token, STABLE), Synapse(homeserver.url, token, "")
    for name, active in (("ann", True), ("bob", False)):
        await scim.create(name, active=active, password=PASSWORD)
    assert (await synapse.login("bob", PASSWORD)).status == 401
    unfinished, locked, unlock, *rest = statements()

    assert [homeserver._database.execute(statement) for statement in (*unfinished, *locked)] == [
        [],
        [("@bob:example.org",)],
    ]
    homeserver.stop()
    path = homeserver._folder / "homeserver.yaml"
    configuration: dict[str, Any] = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**configuration, "modules": []}))
    for statement in (*unlock, *(statement for block in rest for statement in block)):
        homeserver._database.execute(statement)
    homeserver.start()

    assert homeserver._database.execute(TABLES[engine]) == []
    assert (await scim.get("/Users")).status == 404
    for name in ("ann", "bob"):
        assert (await synapse.login(name, PASSWORD)).status == 200
