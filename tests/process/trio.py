"""Three processes that answer the same identity provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, gatherResults

from tests.support.cluster import Cluster
from tests.support.process import SpawnedHomeserver
from tests.web.clients import STABLE, Scim, Synapse, until, url_of

T = TypeVar("T")


class Trio:
    """A running cluster, and its administrator's clients at each process, by the process's name."""

    def __init__(self, cluster: Cluster) -> None:
        """Start all processes, and register the administrator."""
        self.cluster = cluster
        cluster.start()
        cluster.wait_until_ready()
        self.token = cluster.main.register_admin()
        self.names = tuple(process.name for process in cluster.processes)
        self.scim = {process.name: Scim(process.url, self.token, STABLE) for process in cluster.processes}
        self.synapse = {process.name: Synapse(process.url, self.token, "") for process in cluster.processes}

    def process(self, name: str) -> SpawnedHomeserver:
        """Return a process by its name."""
        return next(process for process in self.cluster.processes if process.name == name)

    async def seen(self, user_id: str) -> Any:
        """Return a User, or the status of the answer, as all processes must say it at this moment."""
        answers = [await self.scim[name].get(url_of(user_id)) for name in self.names]
        bodies = [answer.json if answer.status == 200 else answer.status for answer in answers]
        assert bodies[0] == bodies[1] == bodies[2], bodies
        return bodies[0]

    async def is_idle(self) -> bool:
        """Tell whether no write is unfinished, and no lock is held."""
        return not self.cluster.rows("SELECT user_id FROM synapse_scim_writes") and not self.locks()

    def locks(self) -> list[tuple[Any, ...]]:
        """Return the locks of accounts."""
        return self.cluster.rows("SELECT lock_key FROM worker_locks WHERE lock_name = 'scim_user'")

    async def rest(self) -> None:
        """Wait until nothing is under way."""
        await until(self.is_idle)

    def bugs(self) -> list[str]:
        """Return what any process logged of failures that it did not expect."""
        found = []
        for process in self.cluster.processes:
            lines = process.log().splitlines()
            for number, line in enumerate(lines):
                if "this is a bug of synapse-scim" in line or "A bulk operation failed unexpectedly" in line:
                    found.append("\n".join(lines[number : number + 80]))
        return found


async def together(requests: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
    """Send requests at once, and return their answers."""

    async def send(request: Callable[[], Awaitable[T]]) -> T:
        return await request()

    answers: list[T] = await gatherResults([Deferred.fromCoroutine(send(request)) for request in requests])
    return answers
