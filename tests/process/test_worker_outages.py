"""What an identity provider sees of processes, databases and clocks that fail, and that nothing is lost by it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError
from twisted.internet.threads import deferToThread

from tests.process.load import Load
from tests.process.trio import Trio
from tests.support.cluster import EVENTS_ON_A_WORKER, SpawnCluster
from tests.support.databases import Databases
from tests.support.hasty import HASTY, SHIFTED
from tests.support.runner import BlockingRunner
from tests.web.clients import Scim, assert_scim, bulk_of, new_user, until

pytestmark = pytest.mark.postgres

MODULE = {"module": HASTY, "config": {"guard": {"max": None}}}
PEOPLE = 300
LEASE_S = 3
"""How long a lock outlives its process there."""


@pytest.fixture(scope="module")
def trio(spawn_cluster: SpawnCluster) -> Trio:
    """Three processes, of which `w1` writes profiles."""
    return Trio(BlockingRunner().run(spawn_cluster(module=MODULE, config=EVENTS_ON_A_WORKER)))


class Sync:
    """An identity provider that provisions people and changes each of them."""

    def __init__(self, trio: Trio, name: str, through: tuple[str, ...]) -> None:
        """Go through some processes."""
        self.trio = trio
        self.load = Load([trio.scim[process] for process in through])
        self.name = name
        self.done: list[str] = []

    def user(self, number: int, title: str) -> dict[str, Any]:
        """Return the User to send."""
        name = f"{self.name}{number}"
        return new_user(
            name, externalId=name, displayName=f"Person {number}", title=title, emails=[{"value": f"{name}@e.example"}]
        )

    async def provision(self, number: int) -> None:
        """Create a person and change them."""
        made = await self.load.insist(lambda scim: scim.post("/Users", self.user(number, "Clerk")))
        # A creation whose answer was lost has happened.
        assert made.status in {201, 409}, (made.body, self.trio.bugs()[:1])
        user_id = f"@{self.name}{number}:example.org"
        changed = await self.load.insist(lambda scim: scim.put(user_id, self.user(number, "Boss")))
        assert changed.status == 200, (changed.body, self.trio.bugs()[:1])
        assert changed.json["title"] == "Boss"
        self.done.append(user_id)

    async def run(self, people: int, *, at_once: int = 6) -> None:
        """Provision so many people."""

        def job(number: int) -> Callable[[], Any]:
            return lambda: self.provision(number)

        await self.load.run((job(number) for number in range(people)), at_once=at_once)

    async def has_done(self, people: int) -> bool:
        """Tell whether so many people are provisioned."""
        return len(self.done) >= people

    async def assert_complete(self, people: int) -> None:
        """Check that everybody is there, once, with what was sent last, and that nothing is left behind."""
        found = await self.trio.scim["w2"].users(filter=f'userName sw "{self.name}"', count=1000)
        assert sorted(user["id"] for user in found) == sorted(
            f"@{self.name}{number}:example.org" for number in range(people)
        )
        for user in found:
            number = user["userName"].removeprefix(self.name)
            assert (user["displayName"], user["title"]) == (f"Person {number}", "Boss")
            assert [email["value"] for email in user["emails"]] == [f"{self.name}{number}@e.example"]
        await self.trio.rest()
        assert self.trio.bugs() == []


async def disturbed(sync: Sync, people: int, disturb: Callable[[], None], *, after: int) -> None:
    """Provision people, and do something bad when so many of them are provisioned."""

    async def disturbance() -> None:
        await until(lambda: sync.has_done(after))
        await deferToThread(disturb)

    await gatherResults([Deferred.fromCoroutine(sync.run(people)), Deferred.fromCoroutine(disturbance())])


async def test_a_worker_is_killed_in_the_middle_of_a_sync(trio: Trio) -> None:
    """The sync goes on through another process; nobody is lost, half-made or there twice, and no lock stays."""
    sync = Sync(trio, "killed", ("w1", "w2"))

    def kill_and_start() -> None:
        # The others need it again soon: it writes profiles.
        trio.process("w1").kill()
        trio.process("w1").start()

    await disturbed(sync, PEOPLE, kill_and_start, after=PEOPLE // 3)

    await sync.assert_complete(PEOPLE)
    assert sync.load.answers[0] > 0, sync.load.answers


async def test_the_next_writer_waits_for_the_lease_of_a_dead_one(trio: Trio) -> None:
    """Whoever wants an account whose writer was killed waits as long as a lease, not for Synapse's two minutes."""
    user_id = (await trio.scim["w2"].create("leased"))["id"]
    statement = (
        "INSERT INTO worker_locks (lock_name, lock_key, instance_name, token, last_renewed_ts) VALUES"  # noqa: S608
        f" ('scim_user', '{user_id}', 'scim w9 gone', 'gone', EXTRACT(EPOCH FROM clock_timestamp()) * 1000)"
        " ON CONFLICT DO NOTHING RETURNING token"
    )

    async def is_held() -> bool:
        return bool(trio.cluster.rows(statement))

    # Maintenance may be looking whether the creation was left unfinished.
    await until(is_held)
    began = time.monotonic()

    changed = await trio.scim["w2"].patched(user_id, {"op": "replace", "path": "title", "value": "Dr"})

    assert changed["title"] == "Dr"
    assert LEASE_S - 1 < time.monotonic() - began < 4 * LEASE_S


async def test_postgresql_restarts_under_load(trio: Trio, databases: Databases) -> None:
    """Requests are 503 with Retry-After while it is away; none fails otherwise or hangs, and afterwards all is well."""
    sync = Sync(trio, "pg", trio.names)

    def restart() -> None:
        databases.postgresql.suspend()
        give_up = time.monotonic() + 30
        while not sync.load.answers[503] and time.monotonic() < give_up:
            time.sleep(0.01)
        databases.postgresql.resume()

    await disturbed(sync, 60, restart, after=20)

    await sync.assert_complete(60)
    assert sync.load.answers[503] > 0
    assert sync.load.answers.keys() <= {200, 201, 409, 503}, sync.load.answers


async def test_redis_restarts_under_load(trio: Trio) -> None:
    """Without Redis the processes hear late of each other's changes; requests are answered, and nothing is lost."""
    sync = Sync(trio, "redis", trio.names)

    def restart() -> None:
        trio.cluster.redis.stop()
        done = len(sync.done)
        give_up = time.monotonic() + 30
        while len(sync.done) < done + 5 and time.monotonic() < give_up:
            time.sleep(0.01)
        trio.cluster.redis.start()

    await disturbed(sync, 60, restart, after=20)

    await sync.assert_complete(60)
    assert sync.load.answers.keys() <= {200, 201, 409, 503}, sync.load.answers


async def test_a_process_that_ends_answers_first(trio: Trio) -> None:
    """A Bulk request is answered: what had begun is done, the rest is refused with 503; then nobody is let in."""
    operations = [
        {"method": "POST", "path": "/Users", "bulkId": f"{number}", "data": new_user(f"bulk{number}")}
        for number in range(PEOPLE)
    ]
    made = "SELECT user_id FROM synapse_scim_users WHERE user_id LIKE '@bulk%' AND state = 'active'"

    async def some_are_made() -> bool:
        return len(trio.cluster.rows(made)) >= 10

    request = Deferred.fromCoroutine(trio.scim["w2"].post("/Bulk", bulk_of(*operations)))
    await until(some_are_made)
    await deferToThread(trio.process("w2").stop)

    statuses = [operation["status"] for operation in assert_scim(await request, 200)["Operations"]]
    done = statuses.count("201")
    assert 10 <= done < PEOPLE
    assert statuses == ["201"] * done + ["503"] * (PEOPLE - done)
    assert len(trio.cluster.rows(made)) == done
    with pytest.raises(ConnectError):
        await trio.scim["w2"].get("/Me")
    await deferToThread(trio.process("w2").start)
    await trio.rest()


async def test_a_clock_that_is_an_hour_ahead(spawn_cluster: SpawnCluster) -> None:
    """Guard, schedules, locks and times go by the database's clock, whatever a process thinks; the log says so."""
    module = {"module": HASTY, "config": {"guard": {"max": 2, "at_least": 0}, "inactive": {"deactivate_after": "30m"}}}
    shifted = {"modules": [{**module, "module": SHIFTED}]}
    trio = Trio(await spawn_cluster(module=module, workers={"w1": shifted, "w2": {}}))
    ids = [(await trio.scim["w1"].create(f"timely{number}"))["id"] for number in range(4)]
    trio.cluster.rows("UPDATE synapse_scim_users SET created_ts = created_ts - 86400000")
    off = {"op": "replace", "path": "active", "value": False}

    # The guard's window does not pass for the process that is ahead, nor does anybody's time.
    answers = [
        await trio.scim[process].patch(user_id, off) for process, user_id in zip(("w2", "w2", "w1"), ids, strict=False)
    ]
    assert [answered.status for answered in answers] == [200, 200, 429]
    assert 3500 < int(answers[2].headers["retry-after"]) <= 3600
    # A lock that another process holds is not taken for an old one.
    trio.cluster.rows(
        "INSERT INTO worker_locks (lock_name, lock_key, instance_name, token, last_renewed_ts) VALUES"  # noqa: S608
        f" ('scim_user', '{ids[3]}', 'scim w2 busy', 'busy', EXTRACT(EPOCH FROM clock_timestamp()) * 1000 + 2000)"
    )
    began = time.monotonic()
    changed = await trio.scim["w1"].patched(ids[3], {"op": "replace", "path": "title", "value": "Dr"})
    assert time.monotonic() - began > LEASE_S

    written = trio.cluster.rows(
        "SELECT MAX(modified_ts) - EXTRACT(EPOCH FROM clock_timestamp()) * 1000 FROM synapse_scim_users"
    )
    assert abs(written[0][0]) < 60_000
    assert changed["meta"]["lastModified"] < "2100"
    assert trio.cluster.rows("SELECT name FROM users WHERE deactivated = 1") == []
    assert "The clock of this machine and that of the database are 3600 seconds apart" in trio.process("w1").log()
    assert "seconds apart" not in trio.process("w2").log()


async def test_processes_that_do_not_fit_are_told(spawn_cluster: SpawnCluster) -> None:
    """Settings that differ, and schedules that nobody keeps, are logged; a worker without the module answers 404."""
    other = {"modules": [{"module": HASTY, "config": {"guard": {"max": 7}, "read_only": True}}]}
    cluster = await spawn_cluster(module=MODULE, workers={"w1": other, "w2": {"modules": []}})
    cluster.start()
    for process in (cluster.main, cluster.workers["w1"]):
        process.wait_until_logged("have different settings of synapse-scim: guard, read_only.")
    assert [row[0] for row in cluster.rows("SELECT instance FROM synapse_scim_processes ORDER BY 1")] == [
        "master",
        "w1",
    ]
    missing = await Scim(cluster.workers["w2"].url, None).get("/ServiceProviderConfig")
    assert missing.status == 404

    cluster.main.kill()
    cluster.rows("DELETE FROM synapse_scim_processes WHERE instance = 'master'")
    cluster.workers["w1"].wait_until_logged("No process of the homeserver keeps the schedules of synapse-scim")
    assert Counter(line.count("keeps the schedules") for line in cluster.workers["w1"].log().splitlines())[1] == 1
