"""What the processes of a homeserver tell each other, and what they say of what does not fit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from synapse_scim.homeserver.clock import DatabaseClock
from synapse_scim.homeserver.database import HomeserverDatabase
from synapse_scim.homeserver.gateway import SynapseAccounts
from synapse_scim.mapping.identifiers import fold
from synapse_scim.store.processes import ALIVE_FOR, Process, Processes, alive, disagreements
from tests.support.homeserver import LocalHomeserver
from tests.support.runner import BlockingRunner
from tests.web.clients import until

pytestmark = pytest.mark.usefixtures("engine")


def process_of(homeserver: LocalHomeserver, name: str, **options: Any) -> Processes:
    """Return a process."""
    return Processes(
        **{
            "database": HomeserverDatabase(homeserver.hs, fold),
            "gateway": SynapseAccounts(homeserver.hs),
            "name": name,
            "version": "1",
            "settings": {"guard": "a"},
            "keeps_schedules": False,
            **options,
        }
    )


@pytest.fixture
def ready(homeserver: LocalHomeserver, runner: BlockingRunner) -> LocalHomeserver:
    """The homeserver, whose own process has signed."""

    async def has_signed() -> bool:
        return any("SCIM is ready" in record.getMessage() for record in homeserver.log_records)

    runner.run(until(has_signed))
    return homeserver


def warnings(homeserver: LocalHomeserver) -> list[str]:
    """Return what was warned of."""
    return [
        record.getMessage()
        for record in homeserver.log_records
        if record.levelname == "WARNING" and record.name.startswith("synapse_scim")
    ]


async def test_processes_sign_and_are_seen(ready: LocalHomeserver) -> None:
    """A process is known by name, version and settings, until its last sign of life is too long ago."""
    with ready._context():
        await process_of(ready, "w1").sign()
        await process_of(ready, "w1", version="2").sign()
        gateway = SynapseAccounts(ready.hs)
        database = HomeserverDatabase(ready.hs, fold)

        found = {process.name: process for process in await database.run("test", alive, gateway.now())}
        assert found.keys() == {"master", "w1"}
        assert found["w1"] == Process(
            name="w1", version="2", settings={"guard": "a"}, keeps_schedules=False, seen=found["w1"].seen
        )
        assert abs(found["w1"].seen - gateway.now()) < timedelta(minutes=1)
        assert await database.run("test", alive, gateway.now() + ALIVE_FOR + timedelta(seconds=1)) == []
        ready._database.execute(
            f"UPDATE synapse_scim_processes SET seen_ts = seen_ts - {ALIVE_FOR // timedelta(milliseconds=1)}"  # noqa: S608
            " WHERE instance = 'w1'"
        )
        await process_of(ready, "w2").sign()
    names = ready._database.execute("SELECT instance FROM synapse_scim_processes ORDER BY 1")
    assert names == [("master",), ("w2",)]


async def test_different_settings_are_named_once(ready: LocalHomeserver) -> None:
    """The log names the processes and the settings, once as long as it stays so, and never a value."""
    ready._database.execute("DELETE FROM synapse_scim_processes")
    with ready._context():
        await process_of(ready, "w1", keeps_schedules=True).sign()
        other = process_of(ready, "w2", settings={"guard": "b", "sso": "c"})
        await other.sign()
        await other.sign()
    (warning,) = warnings(ready)
    assert "The processes w1 and w2 have different settings of synapse-scim: guard, sso. Give all" in warning


async def test_schedules_that_nobody_keeps_are_missed(ready: LocalHomeserver) -> None:
    """That no process does what one has to do for all is said when they have had the time to start."""
    ready._database.execute("DELETE FROM synapse_scim_processes")
    process = process_of(ready, "w1")
    with ready._context():
        for expected in (0, 0, 1, 1):
            await process.sign()
            assert len(warnings(ready)) == expected
    assert "nobody is deactivated when the time has come" in warnings(ready)[0]


def test_settings_agree_or_do_not() -> None:
    """A setting that one process has and another has not is a disagreement too."""
    settings = ({"a": "1", "b": "2"}, {"a": "1", "b": "3"}, {"a": "1", "b": "2", "c": "4"})
    now = datetime.now(UTC)
    processes = [
        Process(name=str(n), version="1", settings=each, keeps_schedules=False, seen=now)
        for n, each in enumerate(settings)
    ]
    assert disagreements(processes) == ("b", "c")
    assert disagreements(processes[:1]) == disagreements([]) == ()


async def test_the_database_tells_the_time(homeserver: LocalHomeserver, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL its clock counts, and a machine whose clock is far off says so, once; on SQLite there is one."""
    hs = homeserver.hs
    clock = DatabaseClock.of(hs)
    assert DatabaseClock.of(hs) is clock
    real = hs.get_clock().time_msec
    is_postgresql = HomeserverDatabase(hs, fold).is_postgresql
    with homeserver._context():
        for ahead_s, told in ((3600, 1), (3600, 1), (0, 1), (-3600, 2)):
            monkeypatch.setattr(hs.get_clock(), "time_msec", lambda ahead_s=ahead_s: real() + ahead_s * 1000)
            await clock.synchronize()
            assert abs(clock.now_ms() - real() - (0 if is_postgresql else ahead_s * 1000)) < 5000
            assert len(warnings(homeserver)) == (told if is_postgresql else 0)
    monkeypatch.undo()
