"""The lock of an account: how long it lasts, and what becomes of a writer who has lost it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from synapse.logging.context import PreserveLoggingContext, make_deferred_yieldable, run_in_background
from twisted.internet.defer import Deferred

from synapse_scim.accounts import Unavailable
from synapse_scim.homeserver.database import HomeserverDatabase
from synapse_scim.homeserver.locks import LEASE_S
from synapse_scim.mapping.identifiers import fold
from synapse_scim.store import schema
from tests.support.databases import Engine
from tests.support.homeserver import LocalHomeserver

ANN = "@ann:example.org"
BOB = "@bob:example.org"


@pytest.fixture
def database(homeserver: LocalHomeserver, engine: Engine) -> HomeserverDatabase:
    """The homeserver's database, which other processes write to as well."""
    assert engine in {"sqlite", "postgres"}
    return HomeserverDatabase(homeserver.hs, fold, shared=True, lock_wait_s=0.2)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """What is added to the time of this process, but not to that of the database."""
    ahead = [0.0]
    monotonic = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + ahead[0])
    yield ahead
    monkeypatch.undo()


def rows(homeserver: LocalHomeserver) -> list[tuple[Any, ...]]:
    """Return the locks of accounts, and how old their last renewal is, in seconds."""
    return homeserver._database.execute("SELECT lock_key FROM worker_locks WHERE lock_name = 'scim_user' ORDER BY 1")


def age(homeserver: LocalHomeserver, user_id: str, seconds: float) -> None:
    """Let a lock's last renewal be so many seconds longer ago."""
    homeserver._database.execute(
        f"UPDATE worker_locks SET last_renewed_ts = last_renewed_ts - {int(seconds * 1000)}"  # noqa: S608
        f" WHERE lock_key = '{user_id}'"
    )


async def hold(database: HomeserverDatabase, user_id: str) -> None:
    """Hold a lock for a moment."""
    async with database.lock(user_id):
        assert database.holds(user_id)
    assert not database.holds(user_id)


async def test_locks_go_when_they_are_released(homeserver: LocalHomeserver, database: HomeserverDatabase) -> None:
    """Whoever has written leaves no lock; one account's does not concern another's."""
    with homeserver._context():
        async with database.lock(ANN):
            await hold(database, BOB)
            assert rows(homeserver) == [(ANN,)]
        assert rows(homeserver) == []


async def test_an_abandoned_lock_is_taken_over(homeserver: LocalHomeserver, database: HomeserverDatabase) -> None:
    """A lock that is not renewed keeps others out as long as a lease, and no longer."""
    with homeserver._context():
        other = HomeserverDatabase(homeserver.hs, fold, shared=True, lock_wait_s=0)
        # As another process would: whoever waits in the same one is let in one after the other.
        other._locks._queue = type(other._locks._queue)(name="other", clock=homeserver.hs.get_clock())
        async with database.lock(ANN):
            age(homeserver, ANN, LEASE_S - 2)
            with pytest.raises(Unavailable, match="is being changed by somebody else"):
                await hold(other, ANN)
            age(homeserver, ANN, 2)
            async with other.lock(ANN):
                assert rows(homeserver) == [(ANN,)]
                # Whoever had it does not take it away from the new holder.
                await database._locks.renew()
        assert rows(homeserver) == []


async def test_locks_of_dead_processes_are_removed(homeserver: LocalHomeserver, database: HomeserverDatabase) -> None:
    """What is held stays; what was abandoned goes, be it a lease or, after its two minutes, a lock of Synapse's."""
    with homeserver._context():
        insert = (
            "INSERT INTO worker_locks (lock_name, lock_key, instance_name, token, last_renewed_ts)"  # noqa: S608
            " SELECT lock_name, '{}', '{}', 'other', last_renewed_ts FROM worker_locks WHERE lock_name = 'scim_user'"
            f" AND lock_key = '{ANN}'"
        )
        async with database.lock(ANN):
            for name, holder, seconds in (
                ("fresh", "scim w1 abc", 0),
                ("dead", "scim w1 abc", LEASE_S + 1),
                ("theirs", "w1", LEASE_S + 1),
                ("old", "w1", 130),
            ):
                homeserver._database.execute(insert.format(name, holder))
                age(homeserver, name, seconds)
            await database.tidy()
            assert rows(homeserver) == [(ANN,), ("fresh",), ("theirs",)]


async def test_leases_are_renewed(homeserver: LocalHomeserver, database: HomeserverDatabase, now: list[float]) -> None:
    """Whoever renews in time may write as long as it takes."""
    with homeserver._context():
        async with database.lock(ANN):
            for _ in range(3):
                now[0] += LEASE_S - 3
                age(homeserver, ANN, LEASE_S - 3)
                await database._locks.renew()
            assert await database.run("test", lambda _: "written") == "written"


async def test_a_writer_who_lost_the_lock_writes_nothing(
    homeserver: LocalHomeserver, database: HomeserverDatabase, now: list[float]
) -> None:
    """A process that stood still does not go on where another may have begun: its transaction is not committed."""
    with homeserver._context():

        def write(txn: Any, seconds: float) -> None:
            txn.execute("INSERT INTO synapse_scim_guard (user_id, left_ts, allowed) VALUES ('@x:y', 0, 0)")
            now[0] += seconds

        await schema.upgrade(database)
        async with database.lock(ANN):
            with pytest.raises(Unavailable, match="could not be renewed in time"):
                await database.run("test", write, LEASE_S)
            with pytest.raises(Unavailable, match="could not be renewed in time"):
                await database.run("test", write, 0)
        assert homeserver._database.execute("SELECT user_id FROM synapse_scim_guard WHERE user_id = '@x:y'") == []
        # Without a lock there is none to lose.
        await database.run("test", write, LEASE_S)


async def test_work_that_outlives_the_lock_is_its_own(
    homeserver: LocalHomeserver, database: HomeserverDatabase, now: list[float]
) -> None:
    """What was started under a lock and goes on in the background is not bound to it after its end."""
    with homeserver._context():
        released: Deferred[None] = Deferred()

        async def background() -> str:
            await make_deferred_yieldable(released)
            return await database.run("test", lambda _: "written")

        async with database.lock(ANN):
            later = run_in_background(background)
        now[0] += LEASE_S
        with PreserveLoggingContext():
            released.callback(None)
        assert await make_deferred_yieldable(later) == "written"


async def test_whoever_holds_nothing_renews_nothing(homeserver: LocalHomeserver, database: HomeserverDatabase) -> None:
    """The locks of other processes are theirs to renew."""
    with homeserver._context():
        async with database.lock(ANN):
            age(homeserver, ANN, LEASE_S + 1)
            await HomeserverDatabase(homeserver.hs, fold, shared=True)._locks.renew()
            await database.tidy()
        assert rows(homeserver) == []
