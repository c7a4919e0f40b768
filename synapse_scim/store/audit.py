"""The audit: who wrote what, in a table of the module's own and in the log.

What succeeds is recorded in the transaction that makes it certain, by whoever runs that. What is refused is recorded in
a transaction of its own, and counted: a client that asks for the same thing again and again fills no table.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from synapse_scim.accounts import Account
from synapse_scim.audit import Caller, Event, not_given_back
from synapse_scim.database import Database, Transaction
from synapse_scim.gateway import AccountGateway
from synapse_scim.mapping.changed import changed_attributes
from synapse_scim.mapping.changes import Plan
from synapse_scim.mapping.rendering import timestamp
from synapse_scim.mapping.user import UserMapping
from synapse_scim.store.accounts import moment, ts_ms
from synapse_scim.store.sql import Sql

logger = logging.getLogger("synapse_scim.audit")

_HOUR_MS = 60 * 60 * 1000
_MOST_NAMED = 1000
"""Of how many accounts a process tells apart in an hour what one client was refused at."""

_LONGEST_USER_ID = 255
_REMOVED_AT_ONCE = 1000

_COLUMNS = (
    "event_id, ts, first_ts, occurrences, client, credential, request_id, operation, user_id, attributes, outcome,"
    " status, scim_type"
)


@attrs.frozen(kw_only=True)
class Recorded:
    """An event as it is kept.

    Attributes:
        event_id: Its name.
        event: What happened.
        first: When it happened first.
        last: When it happened last.
        occurrences: How often it happened, from the first time to the last.
    """

    event_id: str
    event: Event
    first: datetime
    last: datetime
    occurrences: int


@attrs.frozen(kw_only=True)
class Wanted:
    """Which events to read; `None` does not restrict.

    Attributes:
        client: Whose.
        user_id: Of which account.
        since: Not before this time.
        until: Before this time.
        after: The last one that was read, as its time in milliseconds and its name.
    """

    client: str | None = None
    user_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: tuple[int, str] | None = None


def write(txn: Transaction, events: Iterable[Event], now: datetime) -> None:
    """Record events within the transaction in which they happen."""
    for position, event in enumerate(events):
        # What happens at once is told in this order, and what happens next is stored beside it.
        _write(txn, f"{ts_ms(now):012x}{position:04x}{secrets.token_hex(8)}", event, ts_ms(now), 1)


def count(txn: Transaction, events: Sequence[Event], now: datetime) -> None:
    """Record events; one that differs from another of the same hour in its request alone is counted with it."""
    now_ms = ts_ms(now)
    latest = {_known_as(event, now_ms): event for event in events}
    for event_id, occurrences in Counter(_known_as(event, now_ms) for event in events).items():
        _write(txn, event_id, latest[event_id], now_ms, occurrences)


def of_change(caller: Caller, operation: str, account: Account, plan: Plan, users: UserMapping) -> tuple[Event, ...]:
    """Return what is kept of a change to an account that exists.

    Args:
        caller: Who makes it.
        operation: What they asked for.
        account: The account before it.
        plan: The write.
        users: How accounts look as Users.
    """
    published: dict[str, Any] = {}
    if account.deleted:
        operation = "revive"
    elif account.record is None:
        operation, published = "adopt", users.to_payload(account)
    event = caller.event(operation, account.user_id, changed_attributes(plan, account, published))
    return event, *not_given_back(account.user_id, plan.lost)


def log(*events: Event) -> None:
    """Log events, each as one line of JSON; somebody may have to care for what has failed."""
    for event in events:
        logger.log(logging.WARNING if event.outcome == "failed" else logging.INFO, "%s", json.dumps(shown(event)))


def shown(event: Event) -> dict[str, Any]:
    """Return an event as JSON, without what it does not have."""
    said = {
        "client": event.caller.client,
        "credential": event.caller.credential,
        "requestId": event.caller.request_id,
        "operation": event.operation,
        "account": event.user_id,
        "attributes": list(event.attributes),
        "outcome": event.outcome,
        "status": event.status,
        "scimType": event.scim_type,
    }
    return {name: value for name, value in said.items() if value not in (None, [])}


def listed(recorded: Recorded) -> dict[str, Any]:
    """Return an event as JSON, as it is kept; one that was counted says since when, and how often."""
    counted = {"first": timestamp(recorded.first), "count": recorded.occurrences} if recorded.occurrences > 1 else {}
    return {"id": recorded.event_id, "time": timestamp(recorded.last), **counted, **shown(recorded.event)}


def query(wanted: Wanted, limit: int) -> Sql:
    """Return what reads events, the latest first."""
    conditions = {
        "client = ?": wanted.client,
        "user_id = ?": wanted.user_id,
        "ts >= ?": None if wanted.since is None else ts_ms(wanted.since),
        "ts < ?": None if wanted.until is None else ts_ms(wanted.until),
    }
    chosen = {condition: value for condition, value in conditions.items() if value is not None}
    parameters = [*chosen.values(), *(wanted.after or ()), limit]
    where = " AND ".join([*chosen, *(["(ts, event_id) < (?, ?)"] if wanted.after else [])])
    return Sql(
        f"SELECT {_COLUMNS} FROM synapse_scim_audit {f'WHERE {where}' if where else ''}"
        " ORDER BY ts DESC, event_id DESC LIMIT ?",
        tuple(parameters),
    )


def read(txn: Transaction, wanted: Wanted, limit: int) -> list[Recorded]:
    """Return events, the latest first."""
    reading = query(wanted, limit)
    txn.execute(reading.text, reading.parameters)
    return [_recorded(row) for row in txn.fetchall()]


def remove(txn: Transaction, before: datetime) -> bool:
    """Remove some of the events before a time, and tell whether there may be more."""
    txn.execute(
        "DELETE FROM synapse_scim_audit WHERE event_id IN"
        " (SELECT event_id FROM synapse_scim_audit WHERE ts < ? ORDER BY ts, event_id LIMIT ?)",
        (ts_ms(before), _REMOVED_AT_ONCE),
    )
    return txn.rowcount >= _REMOVED_AT_ONCE


@attrs.define(kw_only=True)
class Trail:
    """Records what is part of no write's transaction, and removes what is old.

    Attributes:
        database: Where events are kept.
        gateway: The clock, and the server's name.
        keep: For how long.
    """

    database: Database
    gateway: AccountGateway
    keep: timedelta
    _hour: int = attrs.field(default=0, init=False)
    _named: dict[str, set[str]] = attrs.field(factory=dict, init=False)

    async def add(self, events: Sequence[Event]) -> None:
        """Record and log what was refused, or has failed."""
        if events:
            events = [self._bounded(event) for event in events]
            log(*events)
            await self.database.run("synapse_scim_audit", count, events, self.gateway.now())

    async def read(self, wanted: Wanted, limit: int) -> list[Recorded]:
        """Return events, the latest first."""
        return await self.database.run("synapse_scim_audit_read", read, wanted, limit)

    async def remove_old(self) -> None:
        """Remove what need not be kept any longer."""
        before = self.gateway.now() - self.keep
        while await self.database.run("synapse_scim_audit_remove", remove, before):
            pass

    def _bounded(self, event: Event) -> Event:
        """Return an event whose account is one of this server's, and no further one of far too many."""
        user_id = event.user_id
        if user_id is None:
            return event
        hour = ts_ms(self.gateway.now()) // _HOUR_MS
        if hour != self._hour:
            self._hour, self._named = hour, {}
        named = self._named.setdefault(event.caller.client, set())
        is_plausible = (
            user_id.startswith("@")
            and user_id.endswith(f":{self.gateway.server_name}")
            and len(user_id) <= _LONGEST_USER_ID
        )
        if not is_plausible or (user_id not in named and len(named) >= _MOST_NAMED):
            return attrs.evolve(event, user_id=None)
        named.add(user_id)
        return event


def _known_as(event: Event, now_ms: int) -> str:
    """Return the name that events have in common which are counted together."""
    told_apart = json.dumps([now_ms // _HOUR_MS, {**shown(event), "requestId": None}], sort_keys=True)
    return hashlib.sha256(told_apart.encode()).hexdigest()[:32]


def _write(txn: Transaction, event_id: str, event: Event, now_ms: int, occurrences: int) -> None:
    txn.execute(
        f"INSERT INTO synapse_scim_audit ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (event_id) DO UPDATE SET ts = EXCLUDED.ts, request_id = EXCLUDED.request_id,"
        " occurrences = synapse_scim_audit.occurrences + EXCLUDED.occurrences",
        (
            event_id,
            now_ms,
            now_ms,
            occurrences,
            event.caller.client,
            event.caller.credential,
            event.caller.request_id,
            event.operation,
            event.user_id,
            " ".join(event.attributes),
            event.outcome,
            event.status,
            event.scim_type,
        ),
    )


def _recorded(row: tuple[Any, ...]) -> Recorded:
    event_id, last, first, occurrences, client, credential, request_id, operation, user_id, attributes, *end = row
    outcome, status, scim_type = end
    return Recorded(
        event_id=event_id,
        event=Event(
            caller=Caller(client=client, credential=credential, request_id=request_id),
            operation=operation,
            user_id=user_id,
            attributes=tuple(attributes.split()),
            outcome=outcome,
            status=status,
            scim_type=scim_type,
        ),
        first=moment(first),
        last=moment(last),
        occurrences=occurrences,
    )
