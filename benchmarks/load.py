"""Sends requests and measures what they cost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from random import Random
from types import TracebackType
from typing import Any, Self

import attrs
import psutil

from benchmarks.operations import Call, Calls

_TIMEOUT_S = 900
_CPUCLOCK_SCHED = 2
_SETTLE_S = 0.05
"""How long the server goes on with what an answer did not wait for."""


class Refused(RuntimeError):
    """The homeserver refused what it should do."""


@attrs.frozen(kw_only=True)
class Slice:
    """What a stretch of one kind of operation cost.

    Attributes:
        latencies_s: How long each took.
        seconds: How long all took.
        cpu_s: CPU time of the homeserver and of the database.
    """

    latencies_s: Sequence[float]
    seconds: float
    cpu_s: float

    @property
    def cpu_ms(self) -> float:
        """CPU time for each operation."""
        return 1000 * self.cpu_s / len(self.latencies_s)


class Processes:
    """The processes whose CPU time counts."""

    def __init__(self, homeserver_pid: int, postgresql_pid: int | None) -> None:
        """Count a homeserver, and all of a PostgreSQL server."""
        self._homeserver = psutil.Process(homeserver_pid)
        self._postgresql = None if postgresql_pid is None else psutil.Process(postgresql_pid)

    @property
    def memory_mib(self) -> float:
        """The memory of the homeserver."""
        return float(self._homeserver.memory_info().rss) / 2**20

    def cpu_s(self) -> float:
        """Return the CPU time that they have used up."""
        total = _cpu_s(self._homeserver)
        if self._postgresql is not None:
            times = self._postgresql.cpu_times()
            # Of processes that have ended, the server knows what they used.
            total += _cpu_s(self._postgresql) + times.children_user + times.children_system
            total += sum(map(_cpu_s, self._postgresql.children()))
        return total


class Load:
    """Sends requests over a few connections at once."""

    def __init__(self, port: int, token: str, processes: Processes, *, concurrency: int) -> None:
        """Connect to a homeserver.

        Args:
            port: Where it listens.
            token: The access token of every request.
            processes: Whose CPU time counts.
            concurrency: How many requests are under way at a time.
        """
        self.processes = processes
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._own, *self._connections = [
            HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S) for _ in range(1 + concurrency)
        ]
        self._threads = ThreadPoolExecutor(concurrency)

    def __enter__(self) -> Self:
        """Return what sends requests."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._threads.shutdown()
        for connection in (self._own, *self._connections):
            connection.close()

    def once(self, *calls: Call) -> Any:
        """Send requests one after the other and return the last answer; `run` may be under way beside it.

        Raises:
            Refused: The homeserver does not do it.
        """
        return json.loads([self._send(self._own, call) for call in calls][-1])

    def run(self, make: Callable[[Random], Calls], seconds: float) -> Slice:
        """Repeat an operation for a while.

        Raises:
            Refused: The homeserver does not do it.
        """
        cpu_s = self.processes.cpu_s()
        start = time.perf_counter()
        deadline = start + seconds

        def work(connection: HTTPConnection) -> list[float]:
            random = Random()
            latencies: list[float] = []
            before = time.perf_counter()
            while before < deadline or not latencies:
                for call in make(random):
                    self._send(connection, call)
                now = time.perf_counter()
                latencies.append(now - before)
                before = now
            return latencies

        latencies = [latency for found in self._threads.map(work, self._connections) for latency in found]
        taken = time.perf_counter() - start
        time.sleep(_SETTLE_S)
        return Slice(latencies_s=latencies, seconds=taken, cpu_s=self.processes.cpu_s() - cpu_s)

    def _send(self, connection: HTTPConnection, call: Call) -> bytes:
        body = None if call.body is None else json.dumps(call.body).encode()
        connection.request(call.method, call.path, body, self._headers)
        with closing(connection.getresponse()) as response:
            answer = response.read()
        # A search that is ended after its time has held the homeserver as long as any may.
        if response.status not in {200, 201} and b'"tooMany"' not in answer:
            raise Refused(f"{call.method} {call.path}: {response.status} {answer.decode(errors='replace')}")
        return answer


def _cpu_s(process: psutil.Process) -> float:
    try:
        # Linux has a clock for each process, which is finer than the hundredths of a second that psutil reads.
        return time.clock_gettime((~process.pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        times = process.cpu_times()
        return float(times.user + times.system)
