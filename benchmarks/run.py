"""Measures what synapse-scim costs, beside the bare work and Synapse's own admin API: `make bench`.

A real Synapse runs with the module, on SQLite and on PostgreSQL, with databases of several sizes. The three ways of
doing a thing take turns, so that whatever else the machine does meets all of them alike; what counts is the CPU time of
homeserver and database, and its ratios.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import TypeVar, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import reactor, results
from benchmarks.floor import PATH as FLOOR
from benchmarks.load import Load, Processes, Slice
from benchmarks.operations import INDEXED, PROMISES, VARIANTS, Call, Calls, Operation, Operations, Variant
from benchmarks.report import table, write_report
from benchmarks.results import Cost, Found
from benchmarks.storage import Storage, homeserver
from tests.support.databases import Database, Engine
from tests.support.process import SpawnedHomeserver

T = TypeVar("T")

_CONCURRENCY = 4
_WIDTH = 140
"""How wide a table is that no terminal shows."""

_COUNTED = range(3, 21)
"""How many operations are made to count their transactions; fewer where they take long."""


_SETTLE_S = {True: 0.2, False: 0.05}
"""How long a homeserver goes on after its answer to what writes, and to what does not."""

_SMALLEST = 200


class Benchmark:
    """One run of the benchmark."""

    def __init__(self, options: argparse.Namespace, storage: Storage, console: Console) -> None:
        """Measure as the command line says."""
        self._options = options
        self._storage = storage
        self._console = console

    def measure(self, engine: Engine, size: int) -> Found:
        """Measure everything on a new database."""
        columns = (TextColumn("{task.description:<46}"), BarColumn(24), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as progress:
            seeding = progress.add_task(f"{engine}, {size:,} accounts: seeding", total=1.0)
            database = self._storage.database(engine, size, lambda share: progress.advance(seeding, share))
            measuring = progress.add_task(f"{engine}, {size:,} accounts: measuring", total=1.0)
            return self._measure(engine, size, database, lambda share: progress.advance(measuring, share))

    def _measure(self, engine: Engine, size: int, database: Database, advance: Callable[[float], None]) -> Found:
        names = self._options.operations or list(PROMISES)
        step = 1 / (len(names) + 1)
        try:
            with self._running(engine, homeserver(database)) as (load, operations):
                memory = load.processes.memory_mib
                every = [o for o in operations(size) if o.name in names and o.name != INDEXED]
                costs = {o.name: self._costs(load, o, lambda: advance(step)) for o in every}
                memories = (memory, load.processes.memory_mib)
                held = reactor.watch(load, operations(size)[0], size) if self._options.reactor else {}
                advance(step)
            if INDEXED in names:
                with self._running(engine, homeserver(database, indexes=True)) as (load, operations):
                    _wait_for_index(database)
                    costs |= {
                        o.name: self._costs(load, o, lambda: advance(step))
                        for o in operations(size)
                        if o.name == INDEXED
                    }
            return Found(engine=engine, size=size, memory_mib=memories, costs=costs, held=held)
        finally:
            database.drop()

    @contextmanager
    def _running(
        self, engine: Engine, server: SpawnedHomeserver
    ) -> Iterator[tuple[Load, Callable[[int], tuple[Operation, ...]]]]:
        """Run a homeserver, and yield what sends it requests, and what makes the operations on so many people."""
        server.start()
        try:
            token = server.register_admin(f"bench{time.time_ns()}")
            cluster = self._storage.cluster if engine == "postgres" else None
            processes = Processes(server.pid, cluster.pid if cluster else None)
            with Load(server.port, token, processes, concurrency=_CONCURRENCY) as load:
                yield load, lambda size: Operations(server.url, token, size).all()
        finally:
            server.stop()

    def _costs(self, load: Load, operation: Operation, advance: Callable[[], None]) -> dict[str, Cost]:
        calls = {variant: operation.calls[variant] for variant in VARIANTS if variant in operation.calls}
        seconds = self._options.seconds
        count = partial(_transactions, load, seconds=seconds, settle_s=_SETTLE_S[operation.writes])
        transactions = {
            variant: self._in_peace(load, operation, variant, partial(count, make)) for variant, make in calls.items()
        }
        rounds: dict[Variant, list[Slice]] = {variant: [] for variant in calls}
        order = list(calls)
        for _ in range(self._options.rounds):
            for variant in order:
                run = partial(load.run, calls[variant], seconds)
                rounds[variant].append(self._in_peace(load, operation, variant, run))
            order.append(order.pop(0))
        advance()
        return {variant: Cost.of(slices, transactions[variant]) for variant, slices in rounds.items()}

    @staticmethod
    def _in_peace(load: Load, operation: Operation, variant: Variant, run: Callable[[], T]) -> T:
        """Do something; while others write, SCIM's callbacks are not called, which would count as their work."""
        if not operation.writes or variant == "ours":
            return run()
        load.once(Call("GET", f"{FLOOR}/callbacks"))
        try:
            return run()
        finally:
            load.once(Call("GET", f"{FLOOR}/callbacks?enabled=1"))


def _transactions(load: Load, make: Callable[[Random], Calls], *, seconds: float, settle_s: float) -> dict[str, int]:
    """Return the transactions of one operation, by name; what happens beside it now and then is not counted."""
    count = Call("GET", f"{FLOOR}/transactions")
    random = Random()
    load.once(*make(random))
    time.sleep(settle_s)
    before = load.once(count)
    give_up = time.monotonic() + seconds
    made = 0
    while made < _COUNTED[0] or (made < _COUNTED[-1] and time.monotonic() < give_up):
        load.once(*make(random))
        made += 1
    time.sleep(settle_s)
    after = load.once(count)
    each = {name: round((total - before.get(name, 0)) / made) for name, total in after.items()}
    return {name: number for name, number in sorted(each.items()) if number}


def _wait_for_index(database: Database) -> None:
    """Return when the module has made the index that it is allowed."""
    sqlite = database.configuration["name"] == "sqlite3"
    valid = (
        "SELECT 1 FROM sqlite_master WHERE name = 'synapse_scim_users_lower_name'"
        if sqlite
        else "SELECT 1 FROM pg_index WHERE indisvalid AND indexrelid = to_regclass('synapse_scim_users_lower_name')"
    )
    while not database.execute(valid):
        time.sleep(_SETTLE_S[True])


def _numbers(text: str) -> list[int]:
    numbers = [int(part.replace("_", "")) for part in text.split(",")]
    if min(numbers) < _SMALLEST:
        raise argparse.ArgumentTypeError(f"at least {_SMALLEST} accounts")
    return numbers


def _engines(text: str) -> list[Engine]:
    names = text.split(",")
    if unknown := set(names) - {"sqlite", "postgres"}:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return cast("list[Engine]", names)


def _operations(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(PROMISES):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(PROMISES)}")
    return names


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__)
    parser.add_argument("--sizes", type=_numbers, default=[1000, 100_000], help="accounts: 1000,100000 by default")
    parser.add_argument("--engines", type=_engines, default=["sqlite", "postgres"], help="sqlite,postgres by default")
    parser.add_argument("--operations", type=_operations, default=[], help="all by default")
    parser.add_argument("--seconds", type=float, default=0.7, help="how long a turn lasts (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="how many turns each way has (default: %(default)s)")
    parser.add_argument(
        "--reactor",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure for how long large requests hold the reactor, too",
    )
    parser.add_argument("--keep", type=Path, help="a folder for the databases, to be used again by the next run")
    parser.add_argument("--results", type=Path, help="a file for what is found, beside what other runs found")
    parser.add_argument("--output", type=Path, default=Path("docs/performance.md"), help="default: %(default)s")
    return parser.parse_args(arguments)


def main() -> int:
    """Run the benchmark and return its exit status."""
    options = _options(sys.argv[1:])
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    with tempfile.TemporaryDirectory(prefix="synapse-scim-benchmark-") as name:
        folder = Path(name)
        # PostgreSQL, run by another account than root, has to pass through.
        folder.chmod(0o711)
        file = options.results or folder / "results.json"
        found = results.load(file)
        if options.keep:
            options.keep.mkdir(mode=0o711, parents=True, exist_ok=True)
        with closing(Storage(folder, options.keep)) as storage:
            benchmark = Benchmark(options, storage, console)
            for engine in options.engines:
                for size in options.sizes:
                    new = benchmark.measure(engine, size)
                    console.print(table(new))
                    found = results.keep(file, found, new)
        command = " ".join(["python -m benchmarks.run", *sys.argv[1:]])
        write_report(options.output, found, command=command, concurrency=_CONCURRENCY, cores=os.cpu_count() or 0)
    console.print(f"Written: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
