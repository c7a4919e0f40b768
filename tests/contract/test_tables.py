"""How the module's tables come to be on PostgreSQL, where several processes start at once and rights are given."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, gatherResults

from synapse_scim.accounts import Unavailable
from synapse_scim.application import build
from synapse_scim.config import Config
from synapse_scim.homeserver.database import HomeserverDatabase
from synapse_scim.mapping.identifiers import fold
from synapse_scim.store import schema
from tests.support.configuration import scim_module
from tests.support.homeserver import LocalHomeserver, StartHomeserver
from tests.web.clients import STABLE, Scim, assert_error, until

TABLES = ("synapse_scim_schema", "synapse_scim_users", "synapse_scim_values", "synapse_scim_writes")
PROCESSES = 8
LIMITED = "limited"
"""A database user who owns nothing, as Synapse's is after its database was restored by another."""


@pytest.mark.postgres
async def test_processes_that_start_at_once_make_the_tables_once(start_homeserver: StartHomeserver) -> None:
    """Of as many connections as there are processes, each finds the tables made; no matter who made them."""
    connections = {"cp_min": PROCESSES, "cp_max": PROCESSES}
    homeserver = await start_homeserver(engine="postgres", module=None, config={"database": {"args": connections}})
    database = HomeserverDatabase(homeserver.hs, fold)
    for _ in range(5):
        upgrades = [Deferred.fromCoroutine(schema.upgrade(database)) for _ in range(PROCESSES)]

        assert await gatherResults(upgrades) == [schema.VERSION] * PROCESSES

        versions = homeserver._database.execute("SELECT version FROM synapse_scim_schema ORDER BY version")
        assert versions == [(number,) for number in range(1, schema.VERSION + 1)]
        homeserver._database.execute(f"DROP TABLE {', '.join(TABLES)}")


@pytest.mark.postgres
@pytest.mark.expected_errors("The SCIM tables cannot be created or read")
async def test_lack_of_rights_is_said_and_can_be_mended(start_homeserver: StartHomeserver) -> None:
    """As long as the database refuses, clients are told to come back, and the log what to do; no restart is needed."""
    homeserver = await start_homeserver(engine="postgres", module=None)
    token = await homeserver.access_token(await homeserver.register("admin", admin=True))
    administrator = homeserver._database
    administrator.execute(f"CREATE TABLE {TABLES[0]} (version BIGINT NOT NULL PRIMARY KEY)")
    administrator.execute(
        f"DO $$ BEGIN CREATE ROLE {LIMITED} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        f"GRANT ALL ON SCHEMA public TO {LIMITED};"
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {LIMITED};"
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {LIMITED};"
        f"REVOKE ALL ON TABLE {TABLES[0]} FROM {LIMITED};"
    )

    await homeserver.restart({"database": {"args": {"user": LIMITED}}, "modules": [scim_module()]})
    await until(lambda: is_logged(homeserver, "must be allowed to create tables"))

    refusal = await Scim(homeserver.url, token, STABLE).get("/Users")
    assert_error(refusal, 503, naming="the homeserver's log says why")
    assert int(refusal.headers["retry-after"]) > 0

    maintenance = build(Config(), homeserver.hs).maintenance
    await maintenance.in_every_process()
    with pytest.raises(Unavailable):
        await maintenance.ready()
    administrator.execute(f"GRANT ALL ON TABLE {TABLES[0]} TO {LIMITED}")
    await maintenance.in_every_process()
    await maintenance.ready()


async def is_logged(homeserver: LocalHomeserver, text: str) -> bool:
    """Tell whether the homeserver has logged a text."""
    return any(text in record.getMessage() for record in homeserver.log_records)
