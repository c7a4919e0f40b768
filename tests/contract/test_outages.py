"""PostgreSQL is away for a while: nobody gets anything but 503, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from synapse.storage.engines import PostgresEngine
from twisted.enterprise.adbapi import ConnectionLost

from synapse_scim.accounts import Unavailable
from synapse_scim.application import build
from synapse_scim.config import Config
from synapse_scim.homeserver.database import HomeserverDatabase
from synapse_scim.homeserver.outages import Outages
from synapse_scim.mapping.identifiers import fold
from tests.support.databases import Databases
from tests.support.homeserver import LocalHomeserver
from tests.web.clients import Admin, Scim, assert_error, new_user, until, url_of

ANN = "@ann:example.org"
BOB = "@bob:example.org"
# What Twisted and Synapse say of lost connections, each in their own way.
expected = pytest.mark.expected_errors(
    "Rollback failed", "Connection lost", "Background process", "server closed the connection", "Error", "Unhandled"
)


@pytest.mark.homeserver(engine="postgres")
@expected
async def test_a_database_that_is_away(homeserver: LocalHomeserver, databases: Databases) -> None:
    """Reads, writes, logins and maintenance are put off; what was held before is released when it ends by itself."""
    admin = await Admin.of(homeserver)
    await admin.scim.create("ann", title="Clerk")
    maintenance = build(Config(), homeserver.hs).maintenance
    database = HomeserverDatabase(homeserver.hs, fold, shared=True, lock_wait_s=5)
    with homeserver._context():
        await maintenance.start()
        lock = database.lock(BOB)
        await lock.__aenter__()

    databases.postgresql.suspend()
    try:
        await refused(admin.scim)
        with homeserver._context():
            await database._locks.renew()
            await maintenance.notice(ANN)
            with pytest.raises(Unavailable):
                await database.tidy()
            await lock.__aexit__(None, None, None)
    finally:
        databases.postgresql.resume()

    told = [record.getMessage() for record in homeserver.log_records if record.name.startswith("synapse_scim")]
    assert "1 locks of accounts could not be renewed" in told
    assert f"The lock of {BOB} could not be released, and ends in 15 seconds" in told

    async def is_back() -> bool:
        return (await admin.scim.get(url_of(ANN))).status == 200

    await until(is_back)
    assert (await admin.scim.patched(ANN, {"op": "replace", "path": "title", "value": "Boss"}))["title"] == "Boss"
    assert await admin.scim.names() == ["admin", "ann"]


async def refused(scim: Scim) -> None:
    """Check that whatever is asked is put off."""
    for answered in (
        await scim.get(url_of(ANN)),
        await scim.get("/Users"),
        await scim.post("/Users", new_user("carol")),
        await scim.patch(ANN, {"op": "replace", "path": "title", "value": "Dr"}),
        await scim.delete(ANN),
    ):
        assert_error(answered, 503, naming="database does not answer")
        assert int(answered.headers["retry-after"]) > 0


@contextmanager
def nested(first: Exception, second: Exception) -> Iterator[None]:
    """Raise an error while another is handled."""
    try:
        raise first  # noqa: TRY301 - that is what it is for
    except Exception:  # noqa: BLE001 - whatever it is
        raise second from None
    yield


@pytest.mark.homeserver(engine="postgres")
async def test_which_errors_are_outages(homeserver: LocalHomeserver) -> None:
    """Lost connections are, in all of their disguises; what else goes wrong is not, and stays what it is."""
    engine = homeserver.hs.get_datastores().main.database_engine
    assert isinstance(engine, PostgresEngine)
    outages = Outages(homeserver.hs)
    lost = engine.module.OperationalError("server closed the connection\nmore")
    for errors in (lost, lost), (lost, ConnectionLost()), (lost, Exception("wrong connection for thread")):
        with pytest.raises(Unavailable), outages.translated(), nested(*errors):
            pass
    for errors in (lost, ValueError("a bug")), (ValueError("a bug"), Exception("any")):
        with pytest.raises(type(errors[1]), match=str(errors[1])), outages.translated(), nested(*errors):
            pass
    with pytest.raises(Exception, match="any"), outages.translated():
        raise Exception("any")  # noqa: TRY002 - as Twisted does


async def test_sqlite_has_no_outages(homeserver: LocalHomeserver) -> None:
    """A statement that is wrong is a bug, and no reason to try again."""
    module = homeserver.hs.get_datastores().main.database_engine.module
    with pytest.raises(module.OperationalError), Outages(homeserver.hs).translated():
        raise module.OperationalError("no such table")
