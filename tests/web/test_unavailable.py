"""What cannot be served now, and what keeps the homeserver from starting."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from synapse.module_api import ModuleApi
from synapse.module_api.errors import ConfigError
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from synapse_scim.application import build
from synapse_scim.config import Config
from synapse_scim.homeserver.database import HomeserverDatabase
from synapse_scim.mapping.identifiers import fold
from synapse_scim.module import ScimModule
from synapse_scim.resources.endpoint import ScimResource
from synapse_scim.store.errors import UnavailableException
from synapse_scim.store.rights import Rights
from synapse_scim.store.schema import VERSION
from synapse_scim.store.users import UserStorage
from synapse_scim.subject import Subject
from tests.support.client import Response
from tests.support.configuration import scim_module
from tests.support.homeserver import LocalHomeserver, StartHomeserver
from tests.web.clients import Admin, Scim, Synapse, assert_error, assert_scim, new_user, until, url_of

MAS: dict[str, Any] = {
    "matrix_authentication_service": {"enabled": True, "endpoint": "http://127.0.0.1:9", "secret": "shared"},
    "password_config": {"enabled": False},
}


def assert_unavailable(response: Response) -> None:
    """Check that an answer is 503 and says when to ask again (RFC 9110 §10.2.3)."""
    assert_error(response, 503)
    assert int(response.headers["retry-after"]) > 0


async def execute(homeserver: LocalHomeserver, *statements: str) -> None:
    """Run SQL on the homeserver's database."""
    pool = homeserver.hs.get_datastores().main.db_pool
    with homeserver._context():
        for statement in statements:
            await pool.runInteraction("test", lambda txn, sql=statement: txn.execute(sql))


def told(homeserver: LocalHomeserver, level: str) -> str:
    """Return what the module logged."""
    return "\n".join(
        record.getMessage()
        for record in homeserver.log_records
        if record.name.startswith("synapse_scim") and record.levelname == level
    )


# -- Tables -------------------------------------------------------------------


@pytest.mark.usefixtures("engine")
@pytest.mark.expected_errors("The SCIM tables cannot be created or read")
async def test_without_tables_there_is_no_service(admin: Admin) -> None:
    """Where the tables cannot be made, requests are 503 and the log says why; the homeserver itself runs.

    Discovery, which needs no table, is served.
    """
    homeserver = admin.homeserver
    await execute(homeserver, "DROP TABLE synapse_scim_schema", "CREATE TABLE synapse_scim_schema (other BIGINT)")

    await homeserver.restart()

    scim = Scim(homeserver.url, admin.token)

    async def failed() -> bool:
        return bool(told(homeserver, "ERROR"))

    await until(failed)
    assert_unavailable(await scim.get("/Users"))
    assert_unavailable(await scim.post("/Users", new_user("ann")))
    assert_scim(await scim.get("/ServiceProviderConfig"), 200)
    assert (await Synapse(homeserver.url, None).request("GET", "/_matrix/client/versions")).status == 200

    # What runs every now and then leaves it at that, until the tables can be made.
    maintenance = build(Config(), homeserver.hs).maintenance
    await maintenance.in_one_process()
    await maintenance.reconcile()
    await maintenance.notice("@admin:example.org")
    await execute(homeserver, "DROP TABLE synapse_scim_schema")
    await maintenance.in_every_process()
    await maintenance.ready()


@pytest.mark.usefixtures("engine")
async def test_a_newer_version_may_have_run(admin: Admin) -> None:
    """Tables that a newer version has extended are used as far as they are known, with a warning."""
    ann = await admin.scim.create("ann")
    await execute(admin.homeserver, "INSERT INTO synapse_scim_schema SELECT MAX(version) + 1 FROM synapse_scim_schema")

    admin = await admin.restart()

    assert await admin.scim.read(ann["id"]) == ann
    assert f"of version {VERSION + 1}, written by a newer synapse-scim" in told(admin.homeserver, "WARNING")


# -- Locks --------------------------------------------------------------------


@asynccontextmanager
async def locked(homeserver: LocalHomeserver, user_id: str) -> AsyncIterator[None]:
    """Hold what lets a single writer in at an account, as a process beside this one would."""
    lock = await homeserver.hs.get_datastores().main.try_acquire_lock("scim_user", user_id)
    assert lock is not None
    async with lock:
        yield


def patient(homeserver: LocalHomeserver, seconds: float) -> UserStorage:
    """Return the Users, for somebody who waits so long for a lock."""
    database = HomeserverDatabase(homeserver.hs, fold, shared=True, lock_wait_s=seconds)
    store = build(Config(), homeserver.hs, database=database).store
    return UserStorage(store, Rights(subject=Subject(name="okta"), protected=(), users=store.users))


@pytest.mark.usefixtures("engine")
async def test_whoever_waits_for_an_account_gets_it(homeserver: LocalHomeserver, scim: Scim) -> None:
    """A write waits for the one before it, of whatever process, and then happens."""
    ann = await scim.create("ann")
    storage = patient(homeserver, 30)

    async def write() -> str:
        async with storage.writing(ann["id"]) as account:
            return account.user_id

    async with locked(homeserver, ann["id"]):
        written = ensureDeferred(write())
        assert await scim.read(ann["id"]) == ann
        assert not written.called

    assert await written == ann["id"]


@pytest.mark.usefixtures("engine")
async def test_an_account_that_is_never_free_is_unavailable(homeserver: LocalHomeserver, scim: Scim) -> None:
    """Who has waited too long is told to come back: 503, and nothing has changed."""
    ann = await scim.create("ann")
    storage = patient(homeserver, 0.05)
    async with locked(homeserver, ann["id"]):
        with pytest.raises(UnavailableException, match="is being changed by somebody else") as refused:
            async with storage.writing(ann["id"]):
                raise AssertionError("two writers at one account")

    assert (refused.value.status, refused.value.retry_after_s) == (503, 5)
    async with storage.writing(ann["id"]) as account:
        assert account.user_id == ann["id"]


# -- Other processes ----------------------------------------------------------


class Broken(Resource):
    """What a process answers that cannot do its work."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        """Fail."""
        request.setResponseCode(500)
        request.setHeader("Connection", "close")
        return b"{}"


@asynccontextmanager
async def broken_process() -> AsyncIterator[int]:
    """Listen where a process of the homeserver should, and yield the port."""
    port = cast("Any", reactor).listenTCP(0, Site(cast("Any", Broken)()), interface="127.0.0.1")
    yield port.getHost().port
    await port.stopListening()


@pytest.mark.usefixtures("owner")
async def test_a_write_waits_for_the_process_that_writes_profiles(start_homeserver: StartHomeserver) -> None:
    """While that process is away a change is 503; when it is back, nothing of the change is left."""
    homeserver = await start_homeserver()
    admin = await Admin.of(homeserver)
    ann = await admin.scim.create("ann", displayName="Ann")
    async with broken_process() as port:
        await homeserver.restart(
            {
                "instance_map": {
                    "main": {"host": "127.0.0.1", "port": port},
                    "writer": {"host": "127.0.0.1", "port": port},
                },
                "stream_writers": {"events": ["writer"]},
            }
        )
        admin = Admin(homeserver, admin.token)
        await admin._until_scim_answers()
        change = {"op": "replace", "value": {"displayName": "Anna", "title": "Dr"}}

        assert_unavailable(await admin.scim.patch(ann["id"], change))
        # The profile was never changed, so that nothing is left for that process to undo.
        await build_ready(homeserver)
        assert await admin.scim.read(ann["id"]) == ann

    await homeserver.restart({"stream_writers": {"events": ["master"]}})
    admin = Admin(homeserver, admin.token)
    await admin._until_scim_answers()
    await build_ready(homeserver)
    assert await admin.scim.read(ann["id"]) == ann
    changed = await admin.scim.patched(ann["id"], change)
    assert (changed["displayName"], changed["title"]) == ("Anna", "Dr")


async def build_ready(homeserver: LocalHomeserver) -> None:
    """Do what the module does at its start, clean-up included."""
    with homeserver._context():
        await build(ScimModule.parse_config(homeserver.delegation), homeserver.hs).maintenance.start()


# -- What stops the start -----------------------------------------------------


async def test_a_secret_for_cursors_can_be_given(start_homeserver: StartHomeserver, tmp_path: Path) -> None:
    """With `cursor_secret_path` cursors outlive a change of Synapse's own secret; blanks in the file do not count."""
    path = tmp_path / "cursor.key"
    path.write_text("secret\n")
    admin = await Admin.of(await start_homeserver(module=scim_module({"cursor_secret_path": str(path)})))
    for name in ("ann", "bob"):
        await admin.scim.create(name)
    first = (await admin.scim.get("/Users", params={"cursor": "", "count": 1})).json
    path.write_text(" secret")

    await admin.homeserver.restart({"macaroon_secret_key": "another"})

    # Access tokens are not made with that key.
    admin = Admin(admin.homeserver, admin.token)
    await admin._until_scim_answers()
    query: Mapping[str, str | int] = {"cursor": first["nextCursor"], "count": 1}
    second = assert_scim(await admin.scim.get("/Users", params=query), 200)
    assert [user["userName"] for user in (*first["Resources"], *second["Resources"])] == ["admin", "ann"]

    path.write_text("other")
    admin = await admin.restart()
    assert_error(await admin.scim.get("/Users", params=query), 400, "invalidCursor")


async def test_delegated_authentication_is_refused(start_homeserver: StartHomeserver) -> None:
    """Where accounts live in Matrix Authentication Service, SCIM would make some that nobody can use: no start."""
    with pytest.raises(ConfigError, match="'mas' must be given: this homeserver delegates authentication"):
        await start_homeserver(config=MAS)


class UnderDelegation:
    """The endpoints on a homeserver that delegates authentication, which the module itself refuses to serve."""

    def __init__(self, config: Config, api: ModuleApi) -> None:
        """Serve them."""
        hs = api._hs
        application = build(config, hs)
        api.register_web_resource("/_scim", ScimResource(application.endpoint, "/_scim", hs.get_clock()))

    @staticmethod
    def parse_config(_config: Mapping[str, Any]) -> Config:
        """Take no settings."""
        return Config()


@pytest.mark.expected_errors("Failed to introspect token")
async def test_tokens_that_nobody_can_check_now(start_homeserver: StartHomeserver) -> None:
    """When what checks access tokens does not answer, nobody is called a stranger: 503, and ask again."""
    homeserver = await start_homeserver(
        module={"module": f"{__name__}.{UnderDelegation.__qualname__}", "config": {}}, config=MAS
    )

    assert_unavailable(await Scim(homeserver.url, "mat_abc").get(url_of("@ann:example.org")))
