"""Sends requests to a homeserver, and looks at what each of them did."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from http import HTTPStatus
from typing import Any

import attrs
import psycopg2
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.web.http import HTTPChannel

from tests.fuzz.requests import Request
from tests.fuzz.values import PASSWORDS
from tests.support.confidential import keep_secret
from tests.support.databases import Database
from tests.support.homeserver import LocalHomeserver, is_harmless
from tests.support.wire import Answer, ConnectionEnded, Wire
from tests.web.clients import ERROR, UNSTABLE
from tests.web.tokens import token_of

SECONDS = 10
"""How long a request may take. They take milliseconds, but the machine may be busy with something else."""

_TABLES = (
    "synapse_scim_users",
    "synapse_scim_values",
    "synapse_scim_writes",
    "synapse_scim_departures",
    "synapse_scim_guard",
    "synapse_scim_photos",
    "users",
    "profiles",
    "user_threepids",
    "user_external_ids",
    "pushers",
    "devices",
    "access_tokens",
)
"""The module's tables and Synapse's of accounts."""

_BESIDE = re.compile(
    r"synapse_scim_(?:abandoned|actor|audit|due|forget|historical|look|noticed|parting|pending|photos|renew|sign|time"
    r"|unfinished)\b"
)
"""What is done in its own time, or in order to write down that a request was refused."""

_SUCCESSES = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_WITHOUT_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class Journal:
    """Knows what was committed to the tables of accounts, by triggers that write it down."""

    def __init__(self, database: Database) -> None:
        """Watch a database from now on."""
        engine: Any = {"sqlite3": sqlite3, "psycopg2": psycopg2}[database.configuration["name"]]
        arguments = {key: value for key, value in database.configuration["args"].items() if not key.startswith("cp_")}
        self._connection = engine.connect(**arguments)
        if engine is psycopg2:
            self._connection.autocommit = True
        else:
            self._connection.isolation_level = None
        self._seen = 0
        serial = "SERIAL" if engine is psycopg2 else "INTEGER"
        self._run(f"CREATE TABLE fuzz_journal (entry {serial} PRIMARY KEY, source TEXT NOT NULL)")
        if engine is psycopg2:
            self._run(
                "CREATE FUNCTION fuzz_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " INSERT INTO fuzz_journal (source) VALUES (TG_OP || ' ' || TG_TABLE_NAME); RETURN NULL; END $$"
            )
        for table in _TABLES:
            # Synapse notes when a token and a device were used.
            actions = ("INSERT", "DELETE") if table in {"devices", "access_tokens"} else ("INSERT", "UPDATE", "DELETE")
            for action in actions:
                note = f"INSERT INTO fuzz_journal (source) VALUES ('{action} {table}')"  # noqa: S608 - named above
                does = "EXECUTE FUNCTION fuzz_note()" if engine is psycopg2 else f"BEGIN {note}; END"
                self._run(f"CREATE TRIGGER fuzz_{action}_{table} AFTER {action} ON {table} FOR EACH ROW {does}")

    def news(self) -> list[str]:
        """Return what was written since it was asked last."""
        rows = self._run(
            f"SELECT entry, source FROM fuzz_journal WHERE entry > {self._seen} ORDER BY entry"  # noqa: S608 - a number
        )
        if rows:
            self._seen = rows[-1][0]
        return [source for _, source in rows]

    def close(self) -> None:
        """Stop watching."""
        self._connection.close()

    def _run(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


class Transactions(logging.Handler):
    """Counts the transactions of requests on the module's storage, which Synapse logs by their names."""

    def __init__(self) -> None:
        """Begin to count."""
        super().__init__(logging.DEBUG)
        self.count = 0
        self._logger = logging.getLogger("synapse.storage.txn")
        self._level = self._logger.level
        self._logger.setLevel(logging.DEBUG)
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Count a transaction."""
        text = record.getMessage()
        if text.startswith("[TXN START] {synapse_scim_") and not _BESIDE.search(text):
            self.count += 1

    def stop(self) -> None:
        """Count no more."""
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)


@attrs.define
class Findings:
    """What was seen.

    Attributes:
        outcomes: How often each operation had each status.
        reached: How many requests of each operation reached the storage.
        written: How many requests wrote anything.
        problems: What must not be.
        slowest: The longest time that a request took, in seconds.
    """

    outcomes: Counter[tuple[str, int]] = attrs.field(factory=Counter)
    reached: Counter[str] = attrs.field(factory=Counter)
    written: int = 0
    problems: list[str] = attrs.field(factory=list)
    slowest: float = 0

    @property
    def count(self) -> int:
        """How many requests there were."""
        return self.outcomes.total()

    def table(self) -> str:
        """Return how often each operation had each status, and how many requests of it reached the storage."""
        operations = sorted({operation for operation, _ in self.outcomes})
        statuses = sorted({status for _, status in self.outcomes})
        lines = [["operation", "all", "storage", *map(str, statuses)]]
        for operation in operations:
            counts = [self.outcomes[operation, status] for status in statuses]
            lines.append([operation, *map(str, (sum(counts), self.reached[operation], *counts))])
        totals = [sum(self.outcomes[operation, status] for operation in operations) for status in statuses]
        lines.append(["all", *map(str, (self.count, self.reached.total(), *totals))])
        return "\n".join(f"{line[0]:18}" + "".join(f"{cell:>8}" for cell in line[1:]) for line in lines)


class Campaign:
    """Sends requests, one after the other."""

    def __init__(self, homeserver: LocalHomeserver, admin_token: str, person_token: str, findings: Findings) -> None:
        """Send them to a homeserver.

        Args:
            homeserver: The homeserver, with some accounts, and the clients of `test_fuzz.CONFIG`.
            admin_token: The access token of a server admin.
            person_token: The access token of somebody else.
            findings: Where to write down what is seen.
        """
        self.findings = findings
        self._homeserver = homeserver
        keep_secret(*PASSWORDS)
        self._journal = Journal(homeserver._database)
        self._transactions = Transactions()
        self._cursor = self._version = "none"
        self._records = 0
        self._authorizations: Mapping[str, bytes | None] = {
            "admin": f"Bearer {admin_token}".encode(),
            "person": f"Bearer {person_token}".encode(),
            "basic": b"Basic " + b64encode(f"basic:{token_of('basic')}".encode()),
            "wrong basic": b"Basic " + b64encode(f"client:{token_of('basic')}".encode()),
            "nothing": None,
            "unknown": b"Bearer unknown",
            "garbage": b"Bearer \xff\x00 =",
            "twice": f"Bearer {admin_token}\r\nAuthorization: Bearer {admin_token}".encode(),
            **{name: f"Bearer {token_of(name)}".encode() for name in ("client", "reader", "writer", "other", "own")},
        }

    async def send(self, request: Request) -> None:
        """Send a request, and note what must not be."""
        before, started = self._transactions.count, time.monotonic()
        try:
            answer = await Deferred.fromCoroutine(self._exchange(request)).addTimeout(SECONDS, reactor)
            status, problems = answer.status, [*self._wrong(request, answer)]
        except DeferredTimeoutError:
            answer, status, problems = None, 0, ["no answer in time"]
        except ConnectionEnded:
            # To a line that is too long for it, Twisted has no answer.
            answer, status, problems = None, 0, [] if len(request.target) > HTTPChannel.MAX_LENGTH else ["no answer"]
        self.findings.slowest = max(self.findings.slowest, time.monotonic() - started)
        self.findings.outcomes[request.operation, status] += 1
        self.findings.reached[request.operation] += self._transactions.count > before
        written = self._journal.news()
        self.findings.written += bool(written)
        if written and not (answer and _may_have_written(request, answer)):
            problems.append(f"{written[:5]} by a request that changes nothing")
        records = self._homeserver.log_records
        errors = [record for record in records[self._records :] if record.levelno >= logging.ERROR or record.exc_info]
        self._records = len(records)
        logged = [logging.Formatter().format(record) for record in errors]
        problems += [f"logged: {text[-3000:]}" for text in logged if not is_harmless(text)]
        if problems:
            told = None if answer is None else answer.body[:300]
            self.findings.problems.append(f"{'; '.join(problems)}\n{status} {told!r}\n{_shortened(request)}")

    async def stop(self) -> None:
        """Watch no more, and stop the homeserver."""
        self._journal.close()
        self._transactions.stop()
        await self._homeserver.stop()

    async def _exchange(self, request: Request) -> Answer:
        wire = await Wire.to(self._homeserver.url)
        try:
            wire.send(request.encoded(self._authorizations[request.credential], self._cursor, self._version))
            while (answer := await wire.answer(to_head=request.method == "HEAD")).status == HTTPStatus.CONTINUE:
                pass
            return answer
        finally:
            wire.leave()

    def _wrong(self, request: Request, answer: Answer) -> list[str]:
        """Return what is wrong with an answer; keep what later requests may use."""
        if "x-injected" in answer.headers:
            return ["a header was injected"]
        # RFC 7644 §3.11 has 501 for what /Me does not know.
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR and answer.status != HTTPStatus.NOT_IMPLEMENTED:
            return ["a server error"]
        self._version = answer.headers.get("etag", self._version)
        if request.method == "HEAD" or answer.status in _WITHOUT_BODY or _is_not_ours(request, answer):
            return []
        if answer.headers.get("content-type", "").partition(";")[0] != "application/scim+json":
            return ["not SCIM"]
        body = json.loads(answer.body)
        self._cursor = body.get("nextCursor", self._cursor)
        return _wrong_body(answer.status, body)


def _wrong_body(status: int, body: dict[str, Any]) -> list[str]:
    """Return what is wrong with the body of an answer with a status."""
    if status < HTTPStatus.BAD_REQUEST:
        return [f"an operation failed: {one}" for one in body.get("Operations", ()) if one.get("status") == "500"]
    if body.get("schemas") != [ERROR] or body.get("status") != str(status) or not body.get("detail"):
        return ["not an error of SCIM"]
    return []


def _is_not_ours(request: Request, answer: Answer) -> bool:
    """Tell whether Twisted or Synapse refused what is no HTTP, or no request that they read, before SCIM saw it."""
    if answer.status == HTTPStatus.METHOD_NOT_ALLOWED and request.target.startswith(UNSTABLE.encode()):
        return request.method not in _METHODS
    return answer.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNSUPPORTED_MEDIA_TYPE} and not answer.body


def _may_have_written(request: Request, answer: Answer) -> bool:
    """Tell whether a request may have changed something, as its method and the status of its answer have it."""
    if answer.status not in _SUCCESSES:
        return False
    if request.operation == "bulk":
        return any(one["status"][0] == "2" for one in json.loads(answer.body)["Operations"])
    searches = b".search" in request.target
    return request.method in {"POST", "PUT", "PATCH", "DELETE"} and not searches


def _shortened(request: Request) -> str:
    return (
        f"{request.operation} as {request.credential}: {request.method} {request.target[:400]!r}"
        f" {[header[:100] for header in request.headers]} {request.body[:600]!r}"
    )
