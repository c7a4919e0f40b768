"""The harness itself: what the other tests stand on."""

from __future__ import annotations

import gc
import logging
import os
import socket
import threading
import weakref
from contextlib import closing
from contextvars import ContextVar
from typing import Any, ClassVar, cast

import psycopg2
import pytest
from synapse.config._base import ConfigError
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater

from tests.support.client import ScimClient
from tests.support.configuration import http_listener, merged, scim_module
from tests.support.databases import Databases, Engine
from tests.support.homeserver import LocalHomeserver, StartHomeserver, UnexpectedErrors
from tests.support.homeserver import start_homeserver as start
from tests.support.postgresql import PostgreSQL
from tests.support.process import SpawnedHomeserver, SpawnHomeserver
from tests.support.runner import BlockingRunner
from tests.support.zygote import Forked, Zygote
from tests.web.clients import until


class RefusingModule:
    """A module that refuses to run, as one does that does not fit the server's configuration."""

    ENTRY: ClassVar = {"module": "tests.process.test_harness.RefusingModule", "config": {}}

    def __init__(self, _config: object, _api: object) -> None:
        """Refuse."""
        raise ConfigError("not on this server")

    @staticmethod
    def parse_config(config: object) -> object:
        """Accept any configuration."""
        return config


CLIENT_API = "/_matrix/client"
LOGGER = logging.getLogger("synapse.test")


def client_of(homeserver: LocalHomeserver | SpawnedHomeserver, token: str | None = None) -> ScimClient:
    """Return a client of the client-server API."""
    return ScimClient(homeserver.url, token, prefix=CLIENT_API)


async def owner_of(homeserver: LocalHomeserver | SpawnedHomeserver, token: str) -> Any:
    """Return the user ID that the homeserver says a token belongs to."""
    return (await client_of(homeserver, token).request("GET", "/v3/account/whoami")).json["user_id"]


async def test_local_homeserver_answers(engine: Engine, start_homeserver: StartHomeserver) -> None:
    """A homeserver in this process serves the client-server API on both engines."""
    homeserver = await start_homeserver(engine=engine, module=None)

    response = await client_of(homeserver).request("GET", "/versions")

    assert response.status == 200
    assert "v1.1" in response.json["versions"]


async def test_registered_account_has_its_token(engine: Engine, start_homeserver: StartHomeserver) -> None:
    """A token made by the harness is one that Synapse knows, and `admin` makes a server admin."""
    homeserver = await start_homeserver(engine=engine, module=None)
    user_id = await homeserver.register("ann", admin=True, password="secret", display_name="Ann")
    client = client_of(homeserver)

    assert await owner_of(homeserver, await homeserver.access_token(user_id)) == "@ann:example.org"
    assert await homeserver.hs.get_module_api().is_user_admin(user_id)
    assert (await client.request("GET", f"/v3/profile/{user_id}")).json == {"displayname": "Ann"}
    login = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "ann"}, "password": "secret"}
    assert (await client.request("POST", "/v3/login", login)).status == 200


async def test_homeservers_share_nothing(engine: Engine, start_homeserver: StartHomeserver) -> None:
    """Two homeservers of one process have each their own database, at the same time and one after the other."""
    first = await start_homeserver(engine=engine, module=None)
    await first.register("ann")
    second = await start_homeserver(engine=engine, module=None)

    assert await second.register("ann") == "@ann:example.org"
    assert first.port != second.port


async def test_restart_keeps_the_database(engine: Engine, start_homeserver: StartHomeserver) -> None:
    """After a restart the accounts and tokens are still there, and a changed configuration counts."""
    homeserver = await start_homeserver(engine=engine, module=None)
    token = await homeserver.access_token(await homeserver.register("ann"))

    await homeserver.restart({"public_baseurl": "https://elsewhere.example.org/"})

    assert await owner_of(homeserver, token) == "@ann:example.org"
    assert homeserver.hs.config.server.public_baseurl == "https://elsewhere.example.org/"


async def test_background_updates_are_finished(engine: Engine, start_homeserver: StartHomeserver) -> None:
    """A homeserver has no background update to do, which might change what a test sees."""
    homeserver = await start_homeserver(engine=engine, module=None)
    pool = homeserver.hs.get_datastores().main.db_pool

    assert await pool.simple_select_list("background_updates", None, ["update_name"]) == []


async def test_config_is_merged_and_listeners_replaced(start_homeserver: StartHomeserver) -> None:
    """A test can change any key of the configuration, and choose the listeners."""
    listeners = [http_listener("client", compress=True), http_listener("federation")]
    homeserver = await start_homeserver(
        module=None, config={"rc_login": {"address": {"per_second": 5}}, "max_mau_value": 7}, listeners=listeners
    )

    assert homeserver.hs.config.ratelimiting.rc_login_address.per_second == 5
    assert homeserver.hs.config.ratelimiting.rc_login_account.per_second == 1000
    assert len(set(homeserver.ports)) == 2
    compressed = await client_of(homeserver).request("GET", "/versions", headers={"Accept-Encoding": "gzip"})
    assert compressed.headers["content-encoding"] == "gzip"
    federation = ScimClient(f"http://127.0.0.1:{homeserver.ports[1]}", None, prefix="")
    assert (await federation.request("GET", "/_matrix/client/versions")).status == 404
    assert (await federation.request("GET", "/_matrix/federation/v1/version")).status == 200


async def test_refused_configuration_is_raised(start_homeserver: StartHomeserver) -> None:
    """A refusal reaches the test as it was raised, and the next homeserver starts as if nothing had been."""
    with pytest.raises(ConfigError, match="not on this server"):
        await start_homeserver(module=RefusingModule.ENTRY)

    await start_homeserver(module=None)


async def test_logged_error_fails_the_test(start_homeserver: StartHomeserver) -> None:
    """An ERROR in the log is a failure, shown with its traceback; what was logged at INFO can be read."""
    homeserver = await start_homeserver(module=None)
    LOGGER.info("said in passing")
    LOGGER.error("it broke", exc_info=ValueError("the cause"))

    with pytest.raises(UnexpectedErrors, match=r"(?s)ERROR synapse\.test: it broke\n.*ValueError: the cause"):
        await homeserver.stop()
    assert "said in passing" in [record.getMessage() for record in homeserver.log_records]


async def test_failure_nobody_looked_at_fails_the_test(start_homeserver: StartHomeserver) -> None:
    """A Deferred that failed and was dropped is an error, even if a cycle keeps it until it is collected."""
    homeserver = await start_homeserver(module=None)
    deferred: Deferred[Any] = succeed(None).addCallback(lambda _: 1 // 0)
    deferred.cycle = deferred  # type: ignore[attr-defined]
    del deferred

    with pytest.raises(UnexpectedErrors, match="ZeroDivisionError"):
        await homeserver.stop()


@pytest.mark.expected_errors("it broke")
async def test_expected_error_does_not_fail_the_test(start_homeserver: StartHomeserver) -> None:
    """An error that the test announced is no failure."""
    await start_homeserver(module=None)
    LOGGER.error("it broke")


async def test_stopped_homeserver_is_freed(databases: Databases) -> None:
    """Hundreds of homeservers fit into one process: a stopped one leaves neither objects nor threads."""
    threads = threading.active_count()
    homeserver = await start(databases, module=scim_module())
    synapse = weakref.ref(homeserver.hs)

    await homeserver.stop()

    homeserver.log_records.clear()
    gc.collect()
    assert synapse() is None
    assert threading.active_count() == threads


@pytest.mark.blocking
def test_blocking_test_can_wait_for_the_reactor(runner: BlockingRunner, start_homeserver: StartHomeserver) -> None:
    """A synchronous test marked `blocking` runs coroutines to their end."""

    async def scenario() -> Any:
        homeserver = await start_homeserver(module=None)
        return await owner_of(homeserver, await homeserver.access_token(await homeserver.register("ann")))

    assert runner.run(scenario()) == "@ann:example.org"


@pytest.mark.blocking
def test_runner_keeps_the_context(runner: BlockingRunner) -> None:
    """What a coroutine sets in its context the next one finds: the two ends of an `async with`, run apart."""
    variable = ContextVar("variable", default="unset")

    async def enter() -> None:
        variable.set("set")
        await deferLater(reactor, 0)

    async def read() -> str:
        return variable.get()

    runner.run(enter())

    assert runner.run(read()) == "set"
    assert variable.get() == "unset"


async def test_client_sends_the_path_as_it_stands(start_homeserver: StartHomeserver) -> None:
    """No encoding is undone or added on the way: the server decides what a path means."""
    homeserver = await start_homeserver(module=None)
    path = "/v3/profile/%40ann%3Aex%2Forg/../%zz/a[b]{c}'d'//e;f"

    await client_of(homeserver).request("GET", path, params={"filter": 'userName eq "a/b"'})

    lines = [record.getMessage() for record in homeserver.log_records if record.name.startswith("synapse.access")]
    sent = f"{CLIENT_API}{path}?filter=userName+eq+%22a%2Fb%22"
    assert any(f'"GET {sent} HTTP' in line for line in lines), lines


async def test_spawned_homeserver_answers(engine: Engine, spawn_homeserver: SpawnHomeserver) -> None:
    """A homeserver in a process of its own starts, registers an admin, answers on each listener and stops."""
    listeners = [http_listener("client"), http_listener("client", compress=True), http_listener("federation")]
    homeserver = await spawn_homeserver(engine=engine, module=None, listeners=listeners)
    homeserver.start()

    assert await owner_of(homeserver, homeserver.register_admin()) == "@admin:example.org"
    statuses = [
        (await ScimClient(f"http://127.0.0.1:{port}", None, CLIENT_API).request("GET", "/versions")).status
        for port in homeserver.ports
    ]
    assert statuses == [200, 200, 404]
    homeserver.stop()
    assert "Shutting down" in homeserver.log()


async def test_killed_homeserver_starts_again(engine: Engine, spawn_homeserver: SpawnHomeserver) -> None:
    """After SIGKILL a homeserver starts again on what it had written."""
    homeserver = await spawn_homeserver(engine=engine, module=None)
    homeserver.start()
    token = homeserver.register_admin()

    homeserver.kill()
    homeserver.start()

    assert await owner_of(homeserver, token) == "@admin:example.org"


async def test_forked_homeserver_is_like_a_spawned_one(spawn_homeserver: SpawnHomeserver) -> None:
    """It stops in order, starts again, and ends when whoever started it does, be it by SIGKILL."""
    zygote = Zygote()
    try:
        homeserver = await spawn_homeserver(module=None, launch=zygote.launch)
        homeserver.start()
        token = homeserver.register_admin()
        homeserver.stop()
        assert "Shutting down" in homeserver.log()
        homeserver.start()
        assert await owner_of(homeserver, token) == "@admin:example.org"
        process = cast("Forked", homeserver._process)

        # What the system does for a process that ends.
        process._connection.shutdown(socket.SHUT_RDWR)

        await until(lambda: has_ended(process._process_id))
    finally:
        zygote.stop()


async def has_ended(process_id: int) -> bool:
    """Tell whether there is no such process any more."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return True
    return False


async def test_refused_configuration_ends_the_process(spawn_homeserver: SpawnHomeserver) -> None:
    """What a homeserver prints when it refuses to start can be read."""
    homeserver = await spawn_homeserver(module=RefusingModule.ENTRY)

    refusal = homeserver.run_until_exit()

    assert refusal.code == 1
    assert "not on this server" in refusal.output


async def test_start_that_fails_says_why(spawn_homeserver: SpawnHomeserver) -> None:
    """A homeserver that should have started but did not shows what it printed."""
    homeserver = await spawn_homeserver(module=RefusingModule.ENTRY)

    with pytest.raises(RuntimeError, match="not on this server"):
        homeserver.start()


@pytest.mark.postgres
def test_embedded_postgresql() -> None:
    """The wheel's server runs as well as an installed one, with what Synapse asks of a database."""
    with PostgreSQL(embedded=True) as server:
        template = server.create_database()
        with closing(psycopg2.connect(**server.arguments(template))) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT datcollate, datctype FROM pg_database WHERE datname = current_database()")
            assert cursor.fetchone() == ("C", "C")
            cursor.execute("CREATE TABLE kept (it TEXT)")
            connection.commit()
        copy = server.create_database(template)
        with closing(psycopg2.connect(**server.arguments(copy))) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM kept")
            assert cursor.fetchone() == (0,)
        server.drop_database(copy)
        with pytest.raises(psycopg2.OperationalError, match=copy):
            psycopg2.connect(**server.arguments(copy))


def test_merged_configurations() -> None:
    """Mappings are merged at every depth; lists and scalars are replaced; neither side is changed."""
    base = {"a": {"b": 1, "c": [1]}, "d": 1}

    assert merged(base, {"a": {"c": [2]}, "d": {"e": 2}}) == {"a": {"b": 1, "c": [2]}, "d": {"e": 2}}
    assert base == {"a": {"b": 1, "c": [1]}, "d": 1}
