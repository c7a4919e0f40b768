"""Many at once: identity providers that keep a large deployment busy while one of its processes is killed every minute.

Three clients create, change, disable, enable, delete and list people through two workers. What is refused for now, or
cut off, is sent again, as identity providers do. At the end the accounts must be exactly those that the answers
promised, no lock and no unfinished write may be left, and the process that was never killed must not have grown.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from statistics import median
from typing import Any

import attrs
import click
import psutil
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from benchmarks.people import MODEL_PERSON, Person, person
from benchmarks.seeding import seed
from tests.process.load import Load
from tests.support.client import Response
from tests.support.cluster import Cluster, spawn_cluster
from tests.support.databases import Databases
from tests.support.homeserver import prepare_database
from tests.support.process import Program, SpawnedHomeserver
from tests.web.clients import STABLE, Scim

CLIENTS = ("entra", "okta", "keycloak")
AT_ONCE = 2
"""How many requests each client has under way."""

PAGE = 500
RETURNING = 0.3
"""How many of those who are created were there before."""

KILLED_EVERY_S = 60.0
SAMPLED_EVERY_S = 5.0
SETTLED_WITHIN_S = 180.0
GROWTH = 1.15
"""How much larger the process that was never killed may be in the last third of the time than in the second."""

MODULE = {
    "module": "synapse_scim.ScimModule",
    "config": {
        "clients": [
            {
                "name": name,
                "token_sha256": [hashlib.sha256(name.encode()).hexdigest()],
                "rate": {"per_second": 100_000, "burst_count": 100_000},
            }
            for name in CLIENTS
        ],
        # Whoever deletes so many on purpose does without it.
        "guard": {"max": None},
        # SPEC's default deactivates whoever is deleted at once, which takes most of the time.
        "deleted": {"deactivate_after": "30d"},
        "allow_synapse_indexes": True,
    },
}


@attrs.define
class Expected:
    """What the answers promised of a person."""

    who: Person
    exists: bool = True
    active: bool = True
    title: str = ""

    def body(self) -> dict[str, Any]:
        """Return the User that the client sends."""
        return {**self.who.scim(), "title": self.title or self.who.title, "active": self.active}


class Provider:
    """One identity provider, with people of its own."""

    def __init__(self, name: str, people: list[Expected], newcomers: Iterator[int], workers: Sequence[str]) -> None:
        """Care for some people.

        Args:
            name: The client's name, which is its token.
            people: Who is there at the start.
            newcomers: The numbers of those who are not.
            workers: The addresses of the workers.
        """
        self.load = Load([Scim(url, name, STABLE) for url in workers])
        self.people = people
        self.done: Counter[str] = Counter()
        self._newcomers = newcomers
        self._busy: set[int] = set()
        self._random = random.Random(name)

    async def work(self, until: float) -> None:
        """Do one thing after the other."""
        operations: tuple[tuple[Callable[[], Any], int], ...] = (
            (self.create, 3),
            (self.change, 6),
            (self.toggle, 3),
            (self.delete, 1),
            (self.list, 1),
            (self.find, 3),
        )
        kinds, weights = zip(*operations, strict=True)
        while time.monotonic() < until:
            (operation,) = self._random.choices(kinds, weights)
            await operation()
            self.done[operation.__name__] += 1

    async def create(self) -> None:
        """Create somebody new, or somebody again who was deleted."""
        expected = self._one(exists=False) if self._random.random() < RETURNING else None
        if expected is None:
            expected = Expected(person(next(self._newcomers)), exists=False)
            self.people.append(expected)
            self._busy.add(expected.who.number)
        expected.active = True
        made = await self.load.insist(lambda scim: scim.post("/Users", expected.body()))
        # A creation whose answer was lost has happened.
        _check(made, {201, 409})
        if made.status == HTTPStatus.CONFLICT:
            _check(await self._update(expected), {200})
        expected.exists = True
        self._busy.discard(expected.who.number)

    async def change(self) -> None:
        """Give somebody another title and display name."""
        if expected := self._one():
            expected.title = f"Title {self._random.random()}"
            _check(await self._update(expected), {200})
            self._busy.discard(expected.who.number)

    async def toggle(self) -> None:
        """Disable somebody, or enable them again."""
        if expected := self._one():
            expected.active = not expected.active
            operation = {"op": "replace", "path": "active", "value": expected.active}
            _check(await self.load.insist(lambda scim: scim.patch(expected.who.user_id, operation)), {200})
            self._busy.discard(expected.who.number)

    async def delete(self) -> None:
        """Delete somebody."""
        if expected := self._one():
            _check(await self.load.insist(lambda scim: scim.delete(expected.who.user_id)), {204, 404})
            expected.exists = False
            self._busy.discard(expected.who.number)

    async def list(self) -> None:
        """Go through a few pages of everybody."""
        cursor: str | None = ""
        for _ in range(3):
            if cursor is None:
                return
            params: dict[str, Any] = {"cursor": cursor, "count": PAGE, "attributes": "userName"}
            page = await self.load.insist(lambda scim, params=params: scim.get("/Users", params=params))  # type: ignore[misc]
            _check(page, {200})
            cursor = page.json.get("nextCursor")

    async def find(self) -> None:
        """Find somebody by externalId, as before each change, and see what was promised."""
        if expected := self._one():
            params = {"filter": f'externalId eq "{expected.who.external_id}"'}
            found = await self.load.insist(lambda scim: scim.get("/Users", params=params))
            _check(found, {200})
            (user,) = found.json["Resources"]
            if (user["active"], user["title"]) != (expected.active, expected.body()["title"]):
                raise AssertionError(f"not as promised: {user}")
            self._busy.discard(expected.who.number)

    async def _update(self, expected: Expected) -> Response:
        body = expected.body()
        return await self.load.insist(lambda scim: scim.put(expected.who.user_id, body))

    def _one(self, *, exists: bool = True) -> Expected | None:
        """Return somebody at whom nobody is working."""
        for _ in range(100):
            expected = self._random.choice(self.people)
            if expected.exists is exists and expected.who.number not in self._busy:
                self._busy.add(expected.who.number)
                return expected
        return None


def _check(answered: Response, statuses: set[int]) -> None:
    if answered.status not in statuses:
        raise AssertionError((answered.status, answered.body[:500]))


class Chaos:
    """Kills a process every minute, and starts it again; `w2` is spared, and its memory watched."""

    def __init__(self, cluster: Cluster, every_s: float) -> None:
        """Have a cluster at its mercy."""
        self.kills: Counter[str] = Counter()
        self.memory: list[float] = []
        self._cluster = cluster
        self._every_s = every_s

    async def rage(self, until: float) -> None:
        """Kill, and watch."""
        spared = psutil.Process(self._cluster.workers["w2"].pid)
        victims = (self._cluster.workers["w1"], self._cluster.main)
        last = time.monotonic()
        while time.monotonic() < until:
            await task.deferLater(reactor, SAMPLED_EVERY_S)
            self.memory.append(spared.memory_info().rss / 2**20)
            if time.monotonic() - last > self._every_s:
                last = time.monotonic()
                victim = victims[sum(self.kills.values()) % 2]
                await deferToThread(_kill, victim)
                self.kills[victim.name] += 1

    def thirds(self) -> tuple[float, float, float]:
        """Return how large the spared process was in each third of the time, in MiB."""
        size = max(1, len(self.memory) // 3)
        return tuple(median(self.memory[start : start + size]) for start in (0, size, 2 * size))  # type: ignore[return-value]


def _kill(victim: SpawnedHomeserver) -> None:
    victim.kill()
    victim.start()


async def soak(minutes: float, people: int, every_s: float) -> bool:
    """Run, print what happened, and return whether every promise was kept."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        databases = Databases(Path(folder), prepare_database)
        cluster = await spawn_cluster(databases, module=MODULE, launch=Program)
        try:
            click.echo(f"{people} people are made ...")
            await _populate(cluster, people)
            until = time.monotonic() + minutes * 60
            newcomers = iter(range(people, 10 * people + 1_000_000))
            urls = [cluster.workers[name].url for name in ("w1", "w2")]
            providers = [
                Provider(
                    name, [Expected(person(number)) for number in range(index, people, len(CLIENTS))], newcomers, urls
                )
                for index, name in enumerate(CLIENTS)
            ]
            chaos = Chaos(cluster, every_s)
            click.echo(f"Three clients work for {minutes:g} minutes ...")
            work = [provider.work(until) for provider in providers for _ in range(AT_ONCE)]
            await gatherResults([Deferred.fromCoroutine(job) for job in (*work, chaos.rage(until))])
            click.echo("What the answers promised is compared with what is there ...")
            return await _judge(cluster, providers, chaos)
        finally:
            cluster.remove()
            databases.close()


async def _populate(cluster: Cluster, people: int) -> None:
    cluster.main.start()
    cluster.main.wait_until_logged("SCIM is ready")
    made = await Scim(cluster.main.url, CLIENTS[0], STABLE).post("/Users", MODEL_PERSON.scim())
    _check(made, {201})
    cluster.main.stop()
    await deferToThread(seed, cluster.main._database, people, lambda _: None)
    await deferToThread(cluster.start)
    cluster.wait_until_ready()


async def _judge(cluster: Cluster, providers: Sequence[Provider], chaos: Chaos) -> bool:
    left = (
        "SELECT user_id FROM synapse_scim_writes UNION SELECT lock_key FROM worker_locks WHERE lock_name = 'scim_user'"
    )
    give_up = time.monotonic() + SETTLED_WITHIN_S
    while (unfinished := cluster.rows(left)) and time.monotonic() < give_up:
        await task.deferLater(reactor, 1)
    there = await _everybody(Scim(cluster.workers["w1"].url, CLIENTS[0], STABLE))
    there.pop(MODEL_PERSON.user_id)
    expected = {e.who.user_id: e for provider in providers for e in provider.people if e.exists}
    wrong = [
        user_id
        for user_id in expected.keys() & there.keys()
        if there[user_id] != (expected[user_id].active, expected[user_id].body()["title"])
    ]
    bugs = sum(process.log().count("this is a bug of synapse-scim") for process in cluster.processes)
    _, second, third = chaos.thirds()
    verdicts = {
        f"{len(expected)} accounts promised, {len(there)} there": expected.keys() == there.keys(),
        f"{len(wrong)} of them are not as promised": not wrong,
        f"{len(unfinished)} locks or unfinished writes are left": not unfinished,
        f"{bugs} failures that nobody expected are in the logs": not bugs,
        f"memory of w2: {', '.join(f'{size:.0f}' for size in chaos.thirds())} MiB by thirds": third <= second * GROWTH,
    }
    done: Counter[str] = sum((provider.done for provider in providers), Counter())
    answers: Counter[int] = sum((provider.load.answers for provider in providers), Counter())
    click.echo("operations: " + ", ".join(f"{count} × {name}" for name, count in done.most_common()))
    statuses = (f"{count} × {status or 'cut off or refused'}" for status, count in sorted(answers.items()))
    click.echo("answers: " + ", ".join(statuses))
    click.echo("killed: " + ", ".join(f"{count} × {name}" for name, count in chaos.kills.items()))
    for verdict, kept in verdicts.items():
        click.echo(f"{'ok ' if kept else 'BAD'} {verdict}")
    return all(verdicts.values())


async def _everybody(scim: Scim) -> dict[str, tuple[bool, str]]:
    """Return who is there, whether they are active, and their titles."""
    found: dict[str, tuple[bool, str]] = {}
    cursor: str | None = ""
    while cursor is not None:
        params: dict[str, Any] = {"cursor": cursor, "count": 1000, "attributes": "active,title"}
        page = await scim.get("/Users", params=params)
        _check(page, {200})
        found |= {user["id"]: (user["active"], user.get("title", "")) for user in page.json["Resources"]}
        cursor = page.json.get("nextCursor")
    return found


def main(arguments: Sequence[str]) -> None:
    """Run the soak test from the command line; the exit code is 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20, help="how long it lasts (default: %(default)s)")
    parser.add_argument("--people", type=int, default=50_000, help="who is there at the start (default: %(default)s)")
    parser.add_argument("--kill-every", type=float, default=KILLED_EVERY_S, help="seconds (default: %(default)s)")
    options = parser.parse_args(arguments)

    async def run() -> None:
        if not await soak(options.minutes, options.people, options.kill_every):
            raise SystemExit(1)

    task.react(lambda _reactor: Deferred.fromCoroutine(run()))


if __name__ == "__main__":
    main(sys.argv[1:])
