"""Which processes of the homeserver serve SCIM, and whether they agree on its settings.

Each writes a row for itself, and renews it every minute. A process without the module has none; so has one that was
killed, after a while.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import attrs

from synapse_scim.database import Database, Transaction
from synapse_scim.gateway import AccountGateway
from synapse_scim.store.accounts import moment, ts_ms

logger = logging.getLogger(__name__)

ALIVE_FOR = timedelta(minutes=5)
"""How long after its last sign of life a process counts as one that runs."""

_PATIENCE = 3
"""How often a process looks in vain for one that keeps the schedules before it says so: they start one by one."""


@attrs.frozen(kw_only=True)
class Process:
    """A process that serves SCIM.

    Attributes:
        name: Its name in Synapse's configuration; `master` is the main process.
        version: The version of this module that it runs.
        settings: A digest of each setting that its configuration has, by name.
        keeps_schedules: Whether it does what one process has to do for all.
        seen: When it gave its last sign of life.
    """

    name: str
    version: str
    settings: Mapping[str, str]
    keeps_schedules: bool
    seen: datetime


def alive(txn: Transaction, now: datetime) -> list[Process]:
    """Return the processes that run, by name."""
    txn.execute(
        "SELECT instance, version, settings, schedules, seen_ts FROM synapse_scim_processes WHERE seen_ts > ?"
        " ORDER BY instance",
        (ts_ms(now - ALIVE_FOR),),
    )
    return [
        Process(
            name=row[0],
            version=row[1],
            settings=json.loads(row[2]),
            keeps_schedules=bool(row[3]),
            seen=moment(row[4]),
        )
        for row in txn.fetchall()
    ]


def disagreements(processes: Sequence[Process]) -> tuple[str, ...]:
    """Return the names of the settings on which processes do not agree, in order."""
    names = frozenset[str]().union(*(process.settings for process in processes))
    return tuple(sorted(name for name in names if len({process.settings.get(name) for process in processes}) > 1))


@attrs.define(kw_only=True)
class Processes:
    """Tells the others of this process, and looks for what does not fit.

    Attributes:
        database: Where they tell each other.
        gateway: The clock.
        name: This process.
        version: The version of this module.
        settings: A digest of each of its settings, by name.
        keeps_schedules: Whether this process does what one has to do for all.
    """

    database: Database
    gateway: AccountGateway
    name: str
    version: str
    settings: Mapping[str, str]
    keeps_schedules: bool
    _told: tuple[str, ...] = attrs.field(default=(), init=False)
    _unkept: int = attrs.field(default=0, init=False)

    async def sign(self) -> None:
        """Give a sign of life, and warn of what does not fit, once."""
        processes = await self.database.run("synapse_scim_sign", self._sign)
        problems = tuple(self._problems(processes))
        for problem in problems:
            if problem not in self._told:
                logger.warning("%s", problem)
        self._told = problems

    def _sign(self, txn: Transaction) -> list[Process]:
        now = self.gateway.now()
        txn.execute("DELETE FROM synapse_scim_processes WHERE seen_ts <= ?", (ts_ms(now - ALIVE_FOR),))
        txn.execute(
            "INSERT INTO synapse_scim_processes (instance, version, settings, schedules, seen_ts)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT (instance) DO UPDATE SET version = EXCLUDED.version,"
            " settings = EXCLUDED.settings, schedules = EXCLUDED.schedules, seen_ts = EXCLUDED.seen_ts",
            (
                self.name,
                self.version,
                json.dumps(dict(self.settings), sort_keys=True),
                int(self.keeps_schedules),
                ts_ms(now),
            ),
        )
        return alive(txn, now)

    def _problems(self, processes: Sequence[Process]) -> Iterable[str]:
        for other in processes:
            if other.name != self.name and (names := disagreements([other, self._own(other.seen)])):
                yield (
                    f"The processes {other.name} and {self.name} have different settings of synapse-scim:"
                    f" {', '.join(names)}. Give all processes the same 'modules' section"
                )
        self._unkept = 0 if any(process.keeps_schedules for process in processes) else self._unkept + 1
        if self._unkept >= _PATIENCE:
            yield (
                "No process of the homeserver keeps the schedules of synapse-scim: nobody is deactivated when the time"
                " has come. The process that Synapse runs background tasks on ('run_background_tasks_on') must have"
                " the module"
            )

    def _own(self, now: datetime) -> Process:
        return Process(
            name=self.name,
            version=self.version,
            settings=self.settings,
            keeps_schedules=self.keeps_schedules,
            seen=now,
        )
